from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diverget.models import preprocessing
from diverget.models.preprocessing import LAYOUTS, Preprocessing
from tests.diverget.models.networks import scaling


def scene(count: int = 40, side: int = 5, bands: int = 20, *, seed: int = 0) -> np.ndarray:
    """Correlated spectra at the level of reflectance times 10 000."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * np.geomspace(1, 1e-2, bands)[:, None]
    return (3000 + 400 * rng.normal(size=(count, side, side, bands)) @ mixing).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("pca", "whiten"), [(None, True), (None, False), (6, True), (6, False)])
def test_apply_is_the_formula_in_float64(layout: str, pca: int | None, whiten: bool) -> None:
    x = scene()
    fitted = preprocessing.fit(x.reshape(-1, 20), pca=pca, whiten=whiten, layout=layout)
    z = fitted.apply(x)
    exact = (x.astype(np.float64) - fitted.shift) / fitted.scale
    exact = exact if fitted.components is None else exact @ fitted.components
    exact = {
        "hwb": exact,
        "hwb1": exact[..., None],
        "bhw": exact.transpose(0, 3, 1, 2),
        "1bhw": exact.transpose(0, 3, 1, 2)[:, None],
        "centre": exact[:, 2, 2, :, None],
    }[layout]
    assert z.dtype == np.float32
    assert z.shape == (40, *fitted.shape((5, 5, 20))) == exact.shape
    np.testing.assert_allclose(z, exact, atol=2e-3 * np.abs(exact).std())


@pytest.mark.parametrize(("side", "bands", "pca"), [(5, 20, 6), (9, 103, 30), (25, 200, 30), (1, 200, 1), (1, 7, 7)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(side: int, bands: int, pca: int, layout: str) -> None:
    x = scene(23, side, bands)
    fitted = preprocessing.fit(scene(200, 2, bands).reshape(-1, bands), pca=pca, whiten=True, layout=layout)
    whole = fitted.apply(x)
    for rows in (slice(0, 1), slice(22, 23), slice(3, 10), slice(1, 18)):
        assert fitted.apply(x[rows]).tobytes() == whole[rows].tobytes()
    shuffled = np.random.default_rng(1).permutation(23)
    assert fitted.apply(x[shuffled]).tobytes() == whole[shuffled].tobytes()
    framed = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))[:, 2:-2, 2:-2]
    assert not framed.flags.c_contiguous
    assert fitted.apply(framed).tobytes() == whole.tobytes()


def test_bits_do_not_depend_on_blas_threads() -> None:
    code = (
        "import sys, hashlib; from tests.diverget.models.test_preprocessing import scene; "
        "from diverget.models.preprocessing import Preprocessing; import numpy as np; "
        "m = np.random.default_rng(2).normal(size=(200, 30)); "
        "p = Preprocessing(np.full(200, 3000.0), np.full(200, 400.0), m, 'hwb'); "
        "print(hashlib.sha256(p.apply(scene(3, 25, 200)).tobytes()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[3]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1


def test_fitted_outputs_have_unit_variance_and_are_uncorrelated() -> None:
    pixels = scene(400).reshape(-1, 20)
    z = preprocessing.fit(pixels, pca=8, whiten=True, layout="hwb").apply(pixels[:, None, None])[:, 0, 0]
    np.testing.assert_allclose(np.cov(z, rowvar=False), np.eye(8), atol=1e-2)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-2)
    z = preprocessing.fit(pixels, pca=None, whiten=True, layout="hwb").apply(pixels[:, None, None])
    np.testing.assert_allclose(z.std(axis=(0, 1, 2), ddof=1), 1, rtol=1e-3)


def test_fit_is_stable_under_the_order_of_axes_and_signs() -> None:
    pixels = scene().reshape(-1, 20)
    once, again = (preprocessing.fit(pixels.copy(), pca=5, whiten=True, layout="hwb") for _ in range(2))
    assert once.digest == again.digest
    largest = np.abs(once.components).argmax(axis=0)
    assert (once.components[largest, np.arange(5)] > 0).all()


def test_a_dead_band_is_only_centred() -> None:
    pixels = scene().reshape(-1, 20).copy()
    pixels[:, 4] = 7.0
    z = preprocessing.fit(pixels, pca=None, whiten=True, layout="hwb").apply(pixels[:, None, None])
    assert np.isfinite(z).all() and not z[..., 4].any()


def test_scaling_and_identity() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(scaling(255).apply(x), x / np.float32(255))
    np.testing.assert_array_equal(preprocessing.identity().apply(x), x)
    assert preprocessing.identity("hwb1").apply(x).shape == (1, 2, 3, 4, 1)
    np.testing.assert_array_equal(preprocessing.identity("centre").apply(x)[0, :, 0], x[0, 1, 1])


def test_digest_tells_every_part_apart() -> None:
    parts: list[Preprocessing] = [
        preprocessing.identity(),
        preprocessing.identity("hwb1"),
        scaling(2),
        Preprocessing(np.full(3, 1.0), np.ones(1), None, "hwb"),
        Preprocessing(np.full(3, 1.0), np.ones(3), None, "hwb"),
        Preprocessing(np.full(3, 1.0), np.ones(3), np.eye(3), "hwb"),
    ]
    assert len({part.digest for part in parts}) == len(parts)


def test_a_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    pixels = scene().reshape(-1, 20)
    for fitted in (
        preprocessing.fit(pixels, pca=5, whiten=True, layout="hwb1"),
        preprocessing.fit(pixels, pca=None, whiten=True, layout="centre"),
        scaling(255),
    ):
        fitted.save(tmp_path / "p.json")
        assert preprocessing.load(tmp_path / "p.json").digest == fitted.digest
        assert fitted.describe().endswith(".")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pca", [None, 5])
def test_an_order_gives_the_network_the_bands_it_knows(tmp_path: Path, layout: str, pca: int | None) -> None:
    x = scene(6)
    fitted = preprocessing.fit(x.reshape(-1, 20), pca=pca, whiten=True, layout=layout)
    shuffled = np.random.default_rng(1).permutation(20)
    ordered = replace(fitted, order=np.argsort(shuffled))
    assert ordered.digest != fitted.digest and ordered.bands == 20
    np.testing.assert_array_equal(ordered.apply(x[..., shuffled]), fitted.apply(x))
    assert "order of the data file" in ordered.describe()
    ordered.save(tmp_path / "p.json")
    assert preprocessing.load(tmp_path / "p.json").digest == ordered.digest
    same = replace(fitted, order=np.arange(20))
    assert same.digest == fitted.digest and same.describe() == fitted.describe()


def test_a_hand_written_file_may_leave_things_out(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"scale": 255}')
    assert preprocessing.load(tmp_path / "p.json").digest == scaling(255).digest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "does not parse"),
        ("[1]", "keys shift, scale, components, layout"),
        ('{"mean": 1}', "mean"),
        ('{"shift": "a"}', "'shift'"),
        ('{"scale": 0}', "scale other than 0"),
        ('{"scale": [1, 0]}', r"band\(s\) \[1\]"),
        ('{"shift": NaN}', "not finite"),
        ('{"shift": 1e300}', "not finite"),
        (f'{{"shift": 1{"0" * 400}}}', "numbers under 'shift'"),
        (f'{{"shift": 1{"0" * 5000}}}', "does not parse"),
        ("[" * 100_000, "does not parse"),
        ('{"layout": ["hwb"]}', r"\['hwb'\]"),
        ('{"order": [0, 0, 1]}', "names each of its 3 bands once"),
        ('{"order": [0, 1], "shift": [1, 2, 3]}', "names each of its 3 bands once"),
        ('{"order": [0.5]}', "list of band numbers"),
        ('{"layout": "chw"}', "'chw'"),
        ('{"components": [[1, 2], [3]]}', "equally long rows"),
        ('{"components": [1, 2]}', "matrix"),
        ('{"shift": [1, 2, 3], "scale": [1, 2]}', "agree in bands"),
        ('{"shift": [1, 2, 3], "components": [[1], [2]]}', "agree in bands"),
    ],
)
def test_a_bad_file_is_told_with_its_path(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ValueError, match=told) as caught:
        preprocessing.load(tmp_path / "p.json")
    assert str(tmp_path / "p.json") in str(caught.value)


def test_what_cannot_be_prepared_is_refused(tmp_path: Path) -> None:
    pixels = scene().reshape(-1, 20)
    fitted = preprocessing.fit(pixels, pca=5, whiten=True, layout="hwb")
    with pytest.raises(ValueError, match="20 bands"):
        fitted.apply(np.zeros((1, 5, 5, 19), np.float32))
    with pytest.raises(ValueError, match="float64"):
        fitted.apply(np.zeros((1, 5, 5, 20)))
    with pytest.raises(ValueError, match="from 1 to 20"):
        preprocessing.fit(pixels, pca=21, whiten=True, layout="hwb")
    with pytest.raises(ValueError, match="from 1 to 3"):
        preprocessing.fit(np.repeat(pixels[:, :3], 2, axis=1), pca=4, whiten=True, layout="hwb")
    with pytest.raises(ValueError, match="at least 2"):
        preprocessing.fit(pixels[:1], pca=None, whiten=True, layout="hwb")
    with pytest.raises(FileNotFoundError, match="nothing at"):
        preprocessing.load(tmp_path / "none.json")
