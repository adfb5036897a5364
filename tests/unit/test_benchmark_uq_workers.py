"""Workers of the coverage benchmark: their results in order, and none left when it is killed."""

import operator
import os
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.uq.workers import each

PARENT = """
import sys
import time
from benchmarks.uq.workers import each

if __name__ == "__main__":
    each(time.sleep, [(600.0,)] * 2, 2)
"""


def test_results_are_in_the_order_of_the_calls():
    assert each(operator.sub, [(5, 1), (5, 2), (5, 3)], 2) == [4, 3, 2]


def test_an_error_of_a_worker_is_told():
    with pytest.raises(ZeroDivisionError):
        each(operator.truediv, [(1, 1), (1, 0)], 2)


def test_workers_end_with_the_one_that_began_them(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    found = []
    try:
        found = _until(lambda: len(_workers(parent.pid)) == 2 and _workers(parent.pid))
        parent.kill()
        parent.wait()
        _until(lambda: not any(_lives(child) for child in found))
        assert len(found) == 2
    finally:
        for process in (parent, *filter(_lives, found)):
            process.kill()


def _workers(parent):
    """Those of its children that work."""
    children = psutil.Process(parent).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def _lives(child):
    """An orphan that nobody asks about stays as a zombie."""
    try:
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
