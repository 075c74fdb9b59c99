"""What to do about layers to blame, told of layers made by hand."""

from __future__ import annotations

from dataclasses import replace

from diverget.advice import keep_float, recalibrate
from diverget.blame import Layer, Seen


def made(index: int, own: float | None, effect: float) -> Layer:
    seen = Seen(30.0, own, 3.0, 0.1, 0.0, 0.0, 0.0, 0.0, effect, 0, -1.0, 1.0)
    return Layer(index, "CONV_2D", f"q{index}", f"f{index}", (3,), 0.0, 1.0, False, ("next",), seen, seen)


def test_what_to_keep_in_float_holds_half_of_the_effect() -> None:
    layers = [made(1, 9.0, 0.3), made(0, 20.0, 0.1), made(2, 30.0, 0.2), made(3, 40.0, 0.4)]
    assert keep_float(layers) == ["f1", "f3"]
    assert keep_float([made(1, 9.0, 0.6), *layers[1:]]) == ["f1"]
    assert keep_float([made(1, None, 0.0)]) == []


def test_what_only_passes_a_range_on_is_not_calibrated() -> None:
    narrow = made(0, 9.0, 0.3)
    narrow = replace(narrow, findings=replace(narrow.findings, exceeded=0.02))
    wide = made(1, 9.0, 0.3)
    wide = replace(wide, sources=replace(wide.sources, unused=0.8), findings=replace(wide.findings, unused=0.9))
    assert recalibrate([narrow, wide, made(2, 9.0, 0.3)]) == ["q0", "q1"]
    assert recalibrate([narrow, replace(wide, passes_on=True)]) == ["q0"]
    assert recalibrate([replace(narrow, passes_on=True), wide]) == ["q1"]
