"""Ways out: extxyz, DP-GEN's model deviation, chemiscope, and ``bayespot predict``."""

import gzip
import json
import shutil
import sys

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from typer.testing import CliRunner

from bayespot import committee as committees
from bayespot.calibration import Predicted
from bayespot.calibration.recalibration import Recalibration, Scale
from bayespot.cli import app
from bayespot.errors import UserError
from bayespot.export import (
    annotate,
    forces_of,
    model_deviation,
    write_chemiscope,
    write_frames,
    write_model_devi,
)
from tests.end_to_end.committees import run_directory
from tests.unit.test_calculator import directly

pytestmark = pytest.mark.usefixtures("compile_fast")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run_directory(tmp_path_factory.mktemp("runs") / "argon", members=5)


@pytest.fixture(scope="module")
def frames():
    """Two crystals and a cluster, with labels under ASE's own names."""
    made = []
    for seed in range(2):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        atoms.rattle(0.1, seed=seed)
        made.append(atoms)
    made.append(ase.Atoms("Ar3", [[0, 0, 0], [3.7, 0, 0], [0.3, 3.9, 0.2]]))
    for number, atoms in enumerate(made):
        atoms.info["config_type"] = "crystal" if number < 2 else "cluster"
        calculator = AseLennardJones(sigma=3.4, epsilon=0.0104, rc=6.0)
        calculator.calculate(atoms, ["energy", "forces"])
        results = {k: calculator.results[k] for k in ("energy", "forces")}
        atoms.calc = SinglePointCalculator(atoms, **results)
    return made


@pytest.fixture(scope="module")
def predicted(folder, frames):
    return committees.load(folder).predict(frames, stress=True)


@pytest.fixture(scope="module")
def annotated(frames, predicted):
    recalibration = Recalibration({"energy": Scale(3.0), "forces": Scale(2.0)})
    return annotate(frames, predicted, recalibration=recalibration)


def test_extxyz_gives_back_what_went_in(folder, frames, annotated, tmp_path):
    path = tmp_path / "new" / "out.extxyz"
    write_frames(path, annotated)
    back = ase.io.read(path, index=":")
    committee = committees.load(folder)
    for atoms, given in zip(back, frames, strict=True):
        energy, forces, stress = directly(committee, given)
        np.testing.assert_allclose(atoms.get_potential_energy(), energy.mean(), atol=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), forces.mean(0), atol=2e-6)
        np.testing.assert_allclose(atoms.info["energy_ensemble"], energy, atol=1e-6)
        np.testing.assert_allclose(forces_of(atoms), forces, atol=2e-6)
        sigma = 3 * np.std(energy, ddof=1)
        np.testing.assert_allclose(atoms.info["energy_uncertainty"], sigma, rtol=1e-3)
        sigma = 2 * np.std(forces, axis=0, ddof=1)
        np.testing.assert_allclose(atoms.arrays["forces_uncertainty"], sigma, atol=2e-6)
        assert atoms.info["recalibrated"]
        assert atoms.info["REF_energy"] == pytest.approx(given.get_potential_energy())
        np.testing.assert_allclose(atoms.arrays["REF_forces"], given.get_forces(), atol=1e-7)
        assert atoms.info["config_type"] == given.info["config_type"]
        assert (stress is None) == ("stress_uncertainty" not in atoms.info)
        if stress is not None:
            voigt = full_3x3_to_voigt_6_stress(stress)
            np.testing.assert_allclose(atoms.get_stress(), voigt.mean(0), atol=1e-7)
            sigma = np.std(voigt, axis=0, ddof=1)
            np.testing.assert_allclose(atoms.info["stress_uncertainty"], sigma, atol=1e-8)
            stored = np.reshape(atoms.info["stress_ensemble"], (5, 3, 3))
            np.testing.assert_allclose(stored, stress, atol=1e-7)


def test_labels_and_options(frames, predicted):
    before = frames[0].copy()
    noisy = Predicted(predicted.energy, predicted.forces, None, {"energy": [0.04, 0.0, 0, 0, 0.01]})
    (made, *_) = annotate(frames, noisy, noise=True, ensembles=False)
    sigma = np.hypot(np.std(predicted.energy[:, 0], ddof=1), 0.1)
    np.testing.assert_allclose(made.info["energy_uncertainty"], sigma, rtol=1e-6)
    assert not made.info["recalibrated"]
    assert "forces_ensemble" not in made.arrays
    assert frames[0] == before
    assert "REF_energy" not in frames[0].info
    own = frames[0].copy()
    own.info["REF_energy"] = -7.0  # the label's own name wins
    own.calc = SinglePointCalculator(own, energy=-8.0)
    (made,) = annotate([own], Predicted(predicted.energy[:, :1], predicted.forces[:1]))
    assert made.info["REF_energy"] == -7.0


