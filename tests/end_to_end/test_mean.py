"""``[md.mean]``: the draws' mean is simulated too, as a user asks for it."""

import json
import re

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from bayespot import committee
from bayespot.calibration import Recalibration, Scale
from bayespot.cli import app
from tests.end_to_end.silicon import SETTINGS, frames

FILES = ("report.json", "report.html", "mean.npz", "uncertain.extxyz", "observables.nc")

MEAN = """
unstable = "evidence"

[md.mean]
replicas = 2
threshold = 0.01
dumps = 2
short_steps = 60
short_equilibration = 20
"""


def _settings():
    text = SETTINGS.replace('ensemble = "npt"\n', "").replace("barostat_time = 100.0\n", "")
    text = text.replace("min_distance = 1.0\n", "min_distance = 1.0\n" + MEAN)
    kept = text[: text.index("[[observables]]")]
    return (
        kept
        + '[[observables]]\nkind = "mean_energy"\n\n[[observables]]'
        + (text.split("[[observables]]")[-1])
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mean")
    ase.io.write(folder / "train.extxyz", frames(30, 0))
    ase.io.write(folder / "test.extxyz", frames(4, 1))
    ase.io.write(folder / "start.xyz", bulk("Si", cubic=True), format="extxyz")
    (folder / "small.toml").write_text(_settings())
    return folder


def _run(folder, command="run"):
    done = CliRunner().invoke(
        app, [command, str(folder / "small.toml"), "-o", str(folder / "out"), "--debug"]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.mark.slow
@pytest.mark.usefixtures("compile_fast")
def test_other_ways_are_told_compared_and_resumed(folder):
    told = _run(folder)
    out = folder / "out"
    report = json.loads((out / "report.json").read_text())
    ways = report["ways"]["observables"]
    assert set(ways) == {"mean_energy", "rdf"}
    for rows in ways.values():
        assert list(rows) == ["draws", "direct", "cumulant", "short"]
        for way, row in rows.items():
            assert row["half95"] > 0
            assert (way == "draws") == ("agree" not in row)
        # eq. and production of 3 draws: 2 replicas; of the mean the same, and energies of frames
        assert rows["draws"]["force_calls"] == 3 * 2 * 240
        assert rows["direct"]["force_calls"] == 3 * 2 * 240 + 2 * 3 * 40
        assert rows["short"]["force_calls"] == 3 * 2 * 80 + 3 * 2 * 240
    energy = ways["mean_energy"]
    assert abs(energy["direct"]["mean"] - energy["cumulant"]["mean"]) < energy["direct"]["half95"]
    assert report["stability"]["policy"] == "evidence"
    assert "the max uncertainty exceeded 0.01 eV/Å" in told
    assert "mean simulated, cumulant expansion" in told
    page = (out / "report.html").read_text()
    assert "Other ways to these intervals" in page
    assert report["half_width"]["mean_energy"] in page

    kept = ase.io.read(out / "uncertain.extxyz", index=":")
    assert len(kept) == 2 * 5 * 2  # two in each of five blocks of two replicas
    assert len(kept[0]) == 16
    assert kept[0].pbc.all()
    moved = [np.abs(a.positions - kept[0].positions).max() for a in kept[1:]]
    assert min(moved) > 1e-4

    # a finished run answers at once; a lost stage is made again, to the same bytes
    first = (out / "mean.npz").read_bytes()
    assert "mean simulated already" in _run(folder)
    (out / "mean.npz").unlink()
    _run(folder)
    assert (out / "mean.npz").read_bytes() == first
    assert json.loads((out / "report.json").read_text()) == report


@pytest.mark.slow
@pytest.mark.usefixtures("compile_fast")
def test_a_stored_recalibration_is_applied_and_undone(folder):
    told = _run(folder)
    out = folder / "out"
    assert "Uncalibrated: bayespot calibrate" in told
    before = {name: (out / name).read_bytes() for name in FILES}
    assert b"uncalibrated" in before["report.html"]
    raw = json.loads(before["report.json"])
    committee.save_recalibration(
        out, Recalibration({"forces": Scale(3.0), "energy": Scale(2.0)}, text="Factors.")
    )
    told = _run(folder)
    assert "mean simulated again" in told
    assert "the recalibrated max uncertainty exceeded 0.01 eV/Å" in told
    assert "stretched by 3, the factor of forces" in told
    report = json.loads((out / "report.json").read_text())
    assert "95 %, recalibrated" in (out / "report.html").read_text()
    largest = [
        float(re.search(r"largest ([\d.e-]+)", r["ways"]["notes"][0]).group(1))
        for r in (raw, report)
    ]
    # nothing stops: the same trajectories
    assert largest[1] == pytest.approx(3 * largest[0], rel=0.02)
    for name, o in report["observables"].items():
        wide = o.pop("recalibrated")
        assert o == raw["observables"][name]
        low, high, md, mean = (np.asarray(x, float) for x in (
            wide["low95"], wide["high95"], o["md_of_mean"], o["mean"]))  # fmt: skip
        plain = (np.asarray(o["high95"], float) - np.asarray(o["low95"], float)) / 2
        half = (high - low) / 2
        # where all draws agree there is nothing to stretch
        total = np.asarray(o["total"], float)
        t = plain / np.where(total > 0, total, 1.0) + (total == 0)
        np.testing.assert_allclose(
            (half / t) ** 2 - md**2, 9 * ((plain / t) ** 2 - md**2), rtol=1e-6, atol=1e-12
        )
        np.testing.assert_allclose((low + high) / 2, mean, rtol=1e-9)
    assert committee.remove_recalibration(out)
    _run(folder)
    assert {name: (out / name).read_bytes() for name in FILES} == before


def test_steps_that_do_not_fit_are_refused(folder):
    wrong = _settings().replace("short_steps = 60", "short_steps = 65")
    (folder / "wrong.toml").write_text(wrong)
    done = CliRunner().invoke(app, ["validate", str(folder / "wrong.toml")])
    assert done.exit_code == 2
    assert "short_steps must be a multiple of stride 10" in done.output
