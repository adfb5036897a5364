"""Ensembles against exact laws, isolation of failures, resume, neighbour overflow."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NVT, Length, Stability, simulate
from bayespot.observables import HeatCapacity, MeanEnergy
from bayespot.observables.base import Context, Observable, blocks_to_value
from bayespot.potentials import LennardJones, Potential
from bayespot.system import System
from bayespot.units import BOLTZMANN, MASS

pytestmark = pytest.mark.usefixtures("compile_module_fast")


@dataclasses.dataclass(frozen=True)
class Wells(Potential):
    """Independent atoms in one-body wells: ``k/2 x^2`` and in z ``a z^4 - b z^2``."""

    @property
    def cutoff(self):
        return 0.0  # the atoms do not see each other

    def init(self, key, system):
        return {"k": jnp.asarray(2.0)}

    def atomic_energies(self, params, system, neighbors):
        x, y, z = system.positions.T
        return 0.5 * params["k"] * x**2 + 0.5 * 0.7 * y**2 + 4.0 * z**4 - 1.0 * z**2


@dataclasses.dataclass(frozen=True)
class Moments(Observable):
    """Second moments of coordinates, and a histogram of z."""

    name: str = "moments"

    @property
    def unit(self):
        return ""

    def snapshot(self, frame):
        x = frame.system.positions
        z = x[:, 2]
        edges = jnp.linspace(-0.8, 0.8, 33)
        inside = (z[:, None] >= edges[:-1]) & (z[:, None] < edges[1:])
        return {"squares": jnp.mean(x**2, axis=0), "z": jnp.mean(inside, axis=0)}

    def reduce(self, mean, context):
        return mean["squares"]


ATOMS = System.from_ase(Atoms("C8", np.zeros((8, 3))))
STACK = {"k": jnp.array([1.0, 4.0])}


def _run(ensemble, steps=12_000, **more):
    length = Length(steps=steps, equilibration=steps // 10, stride=10, blocks=10)
    return simulate(
        jax.random.key(0), Wells(), STACK, ATOMS, ensemble, length, [Moments()], replicas=24,
        **more,
    )  # fmt: skip


def _z_density(kT):
    """Exact probability of each z bin, by quadrature."""
    edges = np.linspace(-0.8, 0.8, 33)
    z = np.linspace(-1.5, 1.5, 30_001)
    weight = np.exp(-(4 * z**4 - z**2) / kT)
    inside = [(weight * ((z >= a) & (z < b))).sum() for a, b in itertools.pairwise(edges)]
    return np.array(inside) / weight.sum()


@pytest.fixture(scope="module")
def langevin(compile_module_fast):
    return _run(NVT(600.0, time_step=2.0, friction=0.02))


def test_langevin_samples_the_canonical_distribution(langevin):
    kT, made = BOLTZMANN * 600.0, langevin
    squares = made.means["moments"]["squares"].mean(axis=(0, 2), dtype=float)  # (draw, 3)
    error = made.means["moments"]["squares"].mean(axis=0).std(axis=1, ddof=1) / np.sqrt(24)
    exact = np.stack([kT / np.array([1.0, 4.0]), np.full(2, kT / 0.7)], axis=1)
    z = (squares[:, :2] - exact) / error[:, :2]
    assert np.abs(z).max() < 4.5
    histogram = made.means["moments"]["z"].mean(axis=(0, 1))  # (replica, bins), both draws
    gap = (histogram.mean(axis=0) - _z_density(kT)) / (
        histogram.std(axis=0, ddof=1) / np.sqrt(24) + 1e-4
    )
    assert np.abs(gap).max() < 5
    # control: fifteen per cent off in temperature is seen
    wrong = (histogram.mean(axis=0) - _z_density(kT * 1.15)) / (
        histogram.std(axis=0, ddof=1) / np.sqrt(24) + 1e-4
    )
    assert np.abs(wrong).max() > 6


def test_kinetic_energy_has_the_canonical_mean(langevin):
    per_replica = langevin.temperature.mean(axis=0).ravel()
    error = per_replica.std(ddof=1) / np.sqrt(per_replica.size)
    assert abs(per_replica.mean() - 600.0) < 4 * error + 1.5  # BAOAB velocities: O(dt^2)


def test_nose_hoover_has_the_right_temperature_and_structure():
    """Bound by pairs, momentum conserved: 3N - 6 freedoms share kT, not 3N."""
    system = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((1, 1, 1)))
    open_system = system.replace(pbc=(False, False, False))
    potential = LennardJones(3.4, 0.05, 12.0)
    length = Length(steps=20_000, equilibration=4000, stride=10, blocks=5)
    heats = {}
    for thermostat in ("langevin", "nose_hoover"):
        ensemble = NVT(
            60.0, time_step=4.0, thermostat=thermostat, friction=0.005, relaxation_time=150.0
        )
        made = simulate(
            jax.random.key(1), potential, {"none": jnp.zeros(1)}, open_system, ensemble, length,
            [MeanEnergy("u")], replicas=16,
        )  # fmt: skip
        energy = made.means["u"]["energy"].mean(axis=(0, 1), dtype=float)
        heats[thermostat] = energy.mean(), energy.std(ddof=1) / 4
        temperature = made.temperature.mean(axis=0).ravel()
        assert abs(temperature.mean() - 60.0) < 4 * temperature.std(ddof=1) / 4 + 0.6
    (a, da), (b, db) = heats.values()
    assert abs(a - b) < 4 * np.hypot(da, db)


def test_heat_capacity_of_a_harmonic_crystal_is_equipartition():
    """Eight free oscillators: C_V = 3N k_B, from x and y of one draw that is all harmonic."""

    @dataclasses.dataclass(frozen=True)
    class Harmonic(Wells):
        def atomic_energies(self, params, system, neighbors):
            return 0.5 * params["k"] * jnp.sum(system.positions**2, axis=1)

    made = simulate(
        jax.random.key(3), Harmonic(), STACK, ATOMS, NVT(300.0, 2.0, friction=0.02),
        Length(steps=20_000, equilibration=2000, stride=10, blocks=10),
        [HeatCapacity("c")], replicas=16,
    )  # fmt: skip
    cells = {k: v[:, 1].reshape(-1, *v.shape[3:]) for k, v in made.means["c"].items()}
    context = Context(300.0, 8)
    value = blocks_to_value(HeatCapacity("c"), cells, np.ones(160), context)
    assert float(value) == pytest.approx(24.0, rel=0.05)


def test_a_failing_replica_freezes_and_harms_no_other():
    quiet = _run(NVT(300.0, 2.0), steps=2000)
    # draw 1 gets a stiffness that no time step of 2 fs integrates
    stack = {"k": jnp.array([1.0, 1e6])}
    length = Length(steps=2000, equilibration=200, stride=10, blocks=10)
    both = simulate(
        jax.random.key(0), Wells(), stack, ATOMS, NVT(300.0, 2.0), length, [Moments()], replicas=24
    )
    assert np.all(both.reason[0] == 0)
    assert np.all(np.isin(both.reason[1], (1, 5)))  # not finite, or blown up before that
    assert np.all(both.failed_at[1] > 0)
    assert np.all(np.isfinite(both.means["moments"]["squares"]))
    np.testing.assert_array_equal(
        both.means["moments"]["squares"][:, 0], quiet.means["moments"]["squares"][:, 0]
    )


def test_stability_criteria():
    from bayespot.neighbors import allocate

    atoms = Atoms("OHHH", [[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 3, 3]])
    rule = Stability(((0, 1), (0, 2)), (1.0, 1.0), 0.5, 1.2)
    system = System.from_ase(atoms)
    zero = jnp.zeros((4, 3))
    near = allocate(system, 5.0)

    def code(at, momenta=zero):
        return int(rule.check(system.replace(positions=jnp.asarray(at)), momenta, near))

    good = atoms.positions
    assert code(good) == 0
    assert code(good, zero.at[0, 0].set(jnp.inf)) == 1
    stretched = good.copy()
    stretched[1, 0] = 1.6
    assert code(stretched) == 2
    close = good.copy()
    close[3] = [0.0, 1.9, 0.0]  # 0.9 from the second hydrogen, unbonded
    assert code(close) == 3


@pytest.fixture(scope="module")
def short(compile_module_fast):
    return _run(NVT(300.0, 2.0), steps=1000)


def test_replicas_and_draws_have_independent_noise(short):
    squares = short.means["moments"]["squares"][..., 1]  # y: the same well for both draws
    flat = squares.reshape(10, -1)
    assert len(np.unique(flat[-1])) == flat.shape[1]
    correlation = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert abs(correlation.mean()) < 0.05


def test_resume_is_bit_exact(short, tmp_path):
    class Killed(Exception):
        pass

    def kill(block):
        if block.step >= 600:
            raise Killed

    with pytest.raises(Killed):
        _run(NVT(300.0, 2.0), steps=1000, checkpoint=tmp_path, fingerprint="a", callback=kill)
    resumed = _run(NVT(300.0, 2.0), steps=1000, checkpoint=tmp_path, fingerprint="a")
    for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="other fingerprint"):
        _run(NVT(300.0, 2.0), steps=1000, checkpoint=tmp_path, fingerprint="b")


@pytest.mark.slow
def test_neighbour_overflow_is_retried_without_losing_the_trajectory():
    """A dilute gas is pressed together by a central force: lists must grow on the way."""
    rng = np.random.default_rng(0)
    atoms = Atoms("Ar12", rng.uniform(0, 40, (12, 3)), cell=[40] * 3, pbc=True)

    @dataclasses.dataclass(frozen=True)
    class Pressed(LennardJones):
        def atomic_energies(self, params, system, neighbors):
            pull = 0.02 * jnp.sum((system.positions - 20.0) ** 2, axis=1)
            return super().atomic_energies({}, system, neighbors) + pull

    made = simulate(
        jax.random.key(0), Pressed(2.5, 0.01, 6.0), {"none": jnp.zeros(2)}, System.from_ase(atoms),
        NVT(50.0, 4.0, friction=0.02), Length(steps=2000, stride=10, blocks=5), [MeanEnergy("u")],
    )  # fmt: skip
    assert made.capacity_retries > 0
    assert np.all(made.reason == 0)
    assert np.all(np.isfinite(made.means["u"]["energy"]))


def test_lists_give_the_same_trajectory_as_all_pairs():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.pbc = False
    boxed = atoms.copy()
    boxed.set_cell([60.0] * 3)
    boxed.positions += 20
    boxed.pbc = True
    energies = []
    for system in (System.from_ase(atoms), System.from_ase(boxed)):
        made = simulate(
            jax.random.key(0), LennardJones(3.4, 0.05, 9.0), {"none": jnp.zeros(1)}, system,
            NVT(20.0, 2.0), Length(steps=200, stride=10, blocks=2), [MeanEnergy("u")],
        )  # fmt: skip
        energies.append(made.means["u"]["energy"].ravel())
    np.testing.assert_allclose(*energies, rtol=1e-3)


@pytest.mark.parametrize(
    "change", [{"temperature": 0.0}, {"time_step": -1.0}, {"thermostat": "berendsen"}]
)
def test_unphysical_settings_are_refused(change):
    with pytest.raises(UserError):
        NVT(**{"temperature": 300.0, **change})


def test_blocks_must_fit():
    with pytest.raises(UserError, match="multiple of 100"):
        Length(steps=1050, stride=10, blocks=10)


def test_unknown_elements_are_refused():
    from tests.physics.helpers import SCHNET

    system = System.from_ase(Atoms("Fe2", [[0, 0, 0], [0, 0, 2.0]]))
    with pytest.raises(UserError, match="26"):
        simulate(
            jax.random.key(0), SCHNET, {"none": jnp.zeros(1)}, system, NVT(300.0),
            Length(100, blocks=1), [],
        )  # fmt: skip


def test_momenta_start_thermal():
    from bayespot.md.integrators import thermal_momenta

    system = System.from_ase(Atoms("CO", np.eye(3)[:2]))
    keys = jax.random.split(jax.random.key(0), 20_000)
    kT = BOLTZMANN * 300.0
    momenta = np.asarray(jax.vmap(lambda k: thermal_momenta(k, system, kT))(keys))
    expected = np.array([12.011, 15.999])[:, None] * MASS * kT
    np.testing.assert_allclose(momenta.var(axis=0) / expected, 1.0, atol=0.05)


def test_a_diatomic_is_thermalised_by_a_nose_hoover_chain():
    """Five freedoms go with a diatomic's rigid motion: one is left, not zero."""
    from bayespot.potentials import HarmonicBonds

    system = System.from_ase(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]))
    made = simulate(
        jax.random.key(0), HarmonicBonds(((0, 1),), (1.1,), (100.0,)), {}, system,
        NVT(300.0, 0.5, "nose_hoover"), Length(200, blocks=2), [], replicas=3,
    )  # fmt: skip
    assert np.all(made.reason == 0)
    with pytest.raises(UserError, match="single atom"):
        simulate(
            jax.random.key(0), LennardJones(), {}, System.from_ase(Atoms("Ar")),
            NVT(300.0, 0.5, "nose_hoover"), Length(200, blocks=2), [],
        )  # fmt: skip


def test_mass_unit():
    """1 u at 1 A/fs has the kinetic energy of 51.8 eV."""
    assert pytest.approx(51.8213, rel=1e-5) == 0.5 * MASS
