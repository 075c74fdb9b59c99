"""Numbers in words: none is rounded to all or nothing."""

from __future__ import annotations

import pytest

from experiments import wording


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.031, "3.1"),
        (0.9871, "98.7"),
        (0.99961, "99.96"),
        (0.999999, ">99.99"),
        (1.0, "100"),
        (0.0, "0"),
        (0.0034, "0.34"),
    ],
)
def test_shares_never_round_to_all_or_nothing(value: float, words: str) -> None:
    assert wording.share(value) == words


def test_numbers_speak_plainly() -> None:
    assert [wording.number(v) for v in (None, 0, 0.12345, 3.1e-7, 12345.0)] == [
        "–",
        "0",
        "0.123",
        "3.1 · 10⁻⁷",
        "12\u202f345",
    ]
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert [wording.size(v).replace("\u202f", " ") for v in (900, 1300, 5_124_000)] == ["900 B", "1.3 kB", "5.12 MB"]


@pytest.mark.parametrize(
    ("value", "words"), [(22_987_584, "23.0 M"), (281_640, "282 k"), (950, "950"), (1_723_680, "1.72 M"), (None, "–")]
)
def test_large_counts_have_three_digits(value: int | None, words: str) -> None:
    assert wording.large(value).replace("\u202f", " ") == words
