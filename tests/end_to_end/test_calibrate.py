"""``bayespot calibrate`` as users meet it: sources of every kind, recalibration, mistakes."""

import json
import re
import textwrap
from pathlib import Path

import ase.io
import jsonschema
import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from typer.testing import CliRunner

from bayespot import committee
from bayespot.assessment import read_frames
from bayespot.cli import app
from bayespot.report import calibration_page as page
from tests.end_to_end.committees import (
    EPSILON,
    RANGE,
    labelled_argon,
    run_directory,
    with_ensemble,
)

VALIDATOR = jsonschema.Draft202012Validator(page.schema())
MODEL = "ase.calculators.lj:LennardJones?sigma={}&epsilon=0.0104&rc=6.0&smooth=True"


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def content(folder):
    made = json.loads((folder / "calibration.json").read_text())
    VALIDATOR.validate(made)
    for name in ("calibration.html", "calibration.md"):
        assert (folder / name).stat().st_size > 1000
    return made


def metric(made, quantity, name, method=0):
    found = {q["name"]: q for q in made["methods"][method]["quantities"]}
    return found[quantity]["metrics"][name]["value"]


def to_npz(images, path):
    """The same ensemble as plain arrays."""
    forces = [np.moveaxis(a.arrays["forces_ensemble"].reshape(len(a), -1, 3), 1, 0) for a in images]
    members = len(forces[0])
    np.savez(
        path,
        energy_ensemble=np.stack([a.info["energy_ensemble"] for a in images], axis=1),
        forces_ensemble=np.concatenate(forces, axis=1),
        stress_ensemble=np.stack(
            [np.reshape(a.info["stress_ensemble"], (members, 3, 3)) for a in images], axis=1
        ),
    )
    return path


@pytest.fixture(autouse=True)
def _few_figures(request, monkeypatch):
    """Figures take most of the time and have their own tests: the first test alone draws them."""
    if request.node.name != "test_known_factors_are_found":
        monkeypatch.setattr(page.figures, "pictures", lambda *_: [])


def test_known_factors_are_found(narrow, fair, tmp_path, monkeypatch):
    told = call(narrow, "--data", narrow, "--out", tmp_path / "narrow")
    found = re.match(r"Stretch by ([\d.]+) - narrow", told)
    assert 1.8 < float(found[1]) < 2.25
    made = content(tmp_path / "narrow")
    found = {q["name"]: q["verdict"] for q in made["methods"][0]["quantities"]}
    assert list(found) == ["energy", "forces", "force_vectors", "stress"]
    for verdict in found.values():
        assert verdict["kind"] == "stretch"
        assert 1.6 < verdict["stretch"] < 2.4
    assert made["methods"][0]["recalibration"] is None
    assert "not recalibrated" in told
    assert made["data"] == {**made["data"], "file": "narrow.extxyz", "frames": 60}
    assert (tmp_path / "narrow" / "calibration.html").read_text().count("<figure>") > 15
    monkeypatch.setattr(page.figures, "pictures", lambda *_: [])
    # the same committee with errors of the right size
    assert call(fair, "--data", fair, "--out", tmp_path / "fair").startswith("Trust - fair")
    assert content(tmp_path / "fair")["methods"][0]["verdict"]["kind"] == "trust"


def test_a_shuffled_file_and_plain_arrays_give_the_same(narrow, tmp_path):
    images = ase.io.read(narrow, ":")
    order = np.random.default_rng(1).permutation(len(images))
    ase.io.write(tmp_path / "shuffled.extxyz", [images[i] for i in order])
    sources = [tmp_path / "shuffled.extxyz", to_npz(images, tmp_path / "arrays.npz")]
    call(*sources, "--data", narrow, "--out", tmp_path / "out", "--name", "a", "--name", "b")
    made = content(tmp_path / "out")
    assert [m["name"] for m in made["methods"]] == ["a", "b"]
    first, second = ({**m, "name": ""} for m in made["methods"])
    assert json.dumps(first).replace("shuffled", "") == json.dumps(second).replace("arrays", "")
    # learned noise adds to the spread, in its own part
    arrays = dict(np.load(tmp_path / "arrays.npz"))
    np.savez(tmp_path / "noisy.npz", **arrays, forces_noise=0.05)
    call(tmp_path / "noisy.npz", "--data", narrow, "--out", tmp_path / "noisy")
    parts = content(tmp_path / "noisy")["methods"][0]["quantities"][1]["parts"]
    assert parts["aleatoric"] == pytest.approx(0.05)
    assert parts["epistemic"] == made["methods"][0]["quantities"][1]["parts"]["epistemic"]
    # members that are out of order do change it
    np.savez(
        tmp_path / "wrong.npz",
        **{k: v[:, ::-1] for k, v in arrays.items()},
    )
    call(tmp_path / "wrong.npz", "--data", narrow, "--out", tmp_path / "wrong")
    assert metric(content(tmp_path / "wrong"), "forces", "rmse") > 3 * metric(
        made, "forces", "rmse"
    )


