"""What the experiments share: command line, JSON with its circumstances, timing, and figures.

An experiment is a module with ``run(setting, out) -> dict`` of plain numbers and settings, which
saves its figures in ``out``, and ``table(result) -> str`` in markdown.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import matplotlib
import numpy as np

import samplers

matplotlib.use("Agg")  # before pyplot: no display where benchmarks run
import matplotlib.pyplot as plt

Setting = Literal["quick", "full"]
Run = Callable[[Setting, Path], dict]

# Okabe & Ito's palette: told apart by colour-blind readers
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"
)  # fmt: skip
GREY, LIGHT = "#7a7a7a", "#d0d0d0"
DPI = 130

plt.rcParams.update(
    {
        "figure.dpi": DPI,
        "figure.constrained_layout.use": True,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.4,
    }
)


def environment() -> dict:
    """What the numbers depend on besides the settings."""
    names = ("jax", "jaxlib", "blackjax", "optax", "numpy", "scipy")
    versions = {name: importlib.metadata.version(name) for name in names}
    # ``samplers`` ships in the distribution ``bayespot``
    versions["samplers"] = importlib.metadata.version("bayespot")
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The revision, with a ``+`` where files differ from it; None outside a repository."""
    where = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=where, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip()


def perform(name: str, run: Run, setting: Setting, out: Path) -> dict:
    """One experiment, timed, with its circumstances; also written to ``out/NAME.json``."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    made = run(setting, out)
    result = {
        "experiment": name,
        "setting": setting,
        **made,
        "wall_seconds": time.perf_counter() - started,
        "environment": environment(),
    }
    result = plain(result)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def main(name: str, run: Run, table: Callable[[dict], str], page: Path | None = None) -> None:
    """``python -m benchmarks.NAME --setting quick --out DIR [--page]``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--setting", choices=("quick", "full"), default="quick")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    if page is not None:
        parser.add_argument("--page", action="store_true", help=f"rewrite the table of {page.name}")
    given = parser.parse_args()
    result = perform(name, run, given.setting, given.out)
    print(table(result))
    print(f"\n{result['wall_seconds']:.0f} s; figures and {name}.json in {given.out}")
    if page is not None and given.page:
        write_table(page, name, table(result))


def write_table(page: Path, name: str, table: str) -> None:
    """Put a table between the markers of ``name`` on a page."""
    page.write_text(with_table(page.read_text(encoding="utf-8"), name, table), "utf-8")


def with_table(page: str, name: str, table: str) -> str:
    """``page`` with the table between the markers of ``name`` replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no place for {name}: <!-- {name} --> ... <!-- end -->")
    return pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", page)


def plain(value: Any) -> Any:
    """Numbers, strings, lists and dicts only; floats to six digits, not-a-number as None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    return value


class Timed(NamedTuple):
    """A finished run and its seconds of computing, those of compiling left out."""

    result: samplers.Result
    seconds: float


def timed(
    key: jax.Array, sampler: samplers.Sampler, positions: Any, data: Any = None, **settings: Any
) -> Timed:
    """``samplers.run`` with its time; the first block, which compiles, counts as an average one."""
    ends: list[tuple[int, float]] = []
    made = samplers.run(
        key, sampler, positions, data,
        callback=lambda block: ends.append((block.step, time.perf_counter())), **settings,
    )  # fmt: skip
    (first, start), (last, end) = ends[0], ends[-1]
    return Timed(made, (end - start) * last / (last - first) if last > first else np.nan)


def steps_per_draw(result: samplers.Result, thinning: int) -> int:
    """Steps of one chain over the whole run."""
    return len(result.kept) * thinning


def wasserstein(a: np.ndarray, b: np.ndarray, levels: int = 400) -> np.ndarray:
    """Wasserstein-1 distance of the columns of two samples: mean gap of their quantiles."""
    p = (np.arange(levels) + 0.5) / levels
    return np.abs(np.quantile(a, p, axis=0) - np.quantile(b, p, axis=0)).mean(axis=0)


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers come formatted."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float | None, digits: int = 2) -> str:
    """Significant digits without an exponent where that is short."""
    if value is None or not np.isfinite(value):
        return "–"
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:.{decimals}f}"
