"""What a command ends with: its exit codes, and one message in place of a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from experiments.interrupt import insisting

DONE, NOT_MET, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def told(*, resume: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turn bad input into one message and exit code 2, and Ctrl-C into 130 with the way to go on."""
    try:
        with insisting():
            yield
    except KeyboardInterrupt:
        try:
            advice = resume()
        except (ValueError, OSError) as error:
            advice = f"No report could be written ({sentence(error)})"
        typer.echo("\nInterrupted." + (f" {advice}" if advice else ""), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except MemoryError:
        typer.echo(
            "error: Expected the data and the patches to fit into memory, got no more of it; lower `split.assessed`, "
            "`split.baseline` or `workers`, or take a smaller scene. Nothing evaluated is lost.",
            err=True,
        )
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, OSError) as error:
        typer.echo(f"error: {sentence(error)}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def sentence(error: Exception) -> str:
    """What is told of bad input; of what the system refused, the file and the way out."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        import errno

        where = f" {error.filename}" if error.filename else ""
        if error.errno == errno.ENOSPC:
            return (
                f"Expected room on the disk for{where or ' the run'}, got none left; free some, then run the same "
                "again: nothing evaluated is lost."
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                f"Expected permission for{where}, got “{error.strerror}”; choose another --out, or change its "
                "permissions."
            )
        return f"{error.strerror}:{where}."
    return str(error)
