"""Spaces with a name: what one word in a config stands for.

everything     in_spec, stress: all relations, as far as flying sensors are measured to go, and far beyond
families       atmosphere, optics, spectral, radiometry, sensor: all relations of one, under stress
published      diverget_sister, dflare, common_corruptions: what others have searched or measured
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relations import ALL, FAMILIES, get
from relations.core import Bounds, Relation

Narrowed = Mapping[str, Mapping[str, Bounds]]
Ladder = tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class NamedSpace:
    """Relations, bounds, a tier and limits under one name.

    Attributes:
        name, summary, source: for a reader.
        tier: whose declared bounds hold where `narrowed` says nothing.
        narrowed: bounds by relation and param, inside the tier's. A published space lists all its relations here.
        family: the one family it consists of; None with nothing in `narrowed` means all relations.
        limits: validity limits that belong to it, by name; a config may set others.
        severities: for a relation the values of its params at severity 1 (mildest) to 5, where published.
    """

    name: str
    summary: str
    source: str
    tier: str = "stress"
    narrowed: Narrowed = field(default_factory=dict)
    family: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    severities: Mapping[str, Ladder] = field(default_factory=dict)

    @property
    def relations(self) -> list[Relation]:
        """Its relations, in acquisition order."""
        if self.narrowed:
            return sorted((get(name) for name in self.narrowed), key=lambda relation: list(ALL).index(relation.name))
        return [relation for relation in ALL.values() if self.family in (None, relation.family)]


def _ladder(**values: tuple[float, ...]) -> Ladder:
    """Five severities from the five values of each param."""
    return tuple(dict(zip(values, step, strict=True)) for step in zip(*values.values(), strict=True))


PSNR_LIMIT = 20.0
"""dB; RSMT accepts no follow-up below it (Utils/tracker.py)."""

_RSMT = "github.com/rached1997/RSMT, commit d4df099; R. Bouchoucha et al., Inf. Softw. Technol. 162:107281, 2023"
_DFLARE = "github.com/yqtianust/DFlare, commit be9fb3a, myLib/img_mutations.py; Y. Tian et al., ACM TOSEM, 2023"
_COMMON = (
    "github.com/hendrycks/robustness, commit 8190fe3, make_cifar_c.py (for 32 x 32 pixels); "
    "D. Hendrycks and T. Dietterich, ICLR 2019"
)

_EVERYTHING = (
    NamedSpace(
        "in_spec",
        "Every relation as far as flying sensors are measured to go.",
        "the in_spec bounds of each relation",
        tier="in_spec",
    ),
    NamedSpace("stress", "Every relation, far harsher.", "the stress bounds of each relation"),
)

_FAMILIES = tuple(
    NamedSpace(family, f"Every relation of the family {family}.", "the stress bounds of each relation", family=family)
    for family in FAMILIES
)

_SISTER = NamedSpace(
    "diverget_sister",
    "The ten relations published with DiverGet's sister project RSMT, with its bounds and its limit of 20 dB. What "
    "differs: continuous (1) and broken (2) lines are one relation, dead_lines, whose dead columns are drawn band by "
    "band; lost values are an end of the sensor's range, there the patch's own minimum or maximum; lost bands are "
    "interpolated by wavelength between the nearest survivors, there the mean of the two undamaged neighbours; stripes "
    "have a gain and an offset band by band, there a mean and a deviation for the whole line; lost regions end at the "
    "5 pixels that RSMT declares and does not keep to; shares are those expected over the scene, there of each patch "
    "and rounded up; noise is a share of the sensor's range, there of standardised values; zoom and rotation follow "
    "cubic convolution, zoom there the nearest pixel; the order is that of acquisition; the peak of PSNR is the "
    "sensor's range, there the patch's maximum.",
    _RSMT,
    narrowed={
        "dead_lines": {"share": (0.0, 0.2), "bands": (0.0, 0.2), "filled": (0.5, 1.0)},
        "stripes": {"share": (0.0, 0.2), "depth": (0.0, 0.05), "offset": (0.0, 0.05)},
        "region_loss": {"size": (0.0, 5.0), "bands": (0.0, 0.2)},
        "band_loss": {"share": (0.0, 0.5), "fill": (0, 0)},
        "salt_and_pepper": {"share": (0.0, 0.07)},
        "pixel_noise": {"share": (0.0, 0.07), "mean": (0.0, 0.05), "sigma": (0.0, 0.05)},
        "band_noise": {"share": (0.0, 0.07), "mean": (0.0, 0.05), "sigma": (0.0, 0.05)},
        "rotation": {"angle": (-180.0, 180.0)},
        "zoom": {"factor": (0.3, 5.0)},
    },
    limits={"psnr": PSNR_LIMIT},
)

_MUTATIONS = NamedSpace(
    "dflare",
    "The seven image mutations of DFLARE with their published strengths as upper ends, none of them limited. The "
    "noise of variance 0.1 is on grey levels 0 to 255; at most 9 values of 28 x 28 are replaced; OpenCV's Gaussian "
    "kernel of 7 pixels has a variance of 1.875, as ours at 1.34; medians end at 5 pixels (published: 7).",
    _DFLARE,
    narrowed={
        "white_noise": {"sigma": (0.0, 0.1**0.5 / 255)},
        "impulse_noise": {"rate": (0.0, 0.004)},
        "multiplicative_noise": {"mean": (-0.5, 0.5), "sigma": (0.0, 0.05**0.5)},
        "random_impulse_noise": {"rate": (0.0, 9 / 784)},
        "box_blur": {"size": (1.0, 5.0)},
        "gaussian_blur": {"sigma": (0.0, 1.34)},
        "median_blur": {"radius": (0, 2)},
    },
)

_SEVERITIES: Mapping[str, Ladder] = {
    "white_noise": _ladder(sigma=(0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": _ladder(level=tuple(photons**-0.5 for photons in (500, 250, 100, 75, 50))),
    "impulse_noise": _ladder(rate=(0.01, 0.02, 0.03, 0.05, 0.07)),
    "multiplicative_noise": _ladder(mean=(0.0,) * 5, sigma=(0.06, 0.10, 0.12, 0.16, 0.20)),
    # The blurs, solved for the variance of the published kernels on the pixel grid, in square pixels an axis. Gaussians
    # of 0.4, 0.6, 0.7, 0.8 and 1 pixels, sampled at the centres: 0.081, 0.352, 0.489, 0.640, 1.000.
    "gaussian_blur": _ladder(sigma=(0.286, 0.523, 0.637, 0.746, 0.957)),
    # One pixel under Gaussians of 0.4, 0.5 and 0.6 pixels that end after one, a cross, a square of 3 x 3: 0.081, 0.213,
    # 0.333, 0.400, 0.667.
    "defocus": _ladder(radius=(0.190, 0.500, 0.782, 0.940, 1.420)),
    # ImageMagick's half Gaussians of 1, 1.5, 2, 2 and 2.5 pixels, along the line: 0.444, 0.950, 1.639, 1.639, 2.510.
    "motion_blur": _ladder(length=(1.777, 3.063, 4.212, 4.212, 5.298), angle=(0.0,) * 5),
    # x / (1 + c) + c / (1 + c) · fog: the transmittance of an optical depth ln(1 + c).
    "haze": _ladder(depth=(0.182, 0.405, 0.560, 0.693, 0.916), angstrom=(0.0,) * 5),
    "offset": _ladder(level=(0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": _ladder(change=(-0.25, -0.50, -0.60, -0.70, -0.85)),
    # Pixels enlarged to 1 / c of their side.
    "box_blur": _ladder(size=tuple(1 / c for c in (0.95, 0.90, 0.85, 0.75, 0.65))),
}

_CORRUPTIONS = NamedSpace(
    "common_corruptions",
    "What of CIFAR-10-C a hyperspectral sensor can meet, five severities each: gaussian, shot, impulse and speckle "
    "noise, gaussian and defocus and motion blur, fog (haze), brightness (offset), contrast, pixelate (box_blur). "
    "Gaussian, defocus and motion blur have the variance of the published kernels, not their shape: a motion is an "
    "even line about the pixel, there half a Gaussian to one side. The space holds every angle, the published ones lie "
    "within 45 degrees of a row; the severities lie along a row. Left out: glass and zoom blur, snow, frost, spatter, "
    "saturate, elastic, JPEG.",
    _COMMON,
    narrowed={
        name: {
            param: (min(0.0, *ends), max(0.0, *ends)) if name != "box_blur" else (1.0, max(ends))
            for param, ends in ((param, [step[param] for step in ladder]) for param in ladder[0])
            if any(ends)
        }
        for name, ladder in _SEVERITIES.items()
    },
    severities=_SEVERITIES,
)

SPACES: tuple[NamedSpace, ...] = (*_EVERYTHING, *_FAMILIES, _SISTER, _MUTATIONS, _CORRUPTIONS)
