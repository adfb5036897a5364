"""Directed edges and triplets the slow way, for potentials with angles."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.special import eval_legendre, spherical_jn

from bayespot.potentials.basis import bessel_zeros


class Edges(NamedTuple):
    """Edge e brings a message from atom ``source[e]``, at ``vector[e]``, to ``goal[e]``."""

    goal: np.ndarray
    source: np.ndarray
    image: np.ndarray
    vector: np.ndarray
    distance: np.ndarray


def edges(atoms: Atoms, cutoff: float) -> Edges:
    return Edges(*neighbor_list("ijSDd", atoms, cutoff))


def way_back(e: Edges) -> np.ndarray:
    """The index of each edge the other way round."""
    key = {(i, j, *s): n for n, (i, j, s) in enumerate(zip(e.goal, e.source, e.image, strict=True))}
    pairs = zip(e.goal, e.source, e.image, strict=True)
    return np.array([key[(j, i, *(-s))] for i, j, s in pairs])


def cut(e: Edges, cutoff: float, p: int) -> np.ndarray:
    x = e.distance / cutoff
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return 1 - a * x**p + b * x ** (p + 1) - c * x ** (p + 2)


def radial(e: Edges, cutoff: float, n: np.ndarray) -> np.ndarray:
    d = e.distance[:, None]
    return np.sqrt(2 / cutoff) * np.sin(n * np.pi * d / cutoff) / d


def waves(distance: np.ndarray, cutoff: float, degrees: int, count: int) -> np.ndarray:
    """(edges, degrees, count)."""
    z = bessel_zeros(degrees, count)
    return np.stack(
        [
            np.sqrt(2) / abs(spherical_jn(l + 1, z[l])) * spherical_jn(l, z[l] * d / cutoff)
            for d in distance
            for l in range(degrees)
        ]
    ).reshape(len(distance), degrees, count)


def harmonics(first: np.ndarray, second: np.ndarray, degrees: int) -> np.ndarray:
    """Y_l0 of the angle between two vectors, by way of the angle."""
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return np.array(
        [
            np.sqrt((2 * l + 1) / (4 * np.pi)) * eval_legendre(l, np.cos(angle))
            for l in range(degrees)
        ]
    )


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


class Weights:
    """Haiku's parameters with numpy's arithmetic."""

    def __init__(self, params: dict) -> None:
        self.params = params

    def __call__(self, name: str, key: str = "w") -> np.ndarray:
        return np.asarray(self.params[name][key])

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self(name) + np.asarray(self.params[name].get("b", 0.0))

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return silu(self.linear(name, x))
