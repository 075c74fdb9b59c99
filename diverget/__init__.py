"""The search framework: from a scene and a pair of models to findings.

Data:       scene, loading, formats, synthetic, split, patches
Question:   space (unit cube <-> chains), outcome (what four predictions mean), objectives, problem
Answers:    rates (how often), search with optimisers (whether), shrink (how mild), archive, store
Models:     models/ (zoo, training, quantisation, the TFLite backend)

One direction only: scene, space, outcome, models -> objectives -> problem -> rates, search, shrink.
"""

__version__ = "0.1.0"
