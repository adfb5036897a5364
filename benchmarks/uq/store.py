"""What is finished, on disk: a run that was killed goes on after it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayespot import files
from benchmarks.common import plain

PARTS = Path("runs/uq")


def kept(path: Path, depends: Any, make: Callable[[], dict]) -> dict:
    """The numbers in ``path`` where they were made with ``depends``, or new ones."""
    depends = plain(depends)
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["depends"] == depends:
            return stored["made"]
    made = plain(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"depends": depends, "made": made})
    return made
