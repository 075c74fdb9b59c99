"""Ctrl-C ends a command wherever it falls, and once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import typer

from experiments.bad_input import INTERRUPTED, told


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Destroyed:
    """Interrupted while it is destroyed, where Python drops the exception."""

    def __del__(self) -> None:
        press_ctrl_c()


class Asked(type):
    """Interrupted while NumPy asks a number's type for `__array_ufunc__`, where NumPy drops the exception."""

    def __getattr__(cls, name: str) -> None:
        press_ctrl_c()
        raise AttributeError(name)


def compare() -> None:
    class Number(int, metaclass=Asked):
        pass

    assert (np.arange(3) == Number(1)).sum() == 1


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A suite started in the background ignores Ctrl-C. Afterwards nothing of a command's handling is left."""
    before, alarm = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGALRM)
    seconds = signal.getitimer(signal.ITIMER_REAL)[0]
    yield
    left = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGINT, before)
    assert left == (signal.default_int_handler, alarm)
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 1) == (seconds > 1), "someone else's alarm is lost, or ours stays"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lose", [Destroyed, compare])
def test_an_interrupt_that_is_lost_is_raised_again(lose: Callable[[], object], capsys: pytest.CaptureFixture) -> None:
    survived = False
    with pytest.raises(typer.Exit) as ended, told(resume=lambda: "The same command goes on."):
        lose()
        survived = True
        time.sleep(30)
    assert survived, "the interrupt was not lost, and the test shows nothing"
    assert ended.value.exit_code == INTERRUPTED
    assert "Interrupted. The same command goes on." in capsys.readouterr().err


def test_what_cleans_up_is_not_interrupted_again() -> None:
    cleaned = False
    with pytest.raises(typer.Exit) as ended, told():
        try:
            press_ctrl_c()
        finally:
            time.sleep(0.7)
            cleaned = True
    assert cleaned
    assert ended.value.exit_code == INTERRUPTED


def test_the_advice_is_made_at_leisure(capsys: pytest.CaptureFixture) -> None:
    def resume() -> str:
        time.sleep(0.7)
        return "Kept."

    with pytest.raises(typer.Exit), told(resume=resume):
        press_ctrl_c()
    assert "Kept." in capsys.readouterr().err


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with told():
            press_ctrl_c()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