def test_recalibration_on_a_fraction(narrow, tmp_path):
    told = call(narrow, "--data", narrow, "--fraction", 0.4, "--out", tmp_path)
    made = content(tmp_path)
    before, after = made["methods"]
    assert before["recalibration"] is None
    assert made["data"]["frames"] == 36
    for name in ("forces", "stress"):
        assert metric(made, name, "mean_squared_z", 0) > 2.5
        assert 0.7 < metric(made, name, "mean_squared_z", 1) < 1.4
    kinds = {q["name"]: q["verdict"]["kind"] for q in after["quantities"]}
    assert (kinds["forces"], kinds["force_vectors"]) == ("trust", "trust")
    assert after["recalibration"]["kind"] == "scale"
    stored = json.loads((tmp_path / "recalibration.json").read_text())
    assert 1.7 < stored["maps"]["forces"]["factor"] < 2.3
    assert "recalibration.json" in told


def test_frames_of_both_uses_are_refused(narrow, tmp_path):
    images = ase.io.read(narrow, ":")
    ase.io.write(tmp_path / "more.extxyz", images[5:10])
    error = call(narrow, "--data", narrow, "--recalibrate-on", tmp_path / "more.extxyz", code=2)
    assert "is the same configuration as frame 5 of" in error
    ase.io.write(tmp_path / "test.extxyz", images[10:])
    call(
        narrow, "--data", tmp_path / "test.extxyz", "--recalibrate-on", tmp_path / "more.extxyz",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert len(content(tmp_path / "out")["methods"]) == 2


def test_out_of_distribution_is_judged_apart(tmp_path):
    data = with_ensemble(tmp_path / "d.extxyz", count=80, factor=5.0, only="liquid")
    told = call(data, "--data", data, "--ood-types", "liquid", "--out", tmp_path)
    made = content(tmp_path)
    forces = next(q for q in made["methods"][0]["quantities"] if q["name"] == "forces")
    groups = forces["groups"]["domain"]
    assert groups["in"]["verdict"]["kind"] == "trust"
    assert groups["out"]["verdict"]["kind"] == "do_not_trust"
    assert told.startswith("Do not trust here - d\n")
    assert 0.3 < forces["metrics"]["ood_auroc"]["value"] < 0.7  # spread knows nothing of it
    # frames that recalibrate are from inside
    chosen = read_frames(data, fraction=0.3, ood_types=["liquid"])
    assert [frame.atoms.info["config_type"] for frame in chosen.calibration] == ["crystal"] * 12
    where = [frame.atoms.info["config_type"] for frame in chosen.test]
    assert [name == "liquid" for name in where] == list(chosen.out)
    # the same with a file of its own
    images = ase.io.read(data, ":")
    for name, part in (("in", images[::2]), ("out", images[1::2])):
        ase.io.write(tmp_path / f"{name}.extxyz", part)
    call(data, "--data", tmp_path / "in.extxyz", "--ood", tmp_path / "out.extxyz",
         "--out", tmp_path / "again")  # fmt: skip
    again = content(tmp_path / "again")
    assert metric(again, "forces", "ood_auroc") == pytest.approx(
        metric(made, "forces", "ood_auroc")
    )
    # blanks after commas are no part of names
    call(data, "--data", data, "--ood-types", " liquid ", "--out", tmp_path / "again")
    assert content(tmp_path / "again")["methods"] == made["methods"]
    assert "config_type liquy" in call(data, "--data", data, "--ood-types", "liquy", code=2)


def test_calculators_are_members(tmp_path):
    data = labelled_argon(tmp_path / "test.extxyz")
    sigmas = (3.38, 3.41, 3.44)
    names = ",".join(MODEL.format(s) for s in sigmas)
    (tmp_path / "models.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "more = dict(epsilon=0.0104, rc=6.0, smooth=True)\n"
        f"calculators = [LennardJones(sigma=s, **more) for s in {sigmas}]\n"
    )
    call(names, tmp_path / "models.py", "--data", data, "--out", tmp_path)
    made = content(tmp_path)
    assert [m["name"] for m in made["methods"]] == ["LennardJones × 3", "models"]
    assert [m["members"] for m in made["methods"]] == [3, 3]
    errors = []
    for atoms in ase.io.read(data, ":"):
        forces = []
        for s in sigmas:
            copy = atoms.copy()
            copy.calc = LennardJones(sigma=s, epsilon=EPSILON, rc=RANGE, smooth=True)
            forces.append(copy.get_forces())
        errors.append(np.mean(forces, axis=0) - atoms.get_forces())
    expected = float(np.sqrt(np.mean(np.square(errors))))
    for i in (0, 1):
        assert metric(made, "forces", "rmse", i) == pytest.approx(expected, rel=1e-6)
        assert metric(made, "stress", "rmse", i) > 0
    one = MODEL.format(3.4)
    assert "one has no spread" in call(one, "--data", data, code=2)
    error = call("ase.calculators.emt:EMT," + one, "--data", data, code=2)
    assert "fails on frame 0 of" in error
    assert "No EMT-potential for Ar" in error
    error = call("ase.calculators.tip3p:TIP3P?cut=1," + one, "--data", data, code=2)
    assert "TIP3P cannot be made with cut=1" in error


def test_a_calculator_with_an_ensemble_of_its_own(tmp_path, monkeypatch):
    data = labelled_argon(tmp_path / "test.extxyz")
    (tmp_path / "ensemble_of_mine.py").write_text(
        "import numpy as np\n"
        "from ase.calculators.lj import LennardJones\n"
        "class Mine(LennardJones):\n"
        "    def calculate(self, *args, **kwargs):\n"
        "        super().calculate(*args, **kwargs)\n"
        "        e, f = self.results['energy'], self.results['forces']\n"
        "        self.results['energy_ensemble'] = e + np.array([-0.01, 0.0, 0.01])\n"
        "        self.results['forces_ensemble'] = f * np.array([0.9, 1.0, 1.1])[:, None, None]\n"
    )
    monkeypatch.chdir(tmp_path)
    call("ensemble_of_mine:Mine?sigma=3.42&epsilon=0.0104&rc=6.0&smooth=True", "--data", data)
    made = content(tmp_path / "runs" / "calibration")
    assert made["methods"][0]["members"] == 3
    parts = {q["name"]: q["parts"]["epistemic"] for q in made["methods"][0]["quantities"]}
    assert parts["energy"] == pytest.approx(0.01 / 4, rel=1e-6)
    assert "stress" not in parts  # it has none of its members


def test_a_run_keeps_its_recalibration_until_it_is_undone(tmp_path):
    train = labelled_argon(tmp_path / "train.extxyz", seed=1)
    data = labelled_argon(tmp_path / "test.extxyz", count=12, seed=2)
    more = labelled_argon(tmp_path / "more.extxyz", count=12, seed=3)
    run = run_directory(tmp_path / "run", train=train)
    assert "not recalibrated" in call(run, "--data", data)
    raw = content(run)
    told = call(run, "--data", data, "--recalibrate-on", more)
    assert f"{run / 'recalibration.json'}" in told
    stored = committee.load(run).recalibration
    assert stored is not None
    assert stored.frames == 12
    # everyone who loads the run has it now, this command too
    assert "not recalibrated" not in call(run, "--data", data)
    made = content(run)
    (method,) = made["methods"]
    assert method["recalibration"]["kind"] == "scale"
    assert metric(made, "forces", "mean_squared_z") != pytest.approx(
        metric(raw, "forces", "mean_squared_z"), rel=1e-3
    )
    assert "removed" in call(run, "--undo")
    assert committee.load(run).recalibration is None
    assert "was not there" in call(run, "--undo", "--data", data)
    assert content(run)["methods"] == raw["methods"]
    # what the run was trained on cannot test it
    error = call(run, "--data", train, code=2)
    assert "is the same configuration as frame 0 of" in error
    assert "training" in error


def test_a_label_of_another_name(narrow, tmp_path):
    images = ase.io.read(narrow, ":")
    for atoms in images:
        atoms.info["dft_energy"], atoms.arrays["dft_forces"] = (
            atoms.get_potential_energy(),
            atoms.get_forces(),
        )
        atoms.calc = None
    ase.io.write(tmp_path / "d.extxyz", images)
    keys = ("--energy-key", "dft_energy", "--forces-key", "dft_forces")
    call(narrow, "--data", tmp_path / "d.extxyz", "--out", tmp_path, *keys)
    assert metric(content(tmp_path), "forces", "rmse") > 0


def test_the_example_of_the_documentation_runs(capsys):
    docs = Path(__file__).resolve().parents[2] / "docs/calibrating.md"
    text = docs.read_text(encoding="utf-8")
    ((code, said),) = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", text, re.DOTALL)
    exec(compile(code, "calibrating.md", "exec"), {})
    assert capsys.readouterr().out == textwrap.dedent(said)
    # every option it names is one
    known = CliRunner().invoke(app, ["calibrate", "--help"], env={"COLUMNS": "200"}).output
    for option in set(re.findall(r"(--[a-z-]+)\b", text)):
        assert option in known, option
