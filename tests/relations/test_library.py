"""What holds of the library as a whole: nothing is unchecked, untimed or hungry."""

from __future__ import annotations

import ast
import tracemalloc
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np
import pytest

from relations import ALL, FAMILIES, Relation, Step, distort
from tests.bench import plain
from tests.bench.plain import LIBRARY, PLAIN, Plain
from tests.relations.conftest import cut, distorted, dose

HERE = Path(__file__).parent

APPLYING = ("distorted", "applied")
"""What `conftest.py` offers to apply a relation."""

BORDER = 16
"""Pixels at the edge of a patch that are not compared: what is beyond it, every library imagines for itself."""

ROWS = 16
"""Patches, each under other values, in which a relation and its plain version are compared."""

CATALOGUE = {
    "atmosphere": "haze water_vapour thin_cirrus adjacency",
    "optics": "gaussian_blur motion_blur defocus stray_light misregistration translation rotation zoom",
    "spectral": "band_shift smile bandwidth band_loss",
    "radiometry": "brightness gain_drift offset contrast gamma shadow illumination_gradient saturation",
    "sensor": "gaussian_noise shot_noise correlated_noise impulse_noise multiplicative_noise stripes dead_lines "
    "region_loss pixel_noise band_noise radiometric_quantisation lossy_compression",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_holds_its_distortions(family: str) -> None:
    assert {name for name, relation in ALL.items() if relation.family == family} >= set(CATALOGUE[family].split())


def names_put_to_the_test(source: str) -> set[str]:
    """The strings in the test functions that apply a relation, or in what these are parametrised with."""
    found = set()
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        inside = [node for statement in function.body for node in ast.walk(statement)]
        applies = any(isinstance(node, ast.Attribute) and node.attr == "apply" for node in inside) or any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("distort", *APPLYING)
            for node in inside
        )
        asked = [node for node in inside if isinstance(node, ast.Call) and ast.unparse(node.func) == "get"]
        for node in (*asked, *function.decorator_list) if applies else ():
            constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            found |= {value for value in constants if isinstance(value, str)}
    return found


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_its_physics_is_checked(relation: Relation) -> None:
    assert relation.name in names_put_to_the_test((HERE / f"test_{relation.family}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def test_a():\n    assert get("haze").apply(x, None, sensor) == 1', {"haze"}),
        (
            '@parametrize("name", ["haze", "zoom"])\ndef test_a(name):\n    distort(x, [Step(get(name))])',
            {"haze", "zoom"},
        ),
        ('def test_a():\n    assert get("haze").bounds("stress")', set()),
        ('NAMES = ["haze"]\ndef test_a():\n    """Of "haze"."""\n    get("zoom").apply(x)', {"zoom"}),
        ('def helper():\n    return get("haze").apply(x)', set()),
    ],
)
def test_a_name_counts_only_where_the_relation_is_applied(source: str, expected: set[str]) -> None:
    assert names_put_to_the_test(source) - {"name"} == expected


def plain_and_own(relation: Relation) -> tuple[np.ndarray, np.ndarray]:
    """What the plain version and the relation add to patches under the same values, (n, h, w, b) float64.

    Random relations see scenes with fields of their own; else the patches' border is left out.
    """
    random = relation.draw is not None
    values = dose(relation, rows=ROWS, seed=4)
    rng = np.random.default_rng(3)
    parts = []
    for row in range(ROWS):
        patches = cut(relation, rows=1, size=(48, 45, 103 if random else 31), seed=row)
        one = {name: float(column[row]) for name, column in values.items()}
        follow_up = PLAIN[relation.name](patches.x[0], one, patches.sensor, rng)
        assert follow_up.shape == patches.x[0].shape
        own = distorted(relation, patches, {name: np.array([value]) for name, value in one.items()})[0]
        parts.append((follow_up - patches.x[0], own - patches.x[0]))
    inner = slice(None) if random else slice(BORDER, -BORDER)
    plains, owns = (np.stack(part)[:, inner, inner].astype(np.float64) for part in zip(*parts, strict=True))
    return plains, owns


def require_likeness(relation: Relation) -> None:
    """The plain version changes patches as far as the relation does and, where nothing is random, in the same way."""
    theirs, own = plain_and_own(relation)
    assert np.isfinite(theirs).all()
    assert 0.6 <= np.abs(theirs).mean() / np.abs(own).mean() <= 1.6
    if relation.draw is None:
        assert np.corrcoef(theirs.ravel(), own.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_its_plain_version_does_the_like(relation: Relation) -> None:
    """The versions that `make bench` compares with are versions of the same thing."""
    require_likeness(relation)


ROTATION, GAUSSIAN = PLAIN["rotation"], PLAIN["gaussian_noise"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("offset", lambda patch, values, sensor, rng: patch - values["level"] * (sensor.high - sensor.low)),
        ("rotation", lambda patch, values, *rest: ROTATION(patch, {"angle": -values["angle"]}, *rest)),
        ("gaussian_blur", lambda patch, values, *rest: PLAIN["stray_light"](patch, {"share": 1, "reach": 8}, *rest)),
        ("translation", lambda patch, *rest: patch),
        ("gaussian_noise", lambda patch, values, *rest: GAUSSIAN(patch, {"level": 3 * values["level"]}, *rest)),
        ("impulse_noise", lambda patch, values, *rest: PLAIN["salt_and_pepper"](patch, {"share": 0.4}, *rest)),
    ],
)
def test_a_plain_version_of_something_else_is_noticed(name: str, wrong: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PLAIN[name]
    monkeypatch.setitem(PLAIN, name, lambda patch, values, *rest: wrong(patch, values, *rest))
    with pytest.raises(AssertionError):
        require_likeness(ALL[name])
    monkeypatch.setitem(PLAIN, name, right)
    require_likeness(ALL[name])


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_version_is_marked_where_it_calls_a_library(name: str) -> None:
    """By itself or through a function of its own file."""

    def calls(code: CodeType) -> bool:
        found = (vars(plain).get(used) for used in code.co_names)
        for what in found:
            home = getattr(what, "__module__", None) or getattr(what, "__name__", "")
            if home.partition(".")[0] in ("cv2", "scipy", "skimage"):
                return True
            if home == plain.__name__ and isinstance(what, FunctionType) and calls(what.__code__):
                return True
        return any(calls(part) for part in code.co_consts if isinstance(part, CodeType))

    assert calls(PLAIN[name].__code__) == (name in LIBRARY)


def test_no_plain_version_is_orphaned() -> None:
    assert PLAIN.keys() == ALL.keys()


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_it_takes_at_most_four_times_its_input(relation: Relation) -> None:
    rows = 96
    patches = cut(relation, rows=rows, size=(25, 25, 103))
    step = Step(relation, dose(relation, rows=rows))
    tracemalloc.start()
    distort(patches.x, [step], [patches.field], patches.sensor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * patches.x.nbytes
