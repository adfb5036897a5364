"""Sections of ``bayespot fit``: what they refuse, and the numbers they turn into."""

import re
import tomllib
from importlib.resources import files

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk

from bayespot import build, config
from bayespot.build.coarse import reference_frames
from bayespot.build.labels import optimizer
from bayespot.build.simulation import training_md
from bayespot.build.targets import targets
from bayespot.data import Frame
from bayespot.errors import UserError
from tests.unit.frames import WATER, labelled

DATA = {"train": "a.extxyz", "test": "b.extxyz"}
LABELS = {"kind": "force_matching", "updates": 3}
MD = {"temperature": 300.0, "start": {"structure": "box.xyz"}}
DENSITY = {"observable": {"kind": "density"}, "value": 1.4, "error": 0.01}
FM = {"data": DATA, "trainer": LABELS}
TOP = {"md": MD, "trainer": {"kind": "difftre", "updates": 3}, "targets": [DENSITY]}


def with_(raw, place="trainer", **changes):
    return {**raw, place: {**raw.get(place, {}), **changes}}


def parts(**changes):
    trainer = {"kind": "interleaved", "updates": 5,
               "parts": [{"kind": "force_matching"}, {"kind": "difftre"}]}  # fmt: skip
    return {"data": DATA, "md": MD, "targets": [DENSITY], "trainer": trainer | changes}


