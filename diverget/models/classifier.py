"""A small classifier beside a frozen network: it sees the network's probabilities and may change the class.

Three kinds are trained by scikit-learn; what they learnt is kept as plain arrays and applied with NumPy, so that using
a repaired model needs no scikit-learn and no file that could execute code.

Source: the public code beside Tian et al. 2023, Finding deviated behaviors of the compressed DNN models for image
classifications, ACM TOSEM, doi 10.1145/3583564: the kinds and their settings. What they see, what they are trained on
and when they may speak is engineering judgement.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import TFLiteModel

KINDS = ("mlp", "svm", "tree")

UNITS = 50
"""Units of the hidden layer (the public code above)."""

ITERATIONS = 5000
"""Iterations of the training of the network with a hidden layer, at most (the public code above)."""

GAMMA = 0.001
"""Width of the radial basis functions, exp(−γ ‖a − b‖²) (the public code above)."""

GATE = 0.9
"""The classifier speaks where the network's first class leads the second by no more than in this share of what it is
to mend (engineering judgement): where the network is surer, deviations are rare."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """What was learnt.

    Attributes:
        kind: one of `KINDS`.
        gate: it speaks where the first of the network's probabilities leads the second by at most this.
        arrays: the weights by name, and `classes`, the class of each of its outputs.
    """

    kind: str
    gate: float
    arrays: dict[str, np.ndarray]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a prediction."""
        found = sha256(json.dumps([self.kind, self.gate]).encode())
        for name in sorted(self.arrays):
            array = self.arrays[name]
            found.update(f"{name} {array.shape} {array.dtype.str} ".encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class (n,) int64 of probabilities (n, k), whether it may speak or not."""
        x = np.asarray(features, dtype=np.float64)
        if len(self.arrays["classes"]) == 1:
            return np.full(len(x), self.arrays["classes"][0], dtype=np.int64)
        votes = {"mlp": _of_mlp, "svm": _of_svm, "tree": _of_tree}[self.kind](self.arrays, x)
        return np.asarray(self.arrays["classes"][votes.argmax(axis=1)], dtype=np.int64)

    def corrected(self, p: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 in which the classifier's class leads wherever it speaks and says another.

        The probabilities of the two classes change places: how far the first leads the second stays as it was, so
        a tie remains one.
        """
        first = p.argmax(axis=1)
        top = np.partition(p, -2, axis=1)[:, -2:]
        said = self.predict(p)
        rows = np.flatnonzero((said != first) & (top[:, 1] - top[:, 0] <= self.gate))
        found = p.copy()
        found[rows, said[rows]], found[rows, first[rows]] = p[rows, first[rows]], p[rows, said[rows]]
        return found

    def save(self, path: Path) -> None:
        """Write the .npz that `load` reads back."""
        with open(path, "wb") as file:
            np.savez(file, kind=np.array(self.kind), gate=np.array(self.gate), **self.arrays)  # type: ignore[arg-type]


def load(path: Path) -> Classifier:
    """The classifier in the .npz at `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no classifier.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        kind, gate = str(arrays.pop("kind")), float(arrays.pop("gate"))
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"Expected the arrays of a classifier in {path}, got damage ({error}); repair that run again."
        ) from None
    if kind not in KINDS or "classes" not in arrays:
        raise ValueError(f"Expected a classifier of the kinds {', '.join(KINDS)} in {path}, got {kind!r}.")
    return Classifier(kind, gate, arrays)


def train(kind: str, features: np.ndarray, target: np.ndarray, *, gate: float, seed: int) -> Classifier:
    """A classifier of probabilities; the same call gives the same weights.

    Args:
        kind: one of `KINDS`: a network with a hidden layer of `UNITS`, a support vector machine, a decision tree.
        features: (n, k) probabilities of the frozen network.
        target: (n,) the classes that it should have given.
        gate: see `Classifier`.
        seed: of initial weights, of shuffling, of the order in which a tree looks at equal splits.

    Raises:
        ValueError: scikit-learn is missing, another kind, or nothing to learn from.
    """
    if kind not in KINDS or not len(features) or len(features) != len(target):
        raise ValueError(
            f"Expected one of {', '.join(KINDS)} and as many targets as features, got {kind!r} with {len(features)} "
            f"features and {len(target)} targets; give what the classifier is to learn from."
        )
    try:
        from sklearn.neural_network import MLPClassifier
        from sklearn.svm import SVC
        from sklearn.tree import DecisionTreeClassifier
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Expected scikit-learn for a classifier beside the network, found no module {error.name!r}; install the "
            'extra: pip install "diverget[repair]".'
        ) from None
    x, y = np.asarray(features, dtype=np.float64), np.asarray(target, dtype=np.int64)
    classes = np.unique(y)
    if len(classes) == 1:
        return Classifier(kind, gate, {"classes": classes})
    arrays = {"classes": classes}
    if kind == "mlp":
        mlp = MLPClassifier(hidden_layer_sizes=(UNITS,), max_iter=ITERATIONS, random_state=seed).fit(x, y)
        for number, (weights, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
            arrays |= {f"weights{number}": weights, f"bias{number}": bias}
    elif kind == "svm":
        svm = SVC(kernel="rbf", gamma=GAMMA, random_state=seed).fit(x, y)
        arrays |= {
            "vectors": svm.support_vectors_,
            "of_class": np.repeat(np.arange(len(classes)), svm.n_support_),
            "weights": svm.dual_coef_,
            "bias": svm.intercept_,
        }
    else:
        tree = DecisionTreeClassifier(random_state=seed).fit(x, y).tree_
        arrays |= {
            "left": tree.children_left,
            "right": tree.children_right,
            "feature": tree.feature,
            "threshold": tree.threshold,
            "value": tree.value[:, 0, :],
        }
    return Classifier(kind, gate, arrays)


def gate_of(p: np.ndarray) -> float:
    """The gate for what is to be mended: the `GATE` quantile of how far its first probability leads the second."""
    top = np.partition(p, -2, axis=1)[:, -2:]
    return float(np.quantile(top[:, 1] - top[:, 0], GATE))


def _of_mlp(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(x @ arrays["weights0"] + arrays["bias0"], 0)
    found: np.ndarray = hidden @ arrays["weights1"] + arrays["bias1"]
    return np.concatenate([-found, found], axis=1) if len(arrays["classes"]) == 2 else found


def _of_svm(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """One vote for every pair of classes (one against one); of equal votes the first class wins."""
    vectors, of_class, weights = arrays["vectors"], arrays["of_class"], arrays["weights"]
    k = len(arrays["classes"])
    distance = (x**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2 * x @ vectors.T
    kernel = np.exp(-GAMMA * np.maximum(distance, 0))
    votes = np.zeros((len(x), k))
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    for number, (i, j) in enumerate(pairs):
        of_i, of_j = of_class == i, of_class == j
        decision = kernel[:, of_i] @ weights[j - 1, of_i] + kernel[:, of_j] @ weights[i, of_j] + arrays["bias"][number]
        # With two classes scikit-learn turns the sign round: above 0 stands for the second.
        votes[:, i] += (decision > 0) != (k == 2)
        votes[:, j] += (decision <= 0) != (k == 2)
    return votes


def _of_tree(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    left, right, feature = arrays["left"], arrays["right"], arrays["feature"]
    values = x.astype(np.float32)
    node = np.zeros(len(x), dtype=np.int64)
    while (left[node] >= 0).any():
        inner = left[node] >= 0
        low = values[np.arange(len(x)), np.maximum(feature[node], 0)] <= arrays["threshold"][node]
        node = np.where(inner, np.where(low, left[node], right[node]), node)
    return np.asarray(arrays["value"][node])


@dataclass(frozen=True, eq=False)
class Corrected:
    """A frozen network and the classifier beside it, as one model."""

    network: TFLiteModel
    classifier: Classifier
    name: str = field(default="corrected")

    @property
    def digest(self) -> str:
        return sha256(f"{self.network.digest} {self.classifier.digest}".encode()).hexdigest()

    @property
    def classes(self) -> int:
        return self.network.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.network.input_shape

    @property
    def output_step(self) -> float:
        return self.network.output_step

    @property
    def preprocessing(self) -> Preprocessing:
        return self.network.preprocessing

    def infer(self, z: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of prepared inputs z (n, *input_shape) float32."""
        return self.classifier.corrected(self.network.infer(z))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of raw patches x (n, h, w, b) float32."""
        return self.classifier.corrected(self.network.predict_proba(x))

    def fresh(self) -> Corrected:
        """The same model with interpreters of its own, none of them used yet."""
        return replace(self, network=self.network.fresh())
