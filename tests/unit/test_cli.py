import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

from bayespot import config, pipeline
from bayespot.cli import app
from bayespot.errors import UserError

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
SETTINGS = """
[data]
train = "train.extxyz"
test = "test.extxyz"

[potential]
kind = "schnet"

[[potential.priors]]
kind = "harmonic_bonds"
temperature = 300.0

[md]
temperature = 300.0

[[observables]]
kind = "mean_energy"

[[observables]]
kind = "distances"
"""


def frames(seeds):
    made = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        atoms = ase.Atoms("OH2", WATER + rng.normal(0, 0.02, (3, 3)))
        forces = rng.normal(0, 1, (3, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-14.0, forces=forces)
        made.append(atoms)
    return made


@pytest.fixture
def settings(tmp_path):
    ase.io.write(tmp_path / "train.extxyz", frames(range(10)))
    ase.io.write(tmp_path / "test.extxyz", frames(range(10, 13)))
    (tmp_path / "my.toml").write_text(SETTINGS)
    return tmp_path / "my.toml"


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def check_error(result, *texts):
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for text in texts:
        assert text in lines[0]
    assert "Traceback" not in result.output


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        **options,
    )


def test_version():
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout == f"bayespot {version('bayespot')}\n"


def test_help_names_the_commands():
    result = call("--help")
    assert result.exit_code == 0
    for name in ("run", "validate", "template"):
        assert name in result.stdout


def test_template_is_a_valid_configuration():
    result = call("template")
    assert result.exit_code == 0
    made = config.parse(tomllib.loads(result.stdout))
    assert {o.kind for o in made.observables} >= {"distances", "mean_energy"}
    assert "#" in result.stdout


def test_what_the_template_comments_out_is_valid_too():
    lines = call("template").stdout.splitlines()
    entry = re.compile(r"# (\[|\w+ = )")
    text = "\n".join(line[2:] if entry.match(line) else line for line in lines)
    made = config.parse(tomllib.loads(text))
    assert made.reference is not None
    assert made.data.energy_key == "REF_energy"


def test_validate_prints_counts(settings):
    result = call("validate", settings)
    assert result.exit_code == 0
    expected = "is valid: 8 train, 2 validation, 3 test frames, 2 observables"
    assert result.stdout == f"{settings} {expected}\n"
    assert sorted(p.name for p in settings.parent.iterdir()) == [
        "my.toml",
        "test.extxyz",
        "train.extxyz",
    ]


@pytest.mark.parametrize("name", ["validate", "run"])
def test_mistakes_in_the_configuration(settings, name):
    check_error(call(name, settings.parent / "no.toml"), "no configuration", "bayespot template")
    settings.write_text(SETTINGS.replace("[md]", "[md]\nfrition = 1.0"))
    check_error(call(name, settings), "unknown key md.frition", "Did you mean friction")
    settings.write_text(SETTINGS.replace("[md]", "[md"))
    check_error(call(name, settings), "not valid TOML")
    assert not list(settings.parent.glob("runs*"))


def test_mistakes_in_the_data(settings):
    broken = frames(range(10, 13))
    broken[1].calc.results["energy"] = np.nan
    ase.io.write(settings.parent / "test.extxyz", broken)
    check_error(call("validate", settings), "frame 1 of", "test.extxyz", "NaN", "relabel")
    (settings.parent / "test.extxyz").unlink()
    check_error(call("validate", settings), "there is no file", "test.extxyz")


def test_mistakes_that_only_the_data_reveal(settings):
    extra = '\n[[observables]]\nkind = "dihedral"\natoms = [0, 1, 2, 3]\n'
    settings.write_text(SETTINGS + extra)
    check_error(call("validate", settings), "atoms [0, 1, 2, 3] in a molecule of 3", "0 to 2")
    settings.write_text(SETTINGS + '\n[reference]\nfile = "no.npz"\n')
    check_error(call("validate", settings), "no reference file", "no.npz")


def test_debug_raises(settings):
    settings.unlink()
    for name in ("validate", "run"):
        result = call(name, settings, "--debug")
        assert isinstance(result.exception, UserError)


