"""The main job as a user runs it, small: files, contents, continuing, and surviving kill -9."""

import json
import re
import tomllib
from pathlib import Path

import ase.io
import numpy as np
import pytest
import tomli_w

from tests.end_to_end.processes import FAST, command, kill_when, run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESULTS = ("posterior.nc", "observables.nc", "report.json", "report.html")


def _config(folder: Path) -> Path:
    """The shipped example with everything small."""
    raw = tomllib.loads((EXAMPLES / "ethanol.toml").read_text())
    for key, number in (("train", 100), ("test", 50)):
        frames = ase.io.read(EXAMPLES / raw["data"][key], f":{number}")
        raw["data"][key] = str(folder / f"{key}.extxyz")
        ase.io.write(raw["data"][key], frames)
    raw["reference"]["file"] = str(EXAMPLES / raw["reference"]["file"])
    raw["potential"] |= {"features": 8, "basis": 12}
    raw["sampler"] |= {"chains": 3, "burn_in": 40, "draws": 5, "thinning": 20}
    raw["sampler"]["warm_start"] |= {"steps": 150}
    raw["md"] |= {
        "temperature": 100.0, "steps": 200, "equilibration": 20, "blocks": 10, "draws": 6,
        "replicas": 2, "max_bond_deviation": 1.5, "min_distance": 0.1,
    }  # fmt: skip
    path = folder / "small.toml"
    path.write_text(tomli_w.dumps(raw))
    return path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    config = _config(folder)
    done = run(command("run", config, folder / "out"), folder, **FAST)
    assert done.returncode == 0, done.stderr
    return config, folder / "out", done


def test_everything_promised_is_there(unbroken):
    _, out, done = unbroken
    for name in (*RESULTS, "config.toml", "run.log", "timings.json"):
        assert (out / name).stat().st_size > 0
    assert not (out / "checkpoints").exists()
    assert "steps/s" in done.stdout
    assert "ns/day" in done.stdout
    assert "s left" in done.stdout
    log = (out / "run.log").read_text()
    for text in ("versions", '"jax"', "seed 0", "stage sample", "stage simulate"):
        assert text in log
    resolved = tomllib.loads((out / "config.toml").read_text())
    assert resolved["sampler"]["preconditioner_memory"] == 0.99  # a default, written out


def test_report_holds_what_it_should(unbroken):
    report = json.loads((unbroken[1] / "report.json").read_text())
    for name in ("energy", "forces"):
        c = report["calibration"][name]
        for key in ("rmse", "mae", "nll", "crps", "miscalibration_area"):
            assert np.isfinite(c[key])
        assert set(c["coverage"]) == {"0.68", "0.95"}
        assert len(c["reliability"]) == 19
    assert set(report["observables"]) == {"h_r", "dihedral", "mean_energy", "heat_capacity"}
    for o in report["observables"].values():
        low68, high68, low95, high95 = (
            np.asarray(o[k]) for k in ("low68", "high68", "low95", "high95")
        )
        assert np.all(low95 <= low68)
        assert np.all(high68 <= high95)
        for key in ("mean", "total", "parameter", "md", "md_of_mean", "reference"):
            assert np.all(np.isfinite(o[key]))
        assert 0 <= o["coverage"]["inside95"] <= 1
    assert report["chains"]["function_space"]["ess_bulk_min"] > 0
    width = 4.0 / 100
    assert np.sum(report["observables"]["h_r"]["mean"]) * width == pytest.approx(1, abs=0.02)


def test_page_is_self_contained(unbroken):
    page = (unbroken[1] / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert 'name="viewport"' in page
    assert not re.search(r'(?:src|href)="https?:', page)
    assert "<script" not in page
    assert page.count('role="img"') == 5
    assert page.count("aria-label=") == 5
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert {a or b for a, b in used} <= set(ids)


def test_a_finished_run_answers_at_once(unbroken):
    config, out, _ = unbroken
    before = {name: (out / name).read_bytes() for name in RESULTS}
    done = run(command("run", config, out), config.parent, **FAST)
    assert done.returncode == 0
    assert "sampled already" in done.stdout
    assert "simulated already" in done.stdout
    assert "steps/s" not in done.stdout
    assert "ns/day" not in done.stdout
    assert before == {name: (out / name).read_bytes() for name in RESULTS}


def test_another_configuration_does_not_overwrite(unbroken, tmp_path):
    config, out, _ = unbroken
    raw = tomllib.loads(config.read_text())
    raw["run"]["seed"] = 1
    other = tmp_path / "other.toml"
    other.write_text(tomli_w.dumps(raw))
    done = run(command("run", other, out), config.parent, **FAST)
    assert done.returncode == 2
    assert "holds a run with other settings" in done.stderr
    assert "--fresh" in done.stderr


@pytest.mark.slow  # simulate and fit, killed, are tested in any run
def test_kill_9_at_every_stage_and_the_result_is_the_same(unbroken, tmp_path):
    config, whole, _ = unbroken
    out = tmp_path / "out"
    for stage in ("optimisation", "psgld", "md"):
        state = out / "checkpoints" / stage / "state.npz"
        kill_when(state.exists, command("run", config, out), config.parent, **FAST)
    assert run(command("run", config, out), config.parent, **FAST).returncode == 0
    for name in RESULTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
