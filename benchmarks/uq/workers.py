"""Several processes, which end with the one that began them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any


def each(function: Callable[..., Any], calls: Sequence[tuple], workers: int) -> list:
    """What ``function`` makes of each of ``calls``, at most ``workers`` at a time, in order.

    An error is told when all that had begun have ended.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_mortal) as pool:
        jobs = [pool.submit(function, *call) for call in calls]
        return [job.result() for job in jobs]


def _mortal() -> None:
    """A parent that is killed says nothing; its workers would go on for hours."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
