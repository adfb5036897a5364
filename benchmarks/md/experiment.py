"""The four parts and their tables."""

from pathlib import Path

from benchmarks.common import Setting
from benchmarks.md import committee, fluid, memory, overhead


def run(setting: Setting, out: Path) -> dict:
    del out  # no figures
    quick = setting == "quick"
    return {
        "overhead": overhead.run(quick),
        "committee": committee.run(quick),
        "fluid": fluid.run(quick),
        "memory": memory.run(),
    }


def table(result: dict) -> str:
    return "\n\n".join(
        (
            overhead.table(result["overhead"]),
            committee.table(result["committee"]),
            fluid.table(result["fluid"]),
            memory.table(result["memory"]),
        )
    )
