"""``bayespot calibrate`` given what it cannot use: one sentence on what and where, and the fix."""

import json

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from bayespot.cli import app
from bayespot.report import calibration_page as page
from tests.end_to_end.committees import argon, labelled_argon, run_directory


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def content(folder):
    return json.loads((folder / "calibration.json").read_text())


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    monkeypatch.setattr(page.figures, "pictures", lambda *_: [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--data", "DATA"], "there is no file or directory nowhere"),
        (["DATA"], "there are no test frames"),
        (["DATA", "--data", "nowhere.extxyz"], "there is no file nowhere.extxyz"),
        (["DATA", "--data", "DATA", "--fraction", "0.3", "--recalibrate-on", "DATA"], "Give one"),
        (["DATA", "--data", "DATA", "--method", "mse"], "Give one of nll, crps"),
        (["DATA", "--data", "DATA", "--per", "atom"], "Give one of element, config_type"),
        (["DATA", "--data", "DATA", "--name", "a", "--name", "b"], "1 sources and 2 names"),
        (["DATA", "--undo"], "is no run directory"),
        (["no_such_module:X", "--data", "DATA"], "cannot be imported"),
        (["PLAIN", "--data", "DATA"], "lacks energy_ensemble or forces_ensemble"),
        (["FOLDER", "--data", "DATA"], "holds no posterior.nc"),
        (["NPZ", "--data", "DATA"], "3 frames of 12 atoms in all, and"),
        (["DATA", "--data", "FOLDER"], "is a directory"),
        (["DATA", "--data", "BARE"], "Name the key: --forces-key my_forces"),
        (["DATA", "--data", "DATA", "--fraction", "1.5"], "Give a number between 0 and 1"),
        (["DATA", "--data", "DATA", "--conformal"], "Give --recalibrate-on or --fraction as well"),
        (["DATA", "--data", "DATA", "--fraction", "0.3", "--method", "isotonic", "--per",
          "element"], "Leave --per out"),
        (["DATA", "--data", "DATA", "--fraction", "0.03"], "would rest on chance"),
        (["DATA", "--data", "DATA", "--seed", "-1"], "--seed -1 is negative"),
        (["DATA", "--data", "DATA", "--name", " "], "a --name is empty"),
        (["DATA", "--data", "DATA", "--out", "BARE/x"], "cannot be made (Not a directory)"),
        (["TEXT", "--data", "DATA"], "energy_ensemble of type <U"),
        (["NOISE", "--data", "DATA"], "forces_noise of shape (3,) for 2 members"),
        (["NOT", "--data", "DATA"], "has a NaN or infinite forces_noise"),
        (["WORDS", "--data", "DATA"], "frame 1 of WORDS has an ensemble that is not made of"),
        (["BROKEN", "--data", "DATA"], "BROKEN cannot be run (SyntaxError"),
        (["FAILS", "--data", "DATA"], "calculators() of FAILS fails (OSError: no weights)"),
        (["COPIES", "--data", "DATA"], "these look like copies of one"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_the_fix(narrow, tmp_path, arguments, words):
    ase.io.write(tmp_path / "plain.extxyz", argon(2))
    (tmp_path / "folder").mkdir()
    arrays = {"energy_ensemble": np.zeros((2, 3)), "forces_ensemble": np.zeros((2, 12, 3))}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "noise.npz", **arrays, forces_noise=np.ones(3))
    np.savez(tmp_path / "not.npz", **arrays, forces_noise=np.nan)
    np.savez(tmp_path / "text.npz", **{k: v.astype(str) for k, v in arrays.items()})
    images = ase.io.read(narrow, ":")
    images[1].info["energy_ensemble"] = "one two"
    ase.io.write(tmp_path / "words.extxyz", images)
    del images[0].calc.results["forces"]
    ase.io.write(tmp_path / "bare.extxyz", images[:1])
    (tmp_path / "broken.py").write_text("calculators = [")
    (tmp_path / "fails.py").write_text("def calculators():\n    raise OSError('no weights')")
    (tmp_path / "copies.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "calculators = [LennardJones(sigma=3.4, epsilon=0.01, rc=6.0)] * 3\n"
    )
    names = {"DATA": narrow, "PLAIN": tmp_path / "plain.extxyz", "FOLDER": tmp_path / "folder",
             "NPZ": tmp_path / "a.npz", "BARE": tmp_path / "bare.extxyz",
             "BARE/x": tmp_path / "bare.extxyz" / "x"}  # fmt: skip
    for name in ("text.npz", "noise.npz", "not.npz", "words.extxyz", "broken.py", "fails.py",
                 "copies.py"):  # fmt: skip
        names[name.partition(".")[0].upper()] = tmp_path / name
    error = call(*(names.get(a, a) for a in arguments), code=2)
    for name, path in names.items():
        error = error.replace(str(path), name)
    # a slow machine tells of its progress, in lines that are indented
    (error,) = [line for line in error.splitlines() if not line.startswith("  ")]
    assert error.startswith("Error: ")
    assert words in error


def test_a_run_that_is_spoilt_or_too_far_away_says_so(tmp_path):
    data = labelled_argon(tmp_path / "test.extxyz", count=6)
    images = ase.io.read(data, ":")
    images[4].symbols[1] = "Kr"
    ase.io.write(tmp_path / "krypton.extxyz", images)
    run = run_directory(tmp_path / "run")
    error = call(run, "--data", tmp_path / "krypton.extxyz", code=2)
    assert "frame 4 of" in error
    assert "has Kr, and run was trained on Ar" in error
    (run / "recalibration.json").write_text("{")
    assert "recalibration.json cannot be read as JSON" in call(run, "--data", data, code=2)
    (run / "posterior.nc").write_bytes(b"spoilt")
    assert "cannot be read as posterior draws" in call(run, "--data", data, code=2)
    (run / "potential.json").write_text("{")
    assert "potential.json cannot be read as JSON" in call(run, "--data", data, code=2)


def test_frames_whose_ensemble_lacks_the_stress_are_judged_without_it(narrow, tmp_path):
    images = ase.io.read(narrow, ":")
    for atoms in images[::2]:
        del atoms.info["stress_ensemble"]
    ase.io.write(tmp_path / "half.extxyz", images)
    call(tmp_path / "half.extxyz", narrow, "--data", narrow, "--out", tmp_path)
    half, whole = content(tmp_path)["methods"]
    frames = [{q["name"]: q["frames"] for q in m["quantities"]} for m in (half, whole)]
    assert frames[0] == {**frames[1], "stress": 30}
    # one member that gives NaN is a mistake all the same
    images = ase.io.read(narrow, ":")
    images[3].info["stress_ensemble"][0] = np.nan
    ase.io.write(tmp_path / "nan.extxyz", images)
    error = call(tmp_path / "nan.extxyz", "--data", narrow, code=2)
    assert "member 0 of nan predicts no finite stress for frame 3" in error


def test_members_that_cannot_disagree_are_found(fair, tmp_path):
    images = ase.io.read(fair, ":")
    for atoms in images[:2]:  # as of isolated atoms, whose energies were fixed
        atoms.info["energy_ensemble"] = np.full(8, -1.0)
    ase.io.write(tmp_path / "fixed.extxyz", images)
    call(tmp_path / "fixed.extxyz", "--data", fair, "--out", tmp_path)
    made = content(tmp_path)
    energy, forces = made["methods"][0]["quantities"][:2]
    assert energy["verdict"]["kind"] == "do_not_trust"
    assert "agree to the last digit on 2 of 60 numbers" in energy["verdict"]["sentence"]
    assert "leave out what members cannot disagree about (2 numbers" in made["next"][0]
    assert forces["verdict"]["kind"] == "trust"
