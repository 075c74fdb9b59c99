"""A search that remembers: what was seen survives a stop, and neither workers nor a second run change a byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.experiments.small import CONFIG, diverget, run_directory, write

REMEMBERING = CONFIG.replace(
    "search: {", "search: {optimiser: nsga2, objectives: [novelty, layer_divergence, severity], "
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remembering")
    done = diverget("run", write(folder, REMEMBERING), "--out", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return run_directory(folder / "out")


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "evaluations").glob("part-*.parquet"))}


def test_what_is_new_is_stored_beside_its_score(finished: Path) -> None:
    shares = []
    for name in parts(finished):
        rows = pq.read_table(finished / "evaluations" / name).to_pylist()
        assert [len(row["novel"]) / 40 for row in rows] == [row["score:novelty"] for row in rows]
        assert all(0 <= row["score:layer_divergence"] <= 1 for row in rows)
        if name.startswith("part-00"):
            shares.append(sum(row["score:novelty"] for row in rows))
        else:
            assert all(row["score:layer_divergence"] == 0 for row in rows), "the control is one network"
    assert shares[0] > 0 and sum(shares[1:]) > 0
    assert shares[0] == max(shares)
    report = (finished / "report.html").read_text()
    assert "novelty" in report and "layer" in report


def test_a_run_that_is_resumed_knows_what_it_knew(finished: Path, tmp_path: Path) -> None:
    """The later generations are taken away: they come out as before, though the earlier ones are only read."""
    config, out = write(tmp_path, REMEMBERING), tmp_path / "out"
    stopped = out / finished.name
    shutil.copytree(finished, stopped)
    for path in (stopped / "evaluations").iterdir():
        if path.name.startswith("part-01") or path.name.startswith("done") or path.name[8:13] >= "00004":
            path.unlink()
    kept = parts(stopped)
    assert len(kept) == 4
    (stopped / "summary.json").unlink()
    (stopped / "findings.parquet").unlink()
    done = diverget("run", config, "--out", out, "--set", "workers=1")
    assert done.returncode == 0, done.stderr
    assert parts(stopped) == parts(finished)
    assert (stopped / "findings.parquet").read_bytes() == (finished / "findings.parquet").read_bytes()
