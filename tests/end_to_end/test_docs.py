"""The sampler page's example runs, and its tables are those of the committed benchmark."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/choosing-a-sampler.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "choosing-a-sampler.md", "exec"), {})
    assert capsys.readouterr().out == "draws () True\n"


@pytest.mark.parametrize("name", ["throughput", "regression", "lennard_jones", "digits"])
def test_the_tables_are_those_of_the_benchmark(name):
    made = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    assert importlib.import_module(f"benchmarks.{name}").table(made) in PAGE


def test_the_figures_exist():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", PAGE):
        assert (ROOT / "docs" / path).resolve().is_file(), path