REFUSED = {
    "typo": (with_(FM, updats=3), "unknown key trainer.updats", "Did you mean updates"),
    "typo within": (with_(FM, weights={"enrgy": 1.0}), "trainer.weights.enrgy", "energy"),
    "typo in a part": (parts(parts=[{"kind": "difftre", "trst": 1}, {"kind": "stable"}]),
                       "unknown key trainer.parts.0.trst", "Did you mean trust"),
    "typo in a target": ({**TOP, "targets": [{**DENSITY, "wight": 1.0}]}, "targets.0.wight",
                         "Did you mean weight"),
    "lacks": ({"data": DATA, "trainer": {"kind": "force_matching"}}, "lacks trainer.updates",
              "bayespot template --fit"),
    "no trainer": ({"data": DATA}, "lacks trainer."),
    "no data": ({"trainer": LABELS}, "force_matching needs [data]"),
    "no md": ({**TOP, "md": None}, "difftre needs [md]"),
    "no targets": ({**TOP, "targets": []}, "difftre needs [targets]"),
    "no atoms": (with_(TOP, "md", start=None), "which atoms there are"),
    "far point": ({**TOP, "targets": [{**DENSITY, "point": 1}]}, "state point 1", "[md] has 1"),
    "twice": ({**TOP, "targets": [DENSITY, DENSITY]}, "density has two targets at state point 0"),
    "namesakes": ({**TOP, "targets": [DENSITY, {**DENSITY, "observable": {"kind": "rdf",
                   "name": "density"}}]}, "two observables are called density"),
    "both": ({**TOP, "targets": [{**DENSITY, "file": "x"}]}, "either value or file"),
    "unequal": (with_(TOP, "md", temperature=[300.0, 310.0], pressure=[0.0, 0.1, 0.2]),
                "lists of one length"),
    "same points": (with_(TOP, "md", temperature=[300.0, 300.0]), "a state point twice"),
    "steps": (with_(TOP, "md", steps=105), "steps 105 must be a multiple of stride 10"),
    "one part": (parts(parts=[{"kind": "difftre"}]), "at least 2"),
    "two alike": (parts(parts=[{"kind": "difftre"}] * 2), "two parts are difftre"),
    "turns": (parts(turns=[1]), "1 turns for 2 parts"),
    "stable equilibrates": (with_({**TOP, "md": {**MD, "equilibration": 100}}, kind="stable"),
                            "equilibration must be 0"),
    "large seed": ({**FM, "run": {"seed": 2**63}}, "run.seed", "less than"),
    "no energies": (with_(FM, mapping={"groups": [[0]], "elements": ["C"]}), "have forces only"),
    "two maps": (with_(FM, mapping={"elements": ["C"]}), "either groups or file"),
    "self bond": (with_(TOP, kind="stable", neighborhoods={"atoms": [0, 1], "molecules": 2,
                  "bonds": [[1, 1]]}), "different places in atoms"),
    "two atoms alike": (with_(TOP, kind="stable", neighborhoods={"atoms": [0, 0], "molecules": 2}),
                        "atoms must be different"),
    "no balance": (with_(TOP, kind="stable", neighborhoods={"atoms": [0, 1], "molecules": 2}),
                   "give some, or per_bin = 0"),
    "mapping": ({"md": MD, "trainer": {"kind": "relative_entropy", "updates": 1, "reference": "r",
                 "mapping": {"groups": [[0, 1], [2]], "elements": ["C"]}}},
                "1 elements for 2 groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_key(name):
    raw, *texts = REFUSED[name]
    with pytest.raises(UserError) as caught:
        config.parse_fit(raw, "my.toml")
    for text in ("my.toml", *texts):
        assert text in str(caught.value)


@pytest.mark.parametrize("raw", [FM, TOP, parts(turns=[2, 1])], ids=["labels", "top", "parts"])
def test_round_trip(raw):
    made = config.parse_fit(raw)
    text = config.dumps(made)
    assert config.parse_fit(tomllib.loads(text)) == made


def test_a_fit_is_no_run_and_the_other_way(tmp_path):
    with pytest.raises(UserError, match="Train with bayespot fit"):
        config.parse(FM)
    path = tmp_path / "fit.toml"
    path.write_text(config.dumps(config.parse_fit(FM)))
    assert config.trains(path)
    made = config.load_fit(path)
    assert made.data.train == tmp_path / "a.extxyz"
    run = {"data": DATA, "md": {"temperature": 300.0}, "observables": [{"kind": "mean_energy"}]}
    with pytest.raises(UserError, match="belong together"):
        config.parse({**run, "sampler": {"method": "fit"}})
    sampler = {"method": "fit", "fit": "runs/fit", "chains": 1, "draws": 1}
    assert config.parse({**run, "sampler": sampler}).sampler.fit is not None


def test_the_template_and_each_of_its_choices_parse():
    text = files("bayespot").joinpath("template_fit.toml").read_text(encoding="utf-8")
    assert config.parse_fit(tomllib.loads(text)).trainer.members == 4
    head, md, *choices = re.split(r"^# ---- .*\n", text, flags=re.MULTILINE)
    bare = [re.sub(r"^# ?", "", part, flags=re.MULTILINE) for part in (md, *choices)]
    seen = []
    start = head[: head.index("[trainer]")]
    for choice in bare[1:]:
        raw = tomllib.loads(start + bare[0] + choice)
        if raw["trainer"]["kind"] in ("stable", "interleaved"):
            raw |= {"targets": [DENSITY]}
        if raw["trainer"]["kind"] == "stable":
            raw["md"]["temperature"] = 300.0
        if "mapping" in raw["trainer"]:
            del raw["data"]
        seen.append(config.parse_fit(raw).trainer.kind)
    assert seen == ["difftre", "relative_entropy", "stable", "interleaved"]
    # commented keys of force matching are its defaults, or keys it knows
    free = re.sub(r"^# (?=\w+ = )", "", head[head.index("[trainer]") :], flags=re.MULTILINE)
    assert config.parse_fit(tomllib.loads(start + free)).trainer.config_types == {"liquid": 2.0}


def test_state_points_lie_along_the_replicas():
    md = config.TrainingMD(temperature=(300.0, 400.0), pressure=0.1, ensemble="npt", replicas=2,
                           steps=600, equilibration=400)  # fmt: skip
    assert md.points == [(300.0, 0.1), (400.0, 0.1)]
    ensemble, length, replicas = training_md(md)
    assert (replicas, ensemble.temperature, ensemble.pressure) == (4, (300, 300, 400, 400), 0.1)
    assert (length.steps, length.equilibration, length.block_steps) == (600, 400, 200)
    one, whole, _ = training_md(config.TrainingMD(temperature=300.0, steps=600))
    assert (one.temperature, whole.blocks) == (300.0, 1)


@pytest.mark.parametrize(
    ("decay", "half"), [("cosine", 0.505), ("exponential", 0.1), ("constant", 1)]
)
def test_learning_rates_fall(decay, half):
    """Adam's first step is the learning rate; a constant gradient keeps its steps at it."""
    made = optimizer(config.Adam(learning_rate=0.1, decay=decay), 100)
    state, steps = made.init(np.zeros(())), []
    for _ in range(101):
        step, state = made.update(np.ones(()), state)
        steps.append(-float(step))
    assert steps[0] == pytest.approx(0.1, rel=1e-3)
    assert steps[50] == pytest.approx(0.1 * half, rel=1e-3)
    last = 1.0 if decay == "constant" else 0.01
    assert steps[100] == pytest.approx(0.1 * last, rel=1e-3)


def _fm(**changes):
    return config.parse_fit(with_(FM, **changes)).trainer


def _typed(*names):
    made = []
    for number, name in enumerate(names):
        atoms = ase.Atoms("Ar", info={"config_type": name, "w": 1.0 + number})
        made.append(Frame(atoms, 0.0, np.zeros((1, 3)), "a.xyz", number))
    return tuple(made)


def test_frames_are_weighed_by_type_and_number():
    some = _typed("bulk", "liquid", "bulk")
    assert build.frame_weights(_fm(), some) is None
    made = build.frame_weights(_fm(config_types={"liquid": 5.0}), some)
    np.testing.assert_array_equal(made, [1.0, 5.0, 1.0])
    made = build.frame_weights(_fm(config_types={"bulk": 0.5}, weight_key="w"), some)
    np.testing.assert_array_equal(made, [0.5, 2.0, 1.5])
    with pytest.raises(UserError, match=r"no training frame has config_type gas.*bulk, liquid"):
        build.frame_weights(_fm(config_types={"gas": 1.0}), some)
    with pytest.raises(UserError, match=r"frame 0 of a.xyz has no number heavy"):
        build.frame_weights(_fm(weight_key="heavy"), some)


def test_molecules_are_mapped_to_centres_of_mass_across_faces(tmp_path):
    """Two waters of which one lies across a face: its centre is where the whole molecule is."""
    whole, far = np.array(WATER), np.array([5.8, 3.0, 3.0])
    positions = np.concatenate([whole + 2.0, whole + far])
    box = ase.Atoms("OH2OH2", positions, cell=[6.0, 6.0, 6.0], pbc=True)
    box.wrap()
    assert np.ptp(box.positions[3:], axis=0)[0] > 4  # torn
    ase.io.write(tmp_path / "water.xyz", [box, box], format="extxyz")
    mapping = {"groups": [[0, 1, 2]], "elements": ["O"], "molecules": 2}
    section = {"kind": "relative_entropy", "updates": 1, "reference": tmp_path / "water.xyz"}

    def read(**changes):
        raw = {"md": MD, "trainer": {**section, "mapping": {**mapping, **changes}}}
        return reference_frames(config.parse_fit(raw).trainer)

    ((sites, again),) = read()
    masses = box.get_masses()[:3]
    centre = masses @ whole / masses.sum()
    np.testing.assert_allclose(sites.atoms.positions, [centre + 2.0, centre + far],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(sites.atoms.get_masses(), masses.sum())
    assert sites.atoms.get_chemical_formula() == again.atoms.get_chemical_formula() == "O2"
    for changes in ({"molecules": 4}, {"groups": [[0, 3]]}):
        with pytest.raises(UserError, match=r"6 atoms, which are no . molecules"):
            read(**changes)


ARGON = bulk("Ar", "fcc", a=5.5, cubic=True).repeat(2)
START = [Frame(ARGON, 0.0, np.zeros((32, 3)), "box.xyz", 0)]
RDF = {"kind": "rdf", "high": 5.0, "bins": 5}  # centres 0.5 ... 4.5


def _targets(*sections, **more):
    md = {**MD, "ensemble": "npt", "temperature": [80.0, 90.0]}
    raw = {**TOP, "md": md, "targets": list(sections), **more}
    return targets(config.parse_fit(raw), START)


def test_targets_from_files_are_interpolated(tmp_path):
    path = tmp_path / "rdf.txt"
    path.write_text("# r g error\n0 0 1\n1 0 1\n3 4 3\n5 0 1\n")
    section = {"observable": RDF, "file": path}
    number, curve, hot = _targets(DENSITY, section, {**section, "point": 1, "error": 0.5})
    assert (float(number.value), float(number.error), number.point) == (1.4, 0.01, 0)
    np.testing.assert_allclose(curve.value, [0.0, 1.0, 3.0, 3.0, 1.0])
    np.testing.assert_allclose(curve.error, [1.0, 1.5, 2.5, 2.5, 1.5])
    assert hot.observable == curve.observable
    assert (hot.point, float(hot.error)) == (1, 0.5)
    path.write_text("1 0\n3 4\n")
    with pytest.raises(UserError, match=r"rdf.txt goes from 1 to 3, and bins of rdf lie at 0.5"):
        _targets(section)
    path.write_text("0 0\n0 4\n")
    with pytest.raises(UserError, match="does not increase"):
        _targets(section)
    path.write_text("0 what\n")
    with pytest.raises(UserError, match="no table of numbers"):
        _targets(section)


def test_targets_that_nothing_can_reach():
    with pytest.raises(UserError, match="rdf has 2 values and 1 errors, and the observable has 5"):
        _targets({"observable": RDF, "value": [1.0, 2.0]})
    with pytest.raises(UserError, match="density has 2 values"):
        _targets({**DENSITY, "value": [1.0, 2.0]})
    energy = {"observable": {"kind": "mean_energy"}, "value": 1.0}
    assert len(_targets(energy)) == 1
    with pytest.raises(UserError, match="whose zero comes from the labels"):
        _targets(energy, data=DATA)


def test_stress_keys(tmp_path):
    """The named one is read, though others are there that go first by default."""
    made = []
    for seed in range(6):
        atoms = labelled(seed, cell=[5.0, 5.0, 5.0], pbc=True)
        atoms.info["REF_virial"], atoms.info["mine"] = (
            np.eye(3) * 100.0,
            np.eye(3) * (1.0 + seed) / 1e3,
        )
        made.append(atoms)
    ase.io.write(tmp_path / "a.extxyz", made[:4])
    ase.io.write(tmp_path / "b.extxyz", made[4:])

    def read(**keys):
        paths = {"train": tmp_path / "a.extxyz", "test": tmp_path / "b.extxyz"}
        return build.read_splits(config.Data(**paths, **keys), 0)["test"][0].stress

    np.testing.assert_allclose(read(stress_key="mine"), np.eye(3) * 0.005)
    np.testing.assert_allclose(read(), -np.eye(3) * 0.8)
    with pytest.raises(UserError, match=r"no periodic frame of .* has a dft_stress"):
        read(stress_key="dft_stress")
