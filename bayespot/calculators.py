"""ASE calculators by name, for configurations and command lines."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayespot.errors import UserError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

XTB = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB"}
"""Names of what ships with the extra ``reference``."""


def named(text: str) -> Callable[[], Calculator]:
    """A function that gives a new calculator at each call.

    Args:
        text: "gfn2-xtb" or "gfn1-xtb" (tblite), or ``module:callable`` or ``file.py:callable``, of
            a class or function that gives a calculator without arguments.  Modules are also looked
            for in the working directory; the callable may be dotted.

    Raises:
        UserError: no such calculator.

    Example:
        >>> named("ase.calculators.emt:EMT")().name
        'emt'
    """
    if text.lower() in XTB:
        return _xtb(XTB[text.lower()])
    where, colon, what = text.rpartition(":")
    if not (colon and where and what):
        raise UserError(
            f'there is no calculator "{text}"',
            f"Give {', '.join(XTB)}, or module:callable such as ase.calculators.emt:EMT",
        )
    found: Any = load_module(where, text)
    for part in what.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UserError(
            f"{where} has no callable {what}",
            "Give a class or function that makes a calculator without arguments",
        )

    def make() -> Calculator:
        made: Any = found()
        if not hasattr(made, "get_potential_energy"):
            raise UserError(
                f"{text} gave a {type(made).__name__}, which is no ASE calculator",
                "Give a class or function that makes one",
            )
        return made

    return make


def _xtb(method: str) -> Callable[[], Calculator]:
    if importlib.util.find_spec("tblite") is None:
        raise UserError(
            f"{method} needs tblite, which is not installed",
            "Run pip install 'bayespot[reference]', or name another calculator",
        )

    def make() -> Calculator:
        from tblite.ase import TBLite  # pyright: ignore[reportMissingImports]

        return TBLite(method=method, verbosity=0)

    return make


def load_module(where: str, text: str) -> Any:
    """Import an installed module, one of the working directory, or a file that ends in .py.

    Args:
        where: the module or the file.
        text: what the user wrote, for the message.

    Raises:
        UserError: whatever fails in it.
    """
    try:
        if where.endswith(".py"):
            path = Path(where).resolve()
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        here = str(Path.cwd())
        if here not in sys.path:  # a console script does not look there
            sys.path.append(here)
        return importlib.import_module(where)
    except (Exception, SystemExit) as error:  # the module's own mistakes may be any
        raise UserError(
            f'the calculator "{text}" cannot be imported ({type(error).__name__}: {error})',
            "Give module:callable of an installed module, or file.py:callable",
        ) from error
