"""Elastic moduli: symmetry by explicit rotation, solids whose moduli are known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from bayespot.observables import moduli


def _fourth(stiffness):
    """(3, 3, 3, 3)."""
    made = np.zeros((3, 3, 3, 3))
    for a, (i, j) in enumerate(moduli.VOIGT):
        for b, (k, l) in enumerate(moduli.VOIGT):
            for p, q in ((i, j), (j, i)):
                for r, s in ((k, l), (l, k)):
                    made[p, q, r, s] = stiffness[a, b]
    return made


def _rotated(stiffness, q):
    c = np.einsum("ai,bj,ck,dl,ijkl->abcd", q, q, q, q, _fourth(stiffness))
    return np.array([[c[i, j, k, l] for k, l in moduli.VOIGT] for i, j in moduli.VOIGT])


def _random_stiffness(seed=8):
    root = np.random.default_rng(seed).normal(size=(6, 6))
    return 10 * root @ root.T + 50 * np.eye(6)


def test_symmetry_averages_over_rotations():
    c = _random_stiffness()
    about_z = [scipy.linalg.expm(np.array([[0, -a, 0], [a, 0, 0], [0, 0, 0]])) for a in
               np.arange(12) * np.pi / 6]  # fmt: skip
    half_turn = np.diag([1.0, -1.0, -1.0])
    mean = np.mean([_rotated(_rotated(c, h), q) for q in about_z for h in (np.eye(3), half_turn)],
                   axis=0)  # fmt: skip
    found = moduli.hexagonal_stiffness(moduli.hexagonal_constants(c))
    np.testing.assert_allclose(found, mean, atol=1e-10)
    signs = list(itertools.product((1.0, -1.0), repeat=3))
    whole = [np.eye(3)[list(p)] * s for p in itertools.permutations(range(3)) for s in signs]
    mean = np.mean([_rotated(c, q) for q in whole], axis=0)
    found = moduli.cubic_stiffness(moduli.cubic_constants(c))
    np.testing.assert_allclose(found, mean, atol=1e-10)
    np.testing.assert_allclose(moduli.triclinic_stiffness(moduli.triclinic_constants(c)), c)


def test_moduli_of_known_solids():
    """An isotropic one, copper, and a hexagonal single crystal, many at once and traced."""
    lame, shear = 60.0, 25.0
    isotropic = moduli.cubic_stiffness(np.array([lame + 2 * shear, lame, shear]))
    bulk_modulus = lame + 2 * shear / 3
    expected = (bulk_modulus, shear, shear * (3 * lame + 2 * shear) / (lame + shear),
                lame / (2 * (lame + shear)))  # fmt: skip
    for of in (moduli.voigt_moduli, moduli.reuss_moduli, moduli.hill_moduli, moduli.axial_moduli):
        np.testing.assert_allclose(of(isotropic), expected, rtol=1e-12)
    # Cu: Simmons and Wang 1971; formulae for cubic crystals of Hill 1952
    c11, c12, c44 = 168.4, 121.4, 75.4
    copper = moduli.cubic_stiffness(np.array([[c11, c12, c44], [lame + 2 * shear, lame, shear]]))
    low = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    high = (c11 - c12 + 3 * c44) / 5
    assert moduli.reuss_moduli(copper).shear[0] == pytest.approx(low)
    assert moduli.voigt_moduli(copper).shear[0] == pytest.approx(high)
    made = moduli.hill_moduli(copper)
    assert made.shear == pytest.approx([(low + high) / 2, shear])
    assert made.bulk == pytest.approx([(c11 + 2 * c12) / 3, bulk_modulus])
    assert (made.young[0], made.poisson[0]) == (
        pytest.approx(127, abs=1),
        pytest.approx(0.345, abs=2e-3),
    )
    along = moduli.axial_moduli(copper)
    assert along.young[0] == pytest.approx((c11 - c12) * (c11 + 2 * c12) / (c11 + c12))
    assert along.poisson[0] == pytest.approx(c12 / (c11 + c12))
    # anything: Hill's bulk and shear lie between bounds, and JAX finds the same
    c = _random_stiffness(9)
    low, mid, high = (f(c) for f in (moduli.reuss_moduli, moduli.hill_moduli, moduli.voigt_moduli))
    assert low.bulk < mid.bulk < high.bulk
    assert low.shear < mid.shear < high.shear
    s = moduli.compliance(c)
    assert low.bulk == pytest.approx(1 / s[:3, :3].sum())  # volume under pressure
    np.testing.assert_allclose(moduli.hill_moduli(jnp.asarray(c)), mid, rtol=1e-4)
    hexagonal = moduli.hexagonal_stiffness(np.array([160.0, 90.0, 66.0, 181.0, 46.5]))
    turned = _rotated(
        hexagonal, scipy.linalg.expm(np.array([[0, -0.4, 0], [0.4, 0, 0], [0, 0, 0]]))
    )
    np.testing.assert_allclose(turned, hexagonal, atol=1e-10)
