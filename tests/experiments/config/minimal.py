"""The least that a config says."""

from __future__ import annotations

from pathlib import Path

MINIMAL = """
name: small
scene: {synthetic: {height: 64, width: 64}}
references: [depthwise]
quantisations: [int8]
relations: [brightness]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path
