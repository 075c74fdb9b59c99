"""The models under assessment: from training to probabilities. Importing this imports no TensorFlow.

What a model is:   model (the protocol; predict_pair), preprocessing (raw patch -> prepared input)
Running one:       tflite (load), runtime (one interpreter), graph (what a .tflite file says of itself)
What is in it:     coverage (the share that is quantised), keras_file (a Keras file, read without executing it),
                   layers (what a pair shares inside)
Making one:        zoo (architectures), training, quantise (Keras -> .tflite), child (heavy work in a process apart)
"""
