"""What a report shows of observables: numbers, curves, surfaces and named components."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from bayespot import build, config
from bayespot.errors import UserError
from bayespot.observables import (
    MSD,
    VACF,
    DihedralDistribution,
    DihedralSurface,
    FreeEnergy,
    MeanEnergy,
    Stiffness,
    Stress,
)
from bayespot.report import figures
from bayespot.report.table import numbers, table
from bayespot.results import observable_json
from bayespot.run_report import Answer, described
from bayespot.uncertainty import coverage, estimate

SURFACE = DihedralSurface("surface", bins=12)


def content(o, value, error=0.01, known=None):
    """As in report.json, of four draws about ``value``."""
    value = np.asarray(value, float)
    scatter = np.array([-1.5, -0.5, 0.5, 1.5]).reshape(-1, *[1] * value.ndim)
    made = estimate(value + error * scatter, np.full((4, *value.shape), (error / 4) ** 2))
    if known is None:
        return observable_json(o, made, None, None)
    known = (np.asarray(known, float), np.full(value.shape, error / 10))
    return observable_json(o, made, known, coverage(made, *known))


def hill():
    value = np.full((12, 12), 1e-4)
    value[2, 9] = 5e-4
    return value


def pictures_in(svg):
    """Arrays of the embedded images, which the file turns upside down."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return [imread(io.BytesIO(base64.b64decode(x)), format="png") for x in found]


def test_a_surface_has_its_first_coordinate_along_x():
    svg = figures.picture("s", content(SURFACE, hill(), 1e-6))
    shown = [x for x in pictures_in(svg) if x.shape[:2] == (12, 12)]
    assert len(shown) == 2  # mean and interval
    reds = shown[0][..., 0] - np.median(shown[0][..., 0])
    assert np.unravel_index(np.abs(reds).argmax(), (12, 12)) == (9, 2)
    assert len(re.findall(r'height="12" transform="matrix\(\S+ 0 0 -', svg)) == 2
    for text in ("first angle / °", "second angle / °", "95 % ±", "1/°²", "−180", "90"):
        assert f">{text}<" in svg
    assert ">reference<" not in svg
    svg = figures.picture("s", content(SURFACE, hill(), 1e-6, hill().T))
    shown = [x for x in pictures_in(svg) if x.shape[:2] == (12, 12)]
    assert len(shown) == 3
    np.testing.assert_allclose(shown[2], np.swapaxes(shown[0], 0, 1), atol=0.02)


def test_what_was_never_visited_is_blank():
    value = np.where(hill() > 2e-4, 0.0, 0.1)
    value[5, 7] = np.nan
    o = content(FreeEnergy("f", SURFACE), value)
    mean = next(x for x in pictures_in(figures.picture("f", o)) if x.shape[:2] == (12, 12))
    clear = mean[..., 3] == 0
    assert np.argwhere(clear).tolist() == [[7, 5]]


def test_only_what_can_be_negative_goes_below_zero():
    """Bands of a density end at zero; those of a correlation do not."""
    x = np.linspace(0, 1, 36)
    density = figures.picture("d", content(DihedralDistribution("d"), 0.01 * x, 0.005))
    assert ">−" not in density.replace(">−150", "").replace(">−100", "").replace(">−50", "")
    moving = figures.picture("v", content(VACF("v", 36, 1.0), np.cos(6 * x)))
    assert ">−0.5<" in moving
    assert ">t / fs<" in moving


def test_components_are_named():
    o = content(Stiffness("c"), [160.0, 60.0, 80.0], 2.0, [161.0, 61.0, 180.0])
    svg = figures.picture("c", o)
    for name in ("C11", "C12", "C44", "GPa", "reference"):
        assert f">{name}<" in svg
    rows = numbers(o)
    assert [r["title"] for r in rows] == [f"elastic constants C{n}" for n in (11, 12, 44)]
    assert [r["mean"] for r in rows] == o["mean"]
    assert [r["coverage"]["inside95"] for r in rows] == [1.0, 1.0, 0.0]
    assert o["coverage"]["inside95"] == pytest.approx(2 / 3)
    assert [r["title"][-2:] for r in numbers(content(Stress("s"), np.ones(6)))] == [
        "xx", "yy", "zz", "yz", "xz", "xy",
    ]  # fmt: skip


