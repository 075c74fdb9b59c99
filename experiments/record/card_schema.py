"""The JSON Schema of `card.json`, for programs that rely on it. A card may hold more keys than it tells of.

Source: JSON Schema, draft 2020-12, https://json-schema.org/specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diverget.attribution import KINDS
from experiments.record.card import FINDING_KEYS, RATE_KEYS, SCHEMA

Tree = dict[str, Any]

TEXTS = {"chain": "Relations in order, with their values.", "tier": "Whose bounds the severity is of."}
WHOLE = ("finding", "patch", "row", "col")
SHARES = ("revealed_given_float_stayed", "reference_moved_share")


def card_schema() -> Tree:
    """The schema of the card of a run."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Card of a run",
        **_holding(
            {
                "schema": {"const": SCHEMA, "description": "Raised when a key changes its meaning or goes."},
                "name": _text("Of the run."),
                "digest": _text("SHA-256 of all that determines the result."),
                "complete": _yes("Whether the run came to its end."),
                "verdict": _text("The run in a sentence or two."),
                "criteria_met": _null(_yes("Whether all criteria were met; null where none were asked or judged.")),
                "criteria": _list(_criterion()),
                "control": _control(),
                "unconfirmed": _null(_count("Findings that did not reproduce alone.")),
                "pairs": _list(_pair()),
                "data": _null(_data()),
                "references": _list(_reference()),
                "calibration": _null(_calibration()),
                "runtime": {"type": "object", "description": "How networks were run."},
                "versions": {"type": "object", "description": "Of the packages the run was made with."},
                "timing": {"type": "object", "description": "Seconds by stage and search."},
            },
            "What the report of a run says. What was not reached is null.",
        ),
    }


def _criterion() -> Tree:
    return _holding(
        {
            "criterion": _text("As the config writes it, such as `agreement >= 0.99`."),
            "value": _null(_number("What the run measured.")),
            "met": _yes("Whether it holds."),
        },
        "One criterion of the config, for one pair.",
    )


def _control() -> Tree:
    return _holding(
        {
            "pairs": _list(_text("`reference/reference`.")),
            "findings": _count("Findings of a network against itself; any is a fault."),
            "revealed_draws": _count("Random draws on which a network differed from itself."),
            "draws": _count("Random draws in all."),
            "parted_patches": _count("Patches on which a per-patch search parted a network from itself."),
            "queries": _count("Patches through one network, in the searches."),
            "passed": _null(_yes("Whether none differed; null where no control ran.")),
        },
        "Each network against itself.",
    )


def _pair() -> Tree:
    return _holding(
        {
            "pair": _text("`reference/quantised`."),
            "reference": _text("The float network."),
            "quantised": _text("The version under test."),
            "control": _yes("Whether both sides are the same network."),
            "verdict": _null(_text("The pair in a sentence or two.")),
            "size": _holding(
                {
                    "reference_bytes": _count("Of the float file."),
                    "quantised_bytes": _count("Of the quantised file."),
                    "ratio": _number("How many times smaller the quantised file is."),
                },
                "Of the files, in bytes.",
            ),
            "digests": _sides(_text("SHA-256 of the network with its preprocessing."), "What was run."),
            "kernels": _sides(_null(_text("Of the runtime.")), "Kernels of each side."),
            "threads": _sides(_null(_count("Of one interpreter.")), "Threads of each side."),
            "runtimes": _sides(_null(_text("With its version.")), "The runtime of each side."),
            "coverage": _null(_coverage()),
            "baseline": _null(_baseline()),
            "rates": {
                "type": "object",
                "description": "By tier, then by relation (`random chain`: all of them together).",
                "additionalProperties": {"type": "object", "additionalProperties": _rate()},
            },
            "search": _null(_search()),
            "findings": _findings(),
            "attribution": _null(_attribution()),
        },
        "A float network and a quantised version of it.",
    )


def _calibration() -> Tree:
    return _holding(
        {
            "source": _text("The part of the split that they are of."),
            "count": _count("Patches."),
            "digest": _text("SHA-256 of their ids, in order, with commas between."),
        },
        "The patches that set the ranges of integer networks; null where none were needed.",
    )


def _coverage() -> Tree:
    operators = {"op": _text("TFLite's name."), "count": _count("How many."), "macs": _count("Multiply-accumulates.")}
    return _holding(
        {
            "share": _share("Of the multiply-accumulates that are quantised."),
            "kind": _text("The way of quantisation."),
            "total_macs": _count("Multiply-accumulates of one patch."),
            "float_ops": _list(_holding(operators, "Operators left in float.")),
        },
        "How much of the network is quantised.",
    )


def _baseline() -> Tree:
    shares = ("accuracy_reference", "accuracy_quantised")
    counts = ("flips_to_wrong", "flips_to_right", "flips_wrong_to_wrong")
    return _holding(
        {
            "patches": _count("Undistorted patches that both networks were asked about."),
            "labelled": _count("Those with a label."),
            "agreement": _share("Of the patches with the same class on both sides."),
            "ties": _count("Patches whose two best classes tie on a side."),
            "tied_disagreements": _count("Disagreements that are ties."),
            "collapsed": _yes("Whether the quantised network answers hardly more than one class."),
            **{key: _null(_share(f"{key.replace('_', ' ').capitalize()}, of the labelled patches.")) for key in shares},
            **{key: _null(_count(f"{key.replace('_', ' ').capitalize()}, labelled patches.")) for key in counts},
        },
        "Both networks on undistorted patches.",
    )


