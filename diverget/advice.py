"""What to do about the layers that are to blame: keep them in float, or calibrate their ranges anew."""

from __future__ import annotations

from collections.abc import Sequence

from diverget.blame import Layer

HALF = 0.5
"""The layers to keep in float together hold this part of the effect on the answer (engineering judgement)."""

EXCEEDED = 0.01
"""Share of the float activations beyond a range from which it is to be calibrated anew (engineering judgement; the
percentile calibrations in use cut 0.1 to 0.01 % off)."""

UNUSED = 0.75
"""Share of a range left unused from which it is to be calibrated anew: two bits of the integer are lost."""


def keep_float(layers: Sequence[Layer]) -> list[str]:
    """What to compute in float, as names of activations in the float file.

    The layer ranked first, then those of the largest effect until half of the effect is held. Where the fault lies in
    quantising alone, it is the operators that read the activation that have to stay in float.
    """
    if not layers or layers[0].findings.own_sqnr is None:
        return []
    chosen, held = [layers[0]], layers[0].findings.effect
    for layer in sorted(layers[1:], key=lambda layer: (-layer.findings.effect, layer.index)):
        if held >= HALF or layer.findings.effect == 0:
            break
        chosen.append(layer)
        held += layer.findings.effect
    names = [name for layer in chosen for name in (layer.readers if layer.identity else (layer.reference_tensor,))]
    return list(dict.fromkeys(names))


def recalibrate(layers: Sequence[Layer]) -> list[str]:
    """The activations, by name in the quantised file, whose range the findings exceed or both sides leave unused.

    Left out are those that only pass a range on: it is calibrated where it is made.
    """
    return [
        layer.tensor
        for layer in layers
        if not layer.passes_on
        and (
            (layer.findings.exceeded or 0) > EXCEEDED
            or min(side.unused or 0 for side in (layer.sources, layer.findings)) > UNUSED
        )
    ]
