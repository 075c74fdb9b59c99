"""Band centres in nm: found in the file or given, their unit settled, checked and ordered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

NM_PER_UNIT: Mapping[str, float] = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1000.0),
    **dict.fromkeys(("micrometre", "micrometres"), 1000.0),
}
"""Spellings of the units met in the wild, in lower case; two different characters stand for micro."""

PLAUSIBLE_NM = (100.0, 100_000.0)
"""Ultraviolet to thermal infrared: band centres outside are in another unit than stated."""


def find(
    arrays: Mapping[str, np.ndarray], texts: Mapping[str, str], *, file: str
) -> tuple[np.ndarray, str, str] | None:
    """The values, the stated unit ("" if none) and the key of a file's wavelengths; None where it has none.

    Keys that begin with "wavelength" are taken; the unit is a text beside them (`wavelength_units`), or the end
    of the key (`wavelengths_nm`).

    Raises:
        ValueError: two such arrays differ.
    """
    keys = [
        key
        for key, array in arrays.items()
        if key.rpartition("/")[2].lower().startswith("wavelength")
        and array.dtype.kind in "uif"
        and array.size == max(array.shape, default=0)
    ]
    if not keys:
        return None
    first = arrays[keys[0]].ravel()
    rivals = [key for key in keys[1:] if not np.array_equal(arrays[key].ravel(), first)]
    if rivals:
        raise ValueError(
            f"Expected one list of wavelengths, got {keys[0]} and {', '.join(rivals)} with different values in {file}; "
            "give the band centres themselves under scene.wavelengths."
        )
    stated = [text for key, text in texts.items() if "wavelength" in key.lower() and "unit" in key.lower()]
    in_key = [word for word in re.split(r"[^a-zµμ]+", keys[0].lower()) if word in NM_PER_UNIT]
    return first.astype(np.float64), (stated or in_key or [""])[0], keys[0]


def in_nm(
    values: np.ndarray | Sequence[float], *, unit: str | None, stated: str, source: str
) -> tuple[np.ndarray, list[str]]:
    """`values` in nm, float64, and warnings about what was guessed.

    Args:
        values: band centres in some unit.
        unit: the unit as the config gives it, or None; a known unit that cannot be right is an error.
        stated: the unit as the file states it; missing, unknown or impossible, it is guessed: nm where the
            smallest value is above 100, µm otherwise.
        source: where the values come from, for messages.

    Raises:
        ValueError: values that are not positive numbers, or a unit of the config that is unknown or impossible.
    """
    centres = np.asarray(values, dtype=np.float64).ravel()
    wrong = np.flatnonzero(~(np.isfinite(centres) & (centres > 0)))
    if wrong.size:
        raise ValueError(
            f"Expected positive band centres, got {centres[wrong[0]]:g} for band {wrong[0]}"
            f"{f' and {wrong.size - 1} more' if wrong.size > 1 else ''} (counted from 0) in {source}; such bands are "
            "invalid: remove them from the cube and from the list."
        )
    if unit is not None:
        factor = NM_PER_UNIT.get(unit.strip().lower())
        if factor is None:
            raise ValueError(f"Expected scene.wavelength_unit nm or um, got {unit!r}; correct or remove it.")
        if not _plausible(centres * factor):
            raise ValueError(
                f"Expected band centres between {PLAUSIBLE_NM[0]:g} and {PLAUSIBLE_NM[1]:g} nm, got "
                f"{centres.min():g} to {centres.max():g} {unit} in {source}; correct scene.wavelength_unit."
            )
        return centres * factor, []
    factor = NM_PER_UNIT.get(stated.strip().lower())
    if factor is not None and _plausible(centres * factor):
        return centres * factor, []
    guess, factor = ("nm", 1.0) if centres.min() > 100 else ("µm", 1000.0)
    if not _plausible(centres * factor):
        raise ValueError(
            f"Expected band centres in nm or µm, got {centres.min():g} to {centres.max():g} in {source}; give them "
            "in nm under scene.wavelengths."
        )
    why = f"the stated unit {stated!r} cannot be right" if stated else "no unit is stated"
    return centres * factor, [
        f"Wavelengths {centres.min():g} to {centres.max():g} in {source} were taken as {guess}, for {why}; "
        "settle it with scene.wavelength_unit."
    ]


def _plausible(nm: np.ndarray) -> bool:
    return bool(nm.min() >= PLAUSIBLE_NM[0] and nm.max() <= PLAUSIBLE_NM[1])
