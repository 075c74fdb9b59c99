"""A run's files read and checked, one by one; what is damaged or gone is told with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from diverget.store import Damaged, Store
from experiments.record.contents import CONTENTS, check, damage

ALWAYS = (
    *("data.json", "models.json", "baseline.json", "rates.parquet", "archive.parquet", "findings.parquet"),
    "timing.json",
)
"""Files of every complete run."""

WHERE_ASKED: Mapping[str, tuple[str, ...]] = {
    "doses": ("doses.parquet", "flips.parquet", "places.parquet"),
    "gaps": ("gaps.parquet",),
    "patchwise": ("patchwise.parquet",),
    "attribution": ("attribution.parquet", "kernels.parquet"),
}
"""By key of a config, the files of a complete run where it is set; `doses` stands under `rates`."""


def read_json(store: Store, name: str) -> Any:
    """The content of a JSON file of a run, checked.

    Raises:
        Damaged: it is no JSON, or does not hold what it must.
    """
    found = store.read_json(name)
    check(found, CONTENTS[name], file=store.path(name))
    return found


def read_rows(store: Store, name: str, kind: str = "") -> list[dict[str, Any]]:
    """The rows of a table of a run, checked; `kind` is the name in `CONTENTS` where it is another.

    Raises:
        Damaged: it is no Parquet, or lacks a column.
    """
    found = store.read_table(name)
    check(found, CONTENTS[kind or name], file=store.path(name))
    return found


def refuse_gone(store: Store, config: Mapping[str, Any]) -> None:
    """Return when a complete run under `config` has the tables of all its stages.

    Raises:
        Damaged: one is gone. What is gone reads like a stage that was not asked for, or found nothing.
    """
    rates = config.get("rates")
    asked = {**config, "doses": rates.get("doses") if isinstance(rates, Mapping) else None}
    wanted = [*ALWAYS, *(name for key, names in WHERE_ASKED.items() if asked.get(key) for name in names)]
    for name in wanted:
        if not store.has(name):
            raise Damaged(f"Expected {store.path(name)}, got no such file", "run again.")


@contextmanager
def telling_damage(store: Store) -> Iterator[None]:
    """Damage that is met in the block is told with the way out that there is.

    Raises:
        Damaged: of a complete run, which is not carried out again, its whole folder is to be removed; but for the
            files of `COMMANDS`.
            A file that is gone is damage too.
    """
    try:
        yield
    except Damaged as error:
        told = damage(error, store) if store.has("summary.json") else error
        if told is error:
            raise
        raise told from error
    except FileNotFoundError as error:
        if error.filename is None:  # It says itself what to do.
            raise
        raise damage(error, store) from error