def test_the_table_has_a_line_for_all():
    x = np.linspace(0, 1, 36)
    wave = np.where(x < 0.1, np.nan, 2 + np.cos(12 * x))
    lines = table(
        {
            "u": content(MeanEnergy("u"), -3.0),
            "c": content(Stiffness("c"), [160.0, 60.0, 80.0]),
            "s": content(SURFACE, hill(), 1e-6),
            "m": content(MSD("m", 36, 2.0), x),
            "f": content(FreeEnergy("f", DihedralDistribution("d")), wave),
            "none": content(FreeEnergy("f", SURFACE), np.full((12, 12), np.nan)),
        }
    )
    words = [
        " ".join(line.split()[: -1 if line.endswith((" (curve)", " (surface)")) else -4])
        for line in lines[2:]
    ]
    surface, free = "density of two dihedrals", "free energy, "
    assert words == [
        "mean potential energy (eV)",
        *(f"elastic constants C{n} (GPa)" for n in (11, 12, 44)),
        surface,
        "highest at -105, 105 °",
        "mean squared displacement",
        "end at 70 fs",
        free + "dihedral 0–1–2–3",
        "peak at 5 °",
        free + surface,  # and no highest point
    ]
    ends = {len(line) for line in lines[1:] if not line.endswith(")")}
    assert len(ends) == 1  # columns align, however long the labels
    assert lines[2].split()[4:] == ["−3.000", "0.041", "0.013", "0.0013"]


def test_titles_and_marks_are_unique():
    observables = (MSD("all", 4, 1.0), MSD("oxygen", 4, 1.0, 8), MeanEnergy("u"))
    made = estimate(np.arange(8.0).reshape(2, 4), np.ones((2, 4)))
    one = estimate(np.arange(2.0), np.ones(2))
    both = np.arange(2)
    found = {
        name: Answer(x, None, None, both)
        for name, x in (("all", made), ("oxygen", made), ("u", one))
    }
    told = described(observables, found)
    assert [o["title"] for o in told.values()] == [
        "mean squared displacement, all", "mean squared displacement, oxygen",
        "mean potential energy",
    ]  # fmt: skip
    page = "".join(figures.picture(name, o) for name, o in told.items())
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_bins_without_an_estimate_are_not_compared():
    value = np.array([1.0, 2.0, np.nan, 4.0])
    made = estimate(value + np.array([[-0.1], [0.1]]), np.full((2, 4), 1e-4))
    found = coverage(made, np.array([1.0, 9.0, 3.0, np.nan]), np.full(4, 0.01))
    assert (found.points, found.inside95) == (2, 0.5)
    assert np.isfinite(found.relative_width95)
    lost = estimate(np.array([np.nan, 1.0]), np.ones(2))
    assert coverage(lost, np.asarray(1.0), np.asarray(0.1)) is None


def test_references_of_surfaces_and_of_free_energies(tmp_path):
    path = tmp_path / "reference.npz"
    known = config.Reference(file=path)
    free, holes = FreeEnergy("f", SURFACE), hill()
    holes[0, 0] = np.nan
    np.savez(path, surface=hill(), surface_axis=SURFACE.axis, f=holes)
    found = build.reference(known, [SURFACE, free])
    assert found["surface"][0].shape == found["f"][1].shape == (12, 12)
    np.savez(path, surface=hill()[0])
    with pytest.raises(UserError, match=r"shape \(12,\), the observable has \(12, 12\)"):
        build.reference(known, [SURFACE])
    np.savez(path, surface=holes)
    with pytest.raises(UserError, match="NaN"):
        build.reference(known, [SURFACE])
    np.savez(path, f=holes, f_error=np.zeros(12))
    with pytest.raises(UserError, match="another shape"):
        build.reference(known, [free])


def test_figures_do_not_depend_on_the_style_of_the_caller():
    import matplotlib as mpl

    numbers = {"title": "u", "unit": "eV", "mean": 1.0, "low68": 0.9, "high68": 1.1, "low95": 0.8,
               "high95": 1.2}  # fmt: skip
    plain = figures.number("u", numbers)
    with mpl.rc_context({"font.size": 20, "axes.edgecolor": "red", "figure.dpi": 30}):
        assert figures.number("u", numbers) == plain
        assert mpl.rcParams["font.size"] == 20
    assert figures.number("u", {**numbers, "mean": 1.05}) != plain
