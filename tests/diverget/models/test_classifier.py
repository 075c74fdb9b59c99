"""The classifier beside a network: it learns what was planted, and applies as scikit-learn does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models.classifier import GAMMA, ITERATIONS, KINDS, UNITS, Classifier, gate_of, load, train

pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "diverget[repair]"')


def planted(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k) float32 and targets: where class 1 leads class 0 by less than 0.2, 0 is right."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k), size=n).astype(np.float32)
    first = p.argmax(axis=1)
    return p, np.where((first == 1) & (p[:, 1] - p[:, 0] < 0.2), 0, first)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_as_scikit_learn_does(kind: str, k: int) -> None:
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    theirs = {
        "mlp": MLPClassifier(hidden_layer_sizes=(UNITS,), max_iter=ITERATIONS, random_state=3),
        "svm": SVC(kernel="rbf", gamma=GAMMA, random_state=3),
        "tree": DecisionTreeClassifier(random_state=3),
    }[kind]
    x, y = planted(150, k, 0)
    if kind == "svm":
        x = 60 * x  # so small a gamma sees nothing of probabilities: classes would all be one
    seen = planted(500, k, 1)[0] * (60 if kind == "svm" else 1)
    ours = train(kind, x, y, gate=1.0, seed=3).predict(seen)
    assert np.array_equal(ours, theirs.fit(x.astype(np.float64), y).predict(seen.astype(np.float64)))
    assert len(np.unique(ours)) == k


@pytest.mark.parametrize("kind", ["mlp", "tree"])
def test_it_mends_what_was_planted(kind: str) -> None:
    x, y = planted(800, 3, 0)
    learnt = train(kind, x, y, gate=0.2, seed=0)
    p, wanted = planted(600, 3, 1)
    mended = learnt.corrected(p)
    wrong = p.argmax(axis=1) != wanted
    assert wrong.mean() > 0.04
    assert (mended.argmax(axis=1) == wanted)[wrong].mean() > 0.9
    assert (mended.argmax(axis=1) == wanted)[~wrong].mean() > 0.97


def test_it_speaks_only_below_its_gate_and_keeps_the_lead() -> None:
    p = np.array([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.4, 0.4, 0.2]], dtype=np.float32)
    always_second = Classifier("tree", 0.2, {"classes": np.array([1])})
    found = always_second.corrected(p)
    assert found.tolist() == p[[0, 1, 2]][:, [0, 1, 2]].tolist() or found[0].tolist() == p[0][[1, 0, 2]].tolist()
    assert found[0].argmax() == 1 and found[1].argmax() == 0
    assert np.array_equal(np.sort(found, axis=1), np.sort(p, axis=1))
    assert found[2].tolist() == p[2].tolist(), "a tie remains one"


def test_the_gate_lets_most_of_what_is_to_be_mended_through() -> None:
    lead = np.linspace(0, 1, 101)
    p = np.stack([(1 + lead) / 2, (1 - lead) / 2], axis=1)
    assert gate_of(p) == pytest.approx(0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_from_its_file(tmp_path: Path, kind: str) -> None:
    x, y = planted(200, 3, 0)
    learnt = train(kind, x, y, gate=0.3, seed=0)
    again = train(kind, x, y, gate=0.3, seed=0)
    learnt.save(tmp_path / "c.npz")
    back = load(tmp_path / "c.npz")
    assert back.digest == learnt.digest == again.digest
    assert np.array_equal(back.corrected(x), learnt.corrected(x))
    assert train(kind, x, y, gate=0.2, seed=0).digest != learnt.digest


def test_bad_input_is_refused(tmp_path: Path) -> None:
    x, y = planted(20, 3, 0)
    with pytest.raises(ValueError, match="mlp, svm, tree"):
        train("forest", x, y, gate=0.1, seed=0)
    with pytest.raises(ValueError, match="20 features and 3 targets"):
        train("tree", x, y[:3], gate=0.1, seed=0)
    (tmp_path / "c.npz").write_bytes(b"PK no")
    with pytest.raises(ValueError, match="damage"):
        load(tmp_path / "c.npz")
