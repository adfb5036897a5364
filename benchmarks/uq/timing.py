"""Seconds that pass and seconds of the processor, which others on the machine do not change."""

import resource
import time


class Clock:
    """Started when it is made."""

    def __init__(self) -> None:
        self.wall, self.core = time.perf_counter(), _core()

    def read(self) -> dict[str, float]:
        """``seconds`` that passed and ``core_seconds`` of all threads and finished children."""
        return {
            "seconds": time.perf_counter() - self.wall,
            "core_seconds": _core() - self.core,
        }


def _core() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)
