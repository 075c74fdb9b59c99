"""What repairs are made of."""

import numpy as np
import pytest

from experiments.repair.methods import within


@pytest.mark.parametrize(("beyond", "ends"), [(0.0, (-2, 6)), (0.25, (-4, 8)), (np.inf, (-100, 300))])
def test_a_harsh_value_widens_the_range_so_far_and_no_further(beyond: float, ends: tuple[float, float]) -> None:
    clean = np.array([[-2.0, 0.0], [1.0, 6.0]], dtype=np.float32)
    distorted = np.array([[-100.0, 0.5], [7.5, 300.0]], dtype=np.float32)
    found = within(clean, distorted, beyond)
    assert (found.min(), found.max(), found.dtype) == (*ends, np.float32)
    assert found[0, 1] == np.float32(0.5)


def test_inputs_that_are_all_the_same_have_no_range_to_widen() -> None:
    found = within(np.ones((2, 3), np.float32), np.array([[0.0, 1.0, 2.0]], np.float32), np.inf)
    np.testing.assert_array_equal(found, [[0, 1, 2]])
