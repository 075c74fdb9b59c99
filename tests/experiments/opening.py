"""The first look at many files in one process: what `diverget.models.child` does for one. Paths come on stdin; what
came of each goes to stdout as a JSON line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def outcomes(files: Sequence[Path], *, seconds: float) -> list[str]:
    """`read`, the name of an exception, `ended` or `stalled` for each file; a process that ends is followed by
    another."""
    told = []
    process = _begun()
    for file in files:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{file}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else ""
        told.append(json.loads(line) if line else "ended" if ready else "stalled")
        if not line:
            process.kill()
            process.wait()
            process = _begun()
    process.kill()
    process.wait()
    return told


def _begun() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.opening"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def look(path: Path) -> None:
    """What the child does with one file."""
    from diverget import formats
    from diverget.models import graph, keras_file, onnx_graph

    def emit(event: object) -> None:
        pass

    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".mat":
            formats.open_mat({"path": str(path), "folder": folder}, emit)
        elif path.suffix == ".tflite":
            graph.look({"path": str(path), "kernels": "xnnpack"}, emit)
        elif path.suffix == ".onnx":
            onnx_graph.look({"path": str(path), "whole": f"{folder}/whole.onnx"}, emit)
        else:
            keras_file.look({"path": str(path)}, emit)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            look(Path(line.strip()))
            answer = "read"
        except Exception as error:
            answer = type(error).__name__
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