@pytest.fixture
def stub(monkeypatch):
    calls = []

    def install(outcome):
        def fake(settings, folder, progress):
            calls.append(folder)
            raise outcome

        monkeypatch.setattr(pipeline, "run", fake)
        return calls

    return install


def test_bugs_are_one_line_too(settings, stub):
    stub(RuntimeError("first\nsecond"))
    out = settings.parent / "out"
    check_error(call("run", settings, "-o", out), "RuntimeError: first second", "--debug")
    assert "ERROR RuntimeError" in (out / "run.log").read_text()
    result = call("run", settings, "-o", out, "--debug")
    assert isinstance(result.exception, RuntimeError)


def test_quoted_messages_stay_on_one_line(settings, stub):
    stub(UserError("ASE cannot read\nthis", "Give another"))
    check_error(call("run", settings, "-o", settings.parent / "out"), "read this. Give another.")


def test_interruption(settings, stub):
    stub(KeyboardInterrupt())
    result = call("run", settings, "-o", settings.parent / "out")
    assert result.exit_code == 130
    assert "the same command continues" in result.stderr


def test_the_run_directory_by_default(settings, stub, monkeypatch):
    calls = stub(UserError("stop", "here"))
    monkeypatch.chdir(settings.parent)
    call("run", settings)
    assert [str(folder) for folder in calls] == ["runs/my"]
    assert (settings.parent / "runs" / "my" / "run.log").is_file()


def test_fresh_never_deletes_what_is_no_run_directory(settings, stub):
    calls = stub(UserError("stop", "here"))
    treasure = settings.parent / "home" / "thesis.tex"
    treasure.parent.mkdir()
    treasure.write_text("years of work")
    (treasure.parent / "run.log").write_text("of something else")
    result = call("run", settings, "--output", treasure.parent, "--fresh")
    check_error(result, f"{treasure.parent} is no run directory", "--output")
    assert treasure.read_text() == "years of work"
    result = call("run", settings, "--output", treasure, "--fresh")
    check_error(result, f"{treasure} is a file")
    assert treasure.read_text() == "years of work"
    assert not calls


def test_fresh_empties_a_run_directory(settings, stub):
    calls = stub(UserError("stop", "here"))
    out = settings.parent / "out"
    (out / "checkpoints").mkdir(parents=True)
    (out / "fingerprint.json").write_text(json.dumps({}))
    (out / "posterior.nc").write_text("old")
    call("run", settings, "--output", out)
    assert (out / "posterior.nc").exists()
    call("run", settings, "--output", out, "--fresh")
    assert [p.name for p in out.iterdir()] == ["run.log"]
    assert calls == [out, out]


def test_fresh_after_a_run_that_failed_at_its_data(settings):
    test = settings.parent / "test.extxyz"
    content = test.read_bytes()
    test.unlink()
    out = settings.parent / "out"
    for _ in range(2):
        check_error(call("run", settings, "-o", out, "--fresh"), "there is no file")
    test.write_bytes(content)
    assert [p.name for p in out.iterdir()] == ["run.log"]


def test_the_command_line_starts_without_jax():
    code = (
        "import sys, bayespot.cli, bayespot.config\n"
        "heavy = {'jax', 'ase', 'scipy', 'matplotlib', 'arviz', 'numpyro'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = command("-c", code)
    assert result.returncode == 0, result.stderr


def test_help_in_a_process_imports_no_jax():
    result = command("-X", "importtime", "-m", "bayespot.cli", "--help")
    assert result.returncode == 0
    assert "validate" in result.stdout
    imported = [line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()]
    assert "bayespot.errors" in imported
    assert "jax" not in imported
    assert "ase" not in imported


def test_an_error_in_a_process(tmp_path):
    result = command("-m", "bayespot.cli", "validate", "no.toml", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: there is no configuration no.toml. ")
    assert result.stderr.count("\n") == 1
    result = command("-m", "bayespot.cli", "validate", "no.toml", "--debug", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
