"""The section on attribution: which findings are the quantised network's, which those of the kernels that ran it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diverget.attribution import FAR
from experiments.record import Row, Run, flip, inseparable, spoken
from experiments.record.card import attributed, far, own_kernels
from experiments.sections.page import Alert, Section
from experiments.wording import percent


def attribution(run: Run) -> Section:
    """What every finding is put down to, and clean patches under every kernel set."""
    blocks = []
    for pair in run.tested():
        asked = [row for row in run.attribution if row["pair"] == pair["pair"]]
        clean = [row for row in run.kernels if row["pair"] == pair["pair"]]
        if asked or clean:
            block = {
                "name": spoken(pair),
                "kinds": attributed(run, pair["pair"]),
                "of_quantisation": flip(pair, "quantisation"),
                "compression": pair["quantised_model"].get("compression", {}).get("name"),
                "inseparable": inseparable(pair),
                "found": len(run.found(pair["pair"])),
                "variations": _variations(asked),
                "clean": [{**row, "far": far(row, clean)} for row in clean],
            }
            blocks.append(block)
    return Section("attribution", "Attribution", "attribution.html", {"blocks": blocks, "far": FAR})


def alerts(run: Run) -> list[Alert]:
    """Kernel sets under which a model is another one on clean patches already, one alert each pair and side."""
    found = []
    for pair in run.tested():
        clean = [row for row in run.kernels if row["pair"] == pair["pair"]]
        for side in ("quantised", "reference"):
            apart = [row for row in clean if row["side"] == side and far(row, clean)]
            if not apart:
                continue
            own = own_kernels(clean, side)
            told = ", ".join(f"{percent(row['agreement'])} under {row['kernels']}" for row in apart)
            text = (
                f"Another model under other kernels: on clean patches the two sides of {spoken(pair)} agree on "
                f"{percent(own['agreement'])} with the {side} side under {own['kernels']}, as this run had it, and on "
                f"{told}. Nothing on this page holds for a device that runs those."
            )
            found.append(Alert("warn", text))
    return found


def _variations(asked: Sequence[Row]) -> list[dict[str, Any]]:
    """For each variation the shares of the findings that survive it and that vanish under it."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in asked:
        groups.setdefault((row["side"], row["varied"], row["setting"]), []).append(row)
    rows = []
    for (side, varied, setting), members in groups.items():
        refused = all(row["outcome"] is None for row in members)
        row = {
            "side": side,
            "varied": varied,
            "setting": setting,
            "findings": len(members),
            "survives": None if refused else sum(row["survives"] for row in members) / len(members),
            "vanishes": None if refused else sum(row["vanishes"] for row in members) / len(members),
            "tied": None if refused else sum(row["outcome"] == "TIED" for row in members),
            "refused": refused,
            "speaks": all(row["speaks"] for row in members),
        }
        rows.append(row)
    return rows