def test_the_file_is_a_source_for_calibrate(annotated, tmp_path):
    from bayespot import assessment

    path = tmp_path / "predicted.extxyz"
    write_frames(path, annotated)
    source = assessment.open_source(str(path), path)
    chosen = assessment.read_frames(path)
    made = assessment.assess([source], chosen, seed=0).content
    (method,) = made["methods"]
    energy = next(q for q in method["quantities"] if q["name"] == "energy")
    errors = [(a.get_potential_energy() - float(a.info["REF_energy"])) / len(a) for a in annotated]
    rmse = np.sqrt(np.mean(np.square(errors)))
    assert energy["metrics"]["rmse"]["value"] == pytest.approx(rmse, rel=1e-3)


def test_model_deviation_by_hand():
    """Numbers made by hand from the formulas of DeePMD-kit's documentation."""
    atoms = ase.Atoms("Ar2", [[0, 0, 0], [1, 0, 0]], cell=[2, 2, 2], pbc=True)
    # forces 1 and 3 along x on the first atom, (0, 0, 0) and (0, 3, 4) on the second
    forces = np.array([[[1.0, 0, 0], [0, 0, 0]], [[3.0, 0, 0], [0, 3, 4]]])
    stress = np.zeros((2, 1, 3, 3))
    stress[1, 0, 0, 0], stress[1, 0, 1, 2] = 0.5, 0.25  # virials -8 times that: -4 and -2
    predicted = Predicted(np.array([[1.0], [5.0]]), [forces], stress)
    (row,) = model_deviation([atoms], predicted)
    # per atom -2 and -1: standard deviations of (0, -2) and (0, -1) are 1 and 0.5
    virial = (1.0, 0.0, np.sqrt((1 + 0.25) / 9))
    # sqrt(<|F - <F>|^2>): 1, and |(0, 1.5, 2)| = 2.5
    np.testing.assert_allclose(row, [*virial, 2.5, 1.0, 1.75, 1.0])
    open_one = ase.Atoms("Ar2", [[0, 0, 0], [1, 0, 0]])
    free = np.array([[[-1.0, 0, 0], [1, 0, 0]], [[-3.0, 0, 0], [3, 0, 0]]])
    (row,) = model_deviation([open_one], Predicted(np.zeros((2, 1)), [free]))
    # sum of x F_x: 1 and 3, per atom 0.5 and 1.5
    np.testing.assert_allclose(row[:3], [0.5, 0.0, 0.5 / 3])
    open_one.positions += 7.0
    np.testing.assert_allclose(
        model_deviation([open_one], Predicted(np.zeros((2, 1)), [free])), [row]
    )


def test_model_devi_out_is_read_as_dpgen_does(frames, predicted, tmp_path):
    path = tmp_path / "model_devi.out"
    made = write_model_devi(path, frames, predicted, every=10)
    lines = path.read_text().splitlines()
    head = "step max_devi_v min_devi_v avg_devi_v max_devi_f min_devi_f avg_devi_f devi_e"
    assert lines[1].split() == ["#", *head.split()]
    table = np.loadtxt(path)
    np.testing.assert_array_equal(table[:, 0], [0, 10, 20])
    np.testing.assert_allclose(table[:, 1:], made, rtol=1e-6)
    forces = predicted.forces[0]
    of_atoms = np.linalg.norm(np.std(forces, axis=0), axis=-1)  # as deepmd.infer.model_devi
    np.testing.assert_allclose(made[0, 3:6], [of_atoms.max(), of_atoms.min(), of_atoms.mean()])
    # the virial of an open system is the limit of a large cell's
    cluster = frames[2].copy()
    cluster.set_cell([40.0] * 3)
    cluster.pbc = True
    assert np.isfinite(made).all()


def test_virial_of_a_cluster_is_that_in_a_large_cell(folder, frames):
    cluster, boxed = frames[2].copy(), frames[2].copy()
    boxed.set_cell([30.0] * 3)
    boxed.pbc = True
    both = [cluster, boxed]
    predicted = committees.load(folder).predict(both, stress=True)
    rows = model_deviation(both, predicted)
    np.testing.assert_allclose(rows[0], rows[1], rtol=2e-3, atol=1e-7)
    assert rows[0, 0] > 1e-5


chemiscope = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("chemiscope") is None,
    reason="chemiscope is not installed (pip install 'bayespot[export]')",
)