def _rate() -> Tree:
    def of(key: str) -> Tree:
        words = key.replace("_", " ").capitalize()
        if key == "enough":
            return _yes("Whether it rests on enough draws and blocks to be told as a rate.")
        if key.endswith(("_rate", "_lower", "_upper")) or key in SHARES:
            return _null(_share(f"{words}, of the eligible draws."))
        return _count(f"{words}, in {'blocks of the scene' if key == 'blocks' else 'draws'}.")

    return _holding({key: of(key) for key in RATE_KEYS}, "Random draws of one relation in one tier.")


def _search() -> Tree:
    return _holding(
        {
            "queries": _null(_count("Patches through one network.")),
            "candidates": _count("Chains that were tried."),
            "feasible": _count("Those within the limits."),
            "best": {"type": "object", "description": "Best score by objective."},
            "patches_revealed": _count("Patches on which the quantised network alone left its class."),
            "findings": _count("Confirmed findings the search led to."),
            "mildest_severity": _null(_share("Mean distance from neutral, of the mildest finding.")),
            "seconds": _null(_number("What the search took, in s.")),
            "outcomes": {"type": "object", "additionalProperties": _count("Patches with this outcome.")},
        },
        "One search over all patches.",
    )


def _findings() -> Tree:
    def of(key: str) -> Tree:
        words = {"severity": "Mean distance from neutral, 0 to 1.", "psnr": "In dB.", "spectral_angle": "In rad."}
        if key in TEXTS:
            return _text(TEXTS[key])
        whole = key in WHOLE
        return _count(f"{key.capitalize()}.") if whole else _null(_number(words.get(key, key.replace("_", " "))))

    classes = {"from": _text("Class of the float network."), "to": _text("Class of the quantised one.")}
    mildest = {**{key: of(key) for key in FINDING_KEYS}, **classes}
    return _holding(
        {
            "count": _count("Confirmed findings."),
            "unconfirmed": _count("Findings that did not reproduce alone."),
            "mildest": _null(_holding(mildest, "The mildest finding.")),
            "flips": _list(_holding({**classes, "count": _count("Findings.")}, "From one class to another.")),
        },
        "Chains under which the quantised network alone leaves its class.",
    )


def _attribution() -> Tree:
    kinds = {kind: _count(f"Findings put down to {kind}.") for kind in KINDS}
    kinds["compression"] = _null(kinds["compression"])
    return _holding(
        {
            "findings": _holding(kinds, "By what they are put down to."),
            "inseparable": _null(_text("Compression whose training counts as quantisation, being one with it.")),
            "clean": _list({"type": "object", "description": "Undistorted patches under one kind of kernels."}),
        },
        "Whether findings vanish when the same networks run in another way, or are there before any quantisation.",
    )


def _data() -> Tree:
    split = {
        "protocol": _text("How patches were split."),
        "description": _text("In words."),
        "patch": _count("Side in pixels."),
        "counts": {"type": "object", "additionalProperties": _count("Patches of this part.")},
        "assessed": _count("Patches that were distorted."),
        "leakage": _share("Of assessed patches that share pixels with training ones; images: copies of these."),
        "notes": _list(_text("What to know of it.")),
        "rated": _null(_count("Patches that random draws distort.")),
    }
    return _holding(
        {
            "name": _text("Of the scene or the images."),
            "kind": {"enum": ["scene", "images"], "description": "What was assessed on."},
            "digest": _text("SHA-256 of values, labels and wavelengths."),
            "shape": _list(_count("Rows, columns, bands; or images, rows, columns, channels.")),
            "value_range": _list(_number("Lowest and highest valid value.")),
            "unit": _null(_text("Of the values.")),
            "labelled": _count("Pixels or images with a label."),
            "masked": _count("Pixels without a value."),
            "warnings": _list(_text("What was guessed or odd.")),
            "bands": _count("Bands or channels."),
            "classes": _count("Classes."),
            "split": _holding(split, "Which patches train, calibrate and are assessed."),
        },
        "What was assessed on.",
    )


def _reference() -> Tree:
    return _holding(
        {
            "name": _text("Of the float network."),
            "kind": _text("Where it comes from."),
            "file": _text("In the run directory, or its name outside."),
            "digest": _text("SHA-256."),
            "size_bytes": _count("Of the file, in bytes."),
            "parameters": _null(_count("Trained values.")),
        },
        "A float network.",
    )


def _holding(properties: Mapping[str, Tree], description: str) -> Tree:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": dict(properties),
    }


def _sides(each: Tree, description: str) -> Tree:
    return _holding({"reference": each, "quantised": each}, description)


def _list(each: Tree) -> Tree:
    return {"type": "array", "items": each}


def _null(told: Tree) -> Tree:
    return {**told, "type": [told["type"], "null"]}


def _text(description: str) -> Tree:
    return {"type": "string", "description": description}


def _yes(description: str) -> Tree:
    return {"type": "boolean", "description": description}


def _count(description: str) -> Tree:
    return {"type": "integer", "minimum": 0, "description": description}


def _number(description: str) -> Tree:
    return {"type": "number", "description": description}


def _share(description: str) -> Tree:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": description}
