"""What the networks of the zoo rule out among the versions under test, told before any is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diverget.models.compress.table import compression
from diverget.models.quantisations import quantisation
from diverget.models.zoo import ALL as ARCHITECTURES
from experiments.config.parts import QuantisedConfig, ReferenceConfig

Fault = tuple[tuple[str | int, ...], str]
"""Where something is wrong, and what."""


def of_volumes(references: Sequence[ReferenceConfig], quantisations: Sequence[QuantisedConfig]) -> Iterator[Fault]:
    """What the 3-D convolutions of a network of the zoo rule out, or that it has none, before any is trained."""
    volumes = [architecture.name for architecture in ARCHITECTURES if architecture.layout == "hwb1"]
    for number, entry in enumerate(quantisations):
        converted = [entry.student or reference.zoo for reference in references if reference.zoo]
        deep, flat = ([name for name in converted if (name in volumes) == wanted] for wanted in (True, False))
        place = ("quantisations", number)
        if deep and entry.compression and compression(entry.compression).integers:
            yield (
                place,
                f"expected no quantisation-aware training of {deep[0]}, whose 3-D convolutions TFLite leaves in "
                f"float, got {entry.label}; choose another compression, int8_lowered, or another network",
            )
        elif deep and entry.quantisation == "int16x8":
            yield (
                place,
                f"expected a quantisation that {deep[0]} can take, got {entry.label}: CONV_3D has no int16x8 "
                f"kernel; take int8_lowered (`diverget list quantisations --for {deep[0]}`)",
            )
        elif flat and entry.quantisation and quantisation(entry.quantisation).lowered:
            yield (
                place,
                f"expected a quantisation that {flat[0]} can take, got {entry.label}: it has no 3-D convolution to "
                f"lower; take {entry.quantisation.removesuffix('_lowered')}",
            )


def of_students(references: Sequence[ReferenceConfig], quantisations: Sequence[QuantisedConfig]) -> Iterator[Fault]:
    """A student learns from the inputs of its teacher, so it must take them."""
    known = {architecture.name: architecture for architecture in ARCHITECTURES}
    for number, entry in enumerate(quantisations):
        if entry.student is None:
            continue
        for teacher in (known[reference.zoo] for reference in references if reference.zoo):
            fitting = [one.name for one in ARCHITECTURES if one.data == teacher.data and one.takes(teacher.axes)]
            if not known[entry.student].takes(teacher.axes):
                yield (
                    ("quantisations", number, "student"),
                    f"expected a student that takes the inputs of {teacher.name} ({teacher.layout}), got "
                    f"{entry.student} ({known[entry.student].layout}); choose one of {', '.join(fitting)}, or leave "
                    "`student` out for the network's own layers",
                )
                break
