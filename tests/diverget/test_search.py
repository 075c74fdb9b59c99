"""What every optimiser must do: keep its budget, its seed and the limits that it says it keeps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from diverget.optimisers import OPTIMISERS, Optimiser, fitting
from diverget.search import Generation, Scored, search
from tests.diverget.bowls import asked, level, points, trace, two_bowls, walled


def global_state() -> bytes:
    _, keys, *place = np.random.get_state()  # noqa: NPY002
    return keys.tobytes() + repr(place).encode()


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: o.name)
class TestEveryOptimiser:
    def test_same_seed_same_points(self, optimiser: Optimiser) -> None:
        np.testing.assert_array_equal(trace(optimiser, seed=1), trace(optimiser, seed=1))
        assert (trace(optimiser, seed=1) != trace(optimiser, seed=2)).any()

    def test_the_budget_is_met_exactly_inside_the_cube(self, optimiser: Optimiser) -> None:
        u = trace(optimiser, seed=3)
        assert u.shape == (103, 4)
        assert u.min() >= 0 and u.max() <= 1

    def test_it_leaves_the_global_generator_alone(self, optimiser: Optimiser) -> None:
        before = global_state()
        trace(optimiser, seed=4, budget=30)
        assert global_state() == before

    def test_draws_from_the_global_generator_change_nothing(self, optimiser: Optimiser) -> None:
        def drawing(generation: Generation) -> Scored:
            np.random.seed(generation.number)  # noqa: NPY002
            np.random.standard_normal(7)  # noqa: NPY002
            return two_bowls(generation)

        state = np.random.get_state()  # noqa: NPY002
        disturbed = points(asked(optimiser, drawing, seed=6))
        np.random.set_state(state)  # noqa: NPY002
        np.testing.assert_array_equal(disturbed, trace(optimiser, seed=6))

    def test_it_goes_on_from_stored_scores_as_if_it_had_never_stopped(self, optimiser: Optimiser) -> None:
        stored: dict[int, Scored] = {}
        computed: list[int] = []

        def remembered(generation: Generation) -> Scored:
            if generation.number not in stored:
                computed.append(generation.number)
                stored[generation.number] = two_bowls(generation)
            return stored[generation.number]

        begun = asked(optimiser, remembered, seed=7)
        for _ in range(4):
            next(begun)
        begun.close()
        resumed = points(asked(optimiser, remembered, seed=7))
        np.testing.assert_array_equal(resumed, trace(optimiser, seed=7))
        assert computed == list(range(len(stored)))

    @pytest.mark.parametrize("dimensions", [2, 12, 40])
    def test_tied_scores_and_tied_limits_are_repeated_too(self, optimiser: Optimiser, dimensions: int) -> None:
        first, again = (points(asked(optimiser, level, seed=8, dimensions=dimensions)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert len(first) == 103

    def test_a_space_of_one_dimension_is_searched(self, optimiser: Optimiser) -> None:
        u = points(asked(optimiser, two_bowls, seed=9, dimensions=1))
        assert u.shape == (103, 1)
        assert u.min() >= 0 and u.max() <= 1

    def test_it_climbs(self, optimiser: Optimiser) -> None:
        if optimiser.name == "random":
            pytest.skip("random search does not climb: that is its purpose")
        u = trace(optimiser, seed=5, budget=600)
        scores = two_bowls(Generation(0, 0, u))[0][:, : 1 if optimiser.most == 1 else 2].sum(axis=1)
        assert scores[-50:].mean() < 0.8 * scores[:50].mean()

    def test_it_keeps_the_limits_that_it_says_it_keeps(self, optimiser: Optimiser) -> None:
        if optimiser.name == "random":
            pytest.skip("random search heeds neither scores nor limits")
        u = points(asked(optimiser, walled, seed=10, budget=600))
        within = (u[-100:, 0] >= 0.6).mean()
        free = (points(asked(optimiser, walled, seed=10, budget=600, limits=0))[-100:, 0] >= 0.6).mean()
        if optimiser.limits:
            assert within > 0.5 and within > 1.3 * free, "it went where the limit let it"
            assert u[u[:, 0] >= 0.6][-50:, 1:].std() < 0.25, "and climbed there"
        else:
            assert within < 0.4, "the limit was not even told"

    def test_a_score_that_is_not_a_number_names_its_candidate(self, optimiser: Optimiser) -> None:
        def broken(generation: Generation) -> Scored:
            scores, excess = two_bowls(generation)
            if generation.number == 1:
                scores[2] = np.nan
            return scores, excess

        with pytest.raises(ValueError, match="candidate 12 at"):
            points(asked(optimiser, broken, seed=1, budget=100))

    def test_what_it_cannot_do_is_refused_before_anything_is_asked(self, optimiser: Optimiser) -> None:
        def never(generation: Generation) -> Scored:
            raise AssertionError("it was asked")

        for objectives in (1, 2, 4, 5):
            for limits in (0, 2):
                if optimiser.fits(objectives, limits=limits > 0):
                    continue
                with pytest.raises(ValueError, match=f"{objectives} objectives and {limits} limits.*random, ") as told:
                    list(
                        search(
                            never,
                            dimensions=3,
                            objectives=objectives,
                            limits=limits,
                            optimiser=optimiser,
                            population=10,
                            budget=20,
                            seed=0,
                        )
                    )
                assert all(name in str(told.value) for name in fitting(objectives, limits=limits > 0))


@pytest.mark.parametrize("optimiser", [o for o in OPTIMISERS if o.weighs(3)], ids=lambda o: o.name)
def test_three_objectives_are_weighed_and_one_may_say_nothing(optimiser: Optimiser) -> None:
    def told(generation: Generation) -> Scored:
        scores, excess = two_bowls(generation)
        return np.hstack([scores, np.zeros((len(scores), 1))]), excess[:, : optimiser.limits]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as where a range of 0 is divided by
        u = points(
            search(
                told,
                dimensions=4,
                objectives=3,
                limits=int(optimiser.limits),
                optimiser=optimiser,
                population=12,
                budget=601,
                seed=2,
            )
        )
    assert u.shape == (601, 4)
    assert len(np.unique(u[-60:].round(3), axis=0)) > 20, "it has not collapsed into a point"
    if optimiser.name != "random":
        first, last = (two_bowls(Generation(0, 0, part))[0].sum(axis=1).mean() for part in (u[:12], u[-60:]))
        assert last < 0.8 * first
