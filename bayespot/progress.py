"""Progress bars with throughput and time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Progress:
    """Bars on a terminal; where output is no terminal, a line every tenth of a stage."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._bars: Any = None
        self._task: Any = None
        self._stage = ""
        self._tenth = -1
        if enabled:
            from rich.console import Console

            self._console: Any = Console(highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """A line above the bars."""
        if self.enabled:
            self._console.print(f"  {text}")

    def finish(self) -> None:
        """End the present bar."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None
        self._stage = ""

    def sampling(self, stage: str, block: Any) -> None:
        """Callback of ``infer.sample``."""
        alive = int(np.sum(block.alive))
        text = f"{block.steps_per_second:.0f} steps/s, {alive}/{len(block.alive)} chains"
        level = float(np.nanmedian(block.info.log_density[-1]))
        logging.getLogger("bayespot").debug("%s step %d log density %g", stage, block.step, level)
        self._update(stage, block.step, block.num_steps, text, block.seconds_left)

    def simulation(self, time_step: float) -> Callable[[Any], None]:
        """Callback of ``propagate``."""

        def update(block: Any) -> None:
            nanoseconds = block.replica_steps * time_step / block.seconds * 86400 / 1e6
            stable = f"{int(block.alive.sum())}/{block.alive.size} stable"
            text = f"{nanoseconds:.0f} ns/day in all, {stable}"
            self._update("simulate", block.step, block.num_steps, text, block.seconds_left)

        return update

    def training(self, updates: int) -> Callable[[int, dict[str, np.ndarray]], None]:
        """Callback of ``trainers.fit``."""
        started, first = time.perf_counter(), -1

        def update(done: int, record: dict[str, np.ndarray]) -> None:
            nonlocal first
            first = done - 1 if first < 0 else first
            shown = [name for name in record if name.split("/")[-1].endswith("loss")]
            text = ", ".join(
                f"{name.replace('_', ' ')} {_middle(record[name]):.4g}" for name in shown
            )
            seconds = (time.perf_counter() - started) / (done - first)
            self._update("train", done, updates, text, seconds * (updates - done))

        return update

    def _update(self, stage: str, step: int, total: int, text: str, left: float) -> None:
        if not self.enabled:
            return
        if self._stage != stage:
            self.finish()
            self._stage, self._tenth = stage, -1
        if not self._console.is_terminal:
            tenth = 10 * step // total
            if tenth > self._tenth:
                self._tenth = tenth
                self.note(f"{stage:9s} {100 * step // total:3d} %  {text}, {left:.0f} s left")
            return
        if self._bars is None:
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("  {task.description:9s}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._bars.start()
            self._task = self._bars.add_task(stage, total=total, text="")
        self._bars.update(self._task, completed=step, text=f"{text}, {left:.0f} s left")


def _middle(values: np.ndarray) -> float:
    """Median of the members whose number is finite."""
    finite = np.asarray(values)[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
