"""The house keeps its shape: import edges, file lengths, forbidden names and habits."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("relations", "diverget", "experiments")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LAYER = {
    "randomness": 0, "scene": 0, "wavelengths": 0, "labels": 0, "blocks": 0, "formats": 0, "store": 0, "models": 0,
    "loading": 1, "materials": 1, "landscape": 1, "synthetic": 2, "split": 1, "patches": 1,
    "space": 1, "spaces": 1, "outcome": 1, "baseline": 2, "objectives": 2,
    "problem": 3, "optimisers": 4, "search": 5, "shrink": 4, "archive": 4, "rates": 4, "findings": 5, "tables": 5,
    "rays": 4, "front": 2, "lockstep": 4, "boundary": 5, "gaps": 5, "metropolis": 5, "evolution": 5,
    "selection": 0, "locks": 0, "blame": 1, "advice": 1, "arms": 6, "baselines": 5, "attribution": 2, "repair": 2,
    "bands": 0, "packed": 0,
}  # fmt: skip


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nobody_imports_back(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    later = PACKAGES[PACKAGES.index(package) + 1 :]
    assert not {i for i in imports(path) if i.partition(".")[0] in (*later, "tests")}


@pytest.mark.parametrize("path", sorted((ROOT / "diverget").glob("*.py")), ids=name)
def test_one_direction_inside_diverget(path: Path) -> None:
    if path.stem == "__init__":
        return
    assert path.stem in LAYER, f"say in LAYER where {path.stem} stands"
    for imported in imports(path):
        parts = imported.split(".")
        if parts[0] == "diverget" and len(parts) > 1 and parts[1] in LAYER and parts[1] != path.stem:
            assert LAYER[parts[1]] <= LAYER[path.stem], f"{path.stem} imports {parts[1]}, which stands after it"


def test_no_circle_among_the_parts_of_experiments() -> None:
    """A part is a module of `experiments` or one of its packages, whatever is inside."""
    needs: dict[str, set[str]] = {}
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        part = path.relative_to(ROOT / "experiments").with_suffix("").parts[0]
        found = {i.split(".")[1] for i in imports(path) if i.startswith("experiments.")}
        needs[part] = needs.get(part, set()) | found - {part}
    needs = {part: found & needs.keys() for part, found in needs.items()}
    while free := [part for part, found in needs.items() if not found]:
        needs = {part: found - set(free) for part, found in needs.items() if part not in free}
    assert not needs, f"these parts need each other: {needs}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_heavy_imports_stay_in_their_rooms(path: Path) -> None:
    found = {imported.partition(".")[0] for imported in imports(path)}
    where = name(path)
    if "pymoo" in found:
        assert where.startswith("diverget/evolution/") or where in (
            "diverget/optimisers/__init__.py",
            "diverget/search.py",
        )
    if "cma" in found:
        assert where == "diverget/optimisers/covariance.py"
    if "yaml" in found:
        assert where == "experiments/config/document.py"
    if found & {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"}:
        assert where.startswith("diverget/models/")
    top = {imported.partition(".")[0] for imported in imports(path, top_level=True)}
    if found & {"onnx", "onnxruntime"}:
        assert where.startswith("diverget/models/onnx") or where == "experiments/templates/replay_kit.py"
    heavy = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "onnx", "onnxruntime"}
    assert not top & (heavy | {"pymoo", "cma", "spectral"})


@pytest.mark.parametrize("path", FILES, ids=name)
def test_house_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "a file of more than 400 lines has two subjects"
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")
    for forbidden in (
        r"class \w*(Manager|Handler|Engine|Factory|Wrapper|Context)\b",
        r"\bexcept Exception\b|\bexcept:",
        r"import pickle|allow_pickle=True",
        r"np\.random\.(?!default_rng|SeedSequence|Generator)\w+\(",
        r"seed: int \| None",
        r"TODO|FIXME|XXX",
    ):
        assert not re.search(forbidden, text), forbidden


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name)
def test_tests_have_one_subject_a_file(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, "a file of more than 400 lines has two subjects"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_public_functions_say_what_comes_out(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_the_rules_can_fail() -> None:
    assert re.search(r"np\.random\.(?!default_rng|SeedSequence|Generator)\w+\(", "np.random.rand(3)")
    assert not re.search(r"np\.random\.(?!default_rng|SeedSequence|Generator)\w+\(", "np.random.default_rng(3)")


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; from experiments import cli; "
        "heavy = {'numpy', 'tensorflow', 'keras', 'pymoo', 'pyarrow', 'cv2', 'pydantic'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
