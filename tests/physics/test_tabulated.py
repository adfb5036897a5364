"""Tables in, tables refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.errors import UserError
from bayespot.neighbors import allocate
from bayespot.potentials import Tabulated
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
R = np.linspace(0.8, 5.0, 85)


def morse(r):
    return 0.5 * ((1 - np.exp(-1.5 * (r - 1.6))) ** 2 - 1)


def dimer(potential, numbers=(6, 6)):
    system = System.from_ase(Atoms(numbers, [[0, 0, 0], [1, 0, 0]]))
    neighbors = allocate(system, potential.cutoff)

    def u(x):
        moved = system.replace(positions=system.positions.at[1, 0].set(x))
        return potential.energy({}, moved, neighbors)

    return u


def table(r, fade=0.5):
    return Tabulated(tuple(r.tolist()), tuple(morse(r).tolist()), fade)


def test_between_the_points_is_the_function():
    u = dimer(table(R))
    errors = []
    for points in (22, 43, 85):
        u = dimer(table(np.linspace(0.8, 5.0, points)))
        d = np.linspace(1.0, 4.4, 57)
        errors.append(max(abs(float(u(jnp.asarray(x))) - morse(x)) for x in d))
    assert errors[-1] < 1e-5
    assert errors[0] / errors[1] > 8  # fourth order
    assert errors[1] / errors[2] > 8
    slope = float(jax.grad(u)(jnp.asarray(1.23)))
    e = np.exp(-1.5 * (1.23 - 1.6))
    assert slope == pytest.approx(0.5 * 2 * (1 - e) * 1.5 * e, rel=1e-3)


def test_two_derivatives_are_continuous_at_knots_and_below():
    u = dimer(table(np.linspace(0.8, 5.0, 22)))
    for knot in (0.8, 1.0, 2.6, 4.5, 5.0):
        for f in (u, jax.grad(u), jax.grad(jax.grad(u))):
            below, above = f(jnp.asarray(knot - 1e-8)), f(jnp.asarray(knot + 1e-8))
            assert abs(below - above) < 1e-5
    assert float(u(jnp.asarray(0.1))) > float(u(jnp.asarray(0.8)))
    assert float(u(jnp.asarray(5.1))) == 0


def test_acts_between_its_species_only():
    made = Tabulated(tuple(R.tolist()), tuple(morse(R).tolist()), pair=(6, 8))
    at = jnp.asarray(1.7)
    assert float(dimer(made, (8, 6))(at)) == float(dimer(made, (6, 8))(at)) != 0
    assert float(dimer(made, (6, 6))(at)) == 0


def test_from_file(tmp_path):
    path = tmp_path / "morse.txt"
    lines = "\n".join(f"{r!r} {u!r}" for r, u in zip(R.tolist(), morse(R).tolist(), strict=True))
    path.write_text("# distance energy\n\n" + lines + "  # last\n", encoding="utf-8")
    assert Tabulated.from_file(path) == table(R)
    assert hash(Tabulated.from_file(path)) == hash(table(R))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2\n2 x\n", "line 2 of .*two numbers"),
        ("1 2 3\n", "line 1 of"),
        ("1 2\n2 3\n", "2 points"),
        ("1 2\n3 1\n2 1\n4 0\n", "distance 2.0 .point 3. follows 3.0"),
        ("1 2\n2 1\n2 1\n4 0\n", "distance 2.0 .point 3. follows 2.0"),
        ("0 inf\n1 2\n2 1\n4 0\n", "point 1 is not finite"),
        ("-1 2\n1 2\n2 1\n4 0\n", "first distance is -1.0"),
        ("4 2\n4.1 2\n4.2 1\n4.3 0\n", "fade 0.5"),
    ],
)
def test_bad_tables_are_refused_by_name(tmp_path, text, words):
    path = tmp_path / "bad.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as caught:
        Tabulated.from_file(path)
    assert "bad.txt" in str(caught.value)


def test_other_mistakes():
    with pytest.raises(UserError, match="there is no table"):
        Tabulated.from_file("nowhere.txt")
    with pytest.raises(UserError, match="4 distances but 3 energies"):
        Tabulated((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0))
    with pytest.raises(UserError, match="0 points"):
        Tabulated()
