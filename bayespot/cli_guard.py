"""What every command does with a mistake: one sentence and an exit code, or the traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from bayespot.errors import UserError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def guard(work: Callable[[], None], debug: bool) -> None:
    """Run; a user's mistake is one sentence and the fix, exit code 2.

    Args:
        work: the command.
        debug: errors go on to the caller, with their traceback.

    Raises:
        typer.Exit: code 2 after an error, 130 when interrupted.
    """
    try:
        work()
    except UserError as error:
        if debug:
            raise
        typer.echo(f"Error: {_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("\nInterrupted; the same command continues.", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"Error: {type(error).__name__}: {_line(error)}. This is a bug: run again with"
            " --debug and report it.",
            err=True,
        )
        raise typer.Exit(2) from None


def _line(error: Exception) -> str:
    """Its message on one line: messages of libraries that we quote may have several."""
    return " ".join(str(error).split("\n"))