@chemiscope
def test_chemiscope_data(annotated, tmp_path):
    path = tmp_path / "page.json.gz"
    write_chemiscope(path, annotated, title="argon")
    content = json.loads(gzip.decompress(path.read_bytes()))
    assert content["meta"]["name"] == "argon"
    assert [s["size"] for s in content["structures"]] == [4, 4, 3]
    properties = content["properties"]
    sigma = [a.info["energy_uncertainty"] / len(a) for a in annotated]
    np.testing.assert_allclose(properties["energy_uncertainty"]["values"], sigma)
    lengths = [np.linalg.norm(a.arrays["forces_uncertainty"], axis=1) for a in annotated]
    found = properties["force_uncertainty"]
    assert found["target"] == "atom"
    np.testing.assert_allclose(found["values"], np.concatenate(lengths))
    assert "recalibrated" in found["description"]
    worst = [
        np.linalg.norm(a.get_forces() - a.arrays["REF_forces"], axis=1).max() for a in annotated
    ]
    np.testing.assert_allclose(properties["max_force_error"]["values"], worst)
    with pytest.raises(UserError, match="neither a page nor data"):
        write_chemiscope(tmp_path / "page.txt", annotated)


PATIENCE = 120_000
"""ms; pictures are drawn by the processor, which is busy."""


@chemiscope
@pytest.mark.parametrize("broken", [False, True])
def test_chemiscope_page_works_offline(annotated, tmp_path, broken):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium (Debian: apt-get install chromium)")
    path = tmp_path / "page.html"
    write_chemiscope(path, annotated, title="argon </script> & more")
    if broken:  # the control: a page whose data are no data shows nothing
        path.write_text(path.read_text().replace('"structures":', '"nothing":'))
    said, asked = [], []
    with sync_api.sync_playwright() as playwright:
        switches = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=chromium, args=switches)
        tab = browser.new_context(offline=True).new_page()
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        if broken:
            tab.wait_for_selector(".chemiscope-alert-danger", state="visible", timeout=PATIENCE)
        else:
            tab.wait_for_selector(".chemiscope-structure canvas", timeout=PATIENCE)
            tab.wait_for_selector(".chemiscope-map canvas, .chemiscope-map svg", timeout=PATIENCE)
            assert tab.title() == "argon </script> & more"
            tab.get_by_text("argon </script> & more").first.wait_for(timeout=PATIENCE)
            assert not tab.is_visible(".chemiscope-alert-danger")
            assert not said
        browser.close()
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


def test_chemiscope_is_optional(annotated, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    with pytest.raises(UserError, match=r"pip install 'bayespot\[export\]'"):
        write_chemiscope(tmp_path / "page.html", annotated)


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_predict_from_the_command_line(folder, frames, predicted, tmp_path):
    given, out = tmp_path / "given.extxyz", tmp_path / "out.extxyz"
    ase.io.write(given, frames)
    devi = tmp_path / "model_devi.out"
    done = predict(folder, given, "--out", out, "--model-devi", devi)
    assert done.exit_code == 0, done.output
    assert "3 frames, 5 members" in done.output
    assert "not recalibrated" in done.output
    back = ase.io.read(out, index=":")
    sigma = np.std(predicted.energy, axis=0, ddof=1)
    np.testing.assert_allclose([a.info["energy_uncertainty"] for a in back], sigma, rtol=1e-3)
    found = np.loadtxt(devi)[:, 4]
    np.testing.assert_allclose(found, model_deviation(frames, predicted)[:, 3], rtol=1e-3)
    committees.save_recalibration(folder, Recalibration({"energy": Scale(2.0)}))
    try:
        for option, factor in (((), 2.0), (("--plain",), 1.0)):
            done = predict(folder, given, "--out", out, "--no-ensembles", *option)
            assert ("not recalibrated" in done.output) == (factor == 1.0)
            back = ase.io.read(out, index=":")
            made = [a.info["energy_uncertainty"] for a in back]
            np.testing.assert_allclose(made, factor * sigma, rtol=1e-3)
            assert "energy_ensemble" not in back[0].info
        noise = predict(folder, given, "--out", out, "--plain", "--noise")
        assert noise.exit_code == 0
        made = [a.info["energy_uncertainty"] for a in ase.io.read(out, index=":")]
        np.testing.assert_allclose(made, np.hypot(sigma, np.exp(-7.0)), rtol=1e-3)
    finally:
        committees.remove_recalibration(folder)


def test_mistakes_of_predict(folder, frames, tmp_path):
    given = tmp_path / "given.extxyz"
    ase.io.write(given, frames)
    for arguments, told in (
        ((tmp_path / "nowhere", given), "holds no posterior.nc"),
        ((folder, tmp_path / "no.extxyz"), "there is no file"),
        ((folder, folder / "posterior.nc"), "ASE cannot read"),
        ((folder, given, "--members", 1, "--model-devi", tmp_path / "m"), "one member"),
    ):
        done = predict(*arguments, "--out", tmp_path / "out.extxyz")
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.output.split())
    done = predict(folder, given, "--members", 1, "--out", tmp_path / "out.extxyz")
    assert done.exit_code == 0
    assert "no uncertainties" in done.output
