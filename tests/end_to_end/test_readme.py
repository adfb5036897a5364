"""The README's example runs, and its numbers are those of the committed benchmark."""

import json
import re
from pathlib import Path

from benchmarks.demo import table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(compile_fast, monkeypatch, capsys):
    """As it stands there, but for a fifth of the optimisation, which takes most of its time."""
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code.count("steps=1000") == 1
    code = code.replace("steps=1000", "steps=200")
    exec(compile(code, "README.md", "exec"), {})
    assert re.fullmatch(r"-\d+\.\d\d eV, 95 %: -\d.* to -\d.* eV\n", capsys.readouterr().out)


def test_the_table_is_that_of_the_benchmark():
    made = json.loads((ROOT / "benchmarks/demo.json").read_text(encoding="utf-8"))
    assert table(made) in README


def test_the_commands_are_real():
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
