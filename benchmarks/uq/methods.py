"""The package's own methods, each ``method(key, train, validation) -> draws``.

All give one draw of each chain and start where Adam ends, so that what differs is the method.
Samplers are made once: training sets differ in numbers, not in shapes, and nothing is compiled
anew for the next one.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import samplers
from bayespot import infer
from bayespot.data import Batch
from bayespot.draws import Draws
from bayespot.infer import Sampling
from bayespot.posterior import Posterior
from benchmarks.uq.timing import Clock

Method = Callable[[jax.Array, Posterior, Batch], Any]
Build = Callable[[samplers.Target], samplers.Sampler]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings that depend on the potential and the data.

    Attributes:
        members: chains, and so draws, of every method.
        adam, learning_rate: steps from random weights, falling along a cosine to 1 %.
        steps: of each chain afterwards.
        batch_size: frames.
        first, last: step sizes of the preconditioned samplers.
        swag_rate: learning rate of the path that SWAG looks at.
        hot: temperatures of reSGLD's ladder.
        last_layer: which parameters Laplace's Gaussian is over, by name.
        prior_scale: of one weight, eV or 1; no direction of Laplace's is wider.
    """

    members: int = 8
    adam: int = 2000
    learning_rate: float = 1e-2
    steps: int = 600
    batch_size: int = 1
    first: float = 1e-3
    last: float = 1e-4
    swag_rate: float = 5e-4
    hot: tuple[float, ...] = (1.0, 4.0)
    last_layer: str = "potential/out"
    prior_scale: float = 10.0


CHECKS = 20  # looks at the validation frames, and points of SWAG's path


class _Start(NamedTuple):
    """Where all methods of one training set begin, and what it took."""

    train: Posterior
    position: Any
    gradients: int
    clock: dict[str, float]


class Methods:
    """Methods of one case, which share the optimised start of a training set."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._samplers: dict[str, samplers.Sampler] = {}
        self._noise: dict[str, Any] = {}
        self._start: _Start | None = None

    def __getitem__(self, name: str) -> Method:
        """By name.

        Raises:
            KeyError: there is none of that name.
        """
        return {
            "ensemble": self.ensemble,
            "pSGLD, τ = 1": functools.partial(self.psgld, temperature=1.0),
            "pSGLD, τ = 0.1": functools.partial(self.psgld, temperature=0.1),
            "pSGLD, τ = 0.01": functools.partial(self.psgld, temperature=0.01),
            "reSGLD": self.resgld,
            "SWAG": self.swag,
            "Laplace": self.laplace,
        }[name]

    def one_model(self, key: jax.Array, train: Posterior, validation: Batch) -> Draws:
        """A single network, which costs of posteriors are compared with."""
        return self._optimised(key, train, validation, 1)[0]

    def ensemble(self, key: jax.Array, train: Posterior, validation: Batch) -> Draws:
        """Adam from different weights; noise scales of frames that were not fitted."""
        clock = Clock()
        draws, gradients = self._optimised(key, train, validation, self.recipe.members)
        potential = jax.tree.map(lambda x: jnp.asarray(x[:, -1]), draws.params["potential"])
        noise = self._residual_noise(train, potential, train.data)
        position = {"potential": potential, "noise": noise}
        self._start = _Start(train, position, gradients, clock.read())
        unseen = self._residual_noise(train, potential, validation)
        noise = {name: np.asarray(x)[:, None] for name, x in unseen.items()}
        return dataclasses.replace(draws, params={**draws.params, "noise": noise})

    def psgld(
        self, key: jax.Array, train: Posterior, validation: Batch, temperature: float,
        draws: int = 1,
    ) -> Draws:  # fmt: skip
        """Multi-chain pSGLD on the posterior of that temperature; ``draws`` of each chain."""
        at, cold = self.recipe, dataclasses.replace(train, temperature=temperature)
        burn_in = at.steps - at.steps // CHECKS
        falling = samplers.hold(samplers.first_last(at.first, at.last, burn_in), burn_in)
        return self._sampled(
            f"pSGLD {temperature:g}", key, cold, validation,
            lambda target: samplers.psgld(target, falling, adapt_steps=burn_in),
            at.steps, origin=train, each=draws,
        )  # fmt: skip

    def resgld(self, key: jax.Array, train: Posterior, validation: Batch) -> Draws:
        """Two temperatures a chain; swaps every ten steps, energies from four batches."""
        at, every = self.recipe, 10
        burn_in = at.steps - at.steps // CHECKS
        falling = samplers.hold(samplers.first_last(at.first, at.last, burn_in), burn_in)
        return self._sampled(
            "reSGLD", key, train, validation,
            lambda target: samplers.resgld(
                target, falling, at.hot, swap_every=every, num_estimates=4,
                preconditioner=samplers.rmsprop(0.99, 1e-5),
            ),
            at.steps // every,
        )  # fmt: skip

    def swag(self, key: jax.Array, train: Posterior, validation: Batch) -> Draws:
        """A Gaussian around the path of each chain, whose first quarter is not looked at."""
        at = self.recipe
        return self._sampled(
            "SWAG", key, train, validation,
            lambda target: samplers.swag(
                target, optax.adam(at.swag_rate), collect_from=at.steps // 4, rank=10
            ),
            at.steps,
        )  # fmt: skip

    def laplace(self, key: jax.Array, train: Posterior, validation: Batch) -> Draws:
        """A Gaussian at each mode, over the last layer; in float64, for stiff Hessians.

        The training set is part of the position, which the sampler leaves alone: a density that
        closed over it would be compiled for each.
        """
        at, start = self.recipe, self._started(key, train, validation)

        def full(position: Any) -> jax.Array:
            posterior = dataclasses.replace(train, data=position["data"])
            return posterior.log_density_full({k: position[k] for k in ("potential", "noise")})

        def build(target: samplers.Target) -> samplers.Sampler:
            del target
            here = samplers.Target(lambda position, batch: full(position), full, train.data_size)
            return samplers.laplace(
                here, lambda leaf: leaf.startswith(at.last_layer), at.prior_scale**-2
            )

        with jax.enable_x64(True):
            data = jax.tree.map(lambda x: jnp.stack([_wide(x)] * at.members), train.data)
            position = {**jax.tree.map(_wide, start.position), "data": data}
            draws = infer.sample(
                key, dataclasses.replace(train, data=jax.tree.map(_wide, train.data)),
                Sampling(chains=at.members, draws=1, burn_in=0, thinning=1, batch_size=1),
                build=self._once("Laplace", build), starts=position,
            )  # fmt: skip
        params = {k: jax.tree.map(_narrow, draws.params[k]) for k in ("potential", "noise")}
        moved = sum(
            x[0].size
            for path, x in jax.tree_util.tree_flatten_with_path(start.position)[0]
            if jax.tree_util.keystr(path, simple=True, separator="/").startswith(at.last_layer)
        )
        # a column of the Hessian costs two gradients of all data
        hessian = 2 * moved * train.data_size * at.members
        return _told(dataclasses.replace(draws, params=params), start.gradients + hessian, start)

    def _optimised(
        self, key: jax.Array, train: Posterior, validation: Batch, chains: int
    ) -> tuple[Draws, int]:
        at = self.recipe
        thinning = at.adam // CHECKS
        schedule = optax.cosine_decay_schedule(at.learning_rate, CHECKS * thinning, alpha=0.01)
        starts = self._random(key, train, chains)

        def build(target: samplers.Target) -> samplers.Sampler:
            return samplers.ensemble(target, optax.adam(schedule))

        del validation  # validated ones would be compiled for each set; they converge
        how = Sampling(
            chains=chains, draws=1, burn_in=(CHECKS - 1) * thinning, thinning=thinning,
            batch_size=at.batch_size,
        )  # fmt: skip
        return self._counted(key, train, how, self._once("ensemble", build), starts)

    def _started(self, key: jax.Array, train: Posterior, validation: Batch) -> _Start:
        """Optimised positions of all chains, once a training set.

        The clock of a start that is made here stands still: whoever asked is timed.
        """
        if self._start is not None and self._start.train is train:
            return self._start
        self.ensemble(key, train, validation)
        assert self._start is not None
        return self._start._replace(clock={})

    def _sampled(
        self, name: str, key: jax.Array, posterior: Posterior, validation: Batch, build: Build,
        steps: int, origin: Posterior | None = None, each: int = 1,
    ) -> Draws:  # fmt: skip
        at = self.recipe
        start = self._started(key, origin or posterior, validation)
        thinning = max(1, steps // CHECKS)
        how = Sampling(
            chains=at.members, draws=each, burn_in=(CHECKS - 1) * thinning, thinning=thinning,
            batch_size=at.batch_size,
        )  # fmt: skip
        key = jax.random.fold_in(key, zlib.crc32(name.encode()))  # none like another's
        draws, more = self._counted(key, posterior, how, self._once(name, build), start.position)
        return _told(draws, start.gradients + more, start)

    def _counted(
        self, key: jax.Array, posterior: Posterior, how: Sampling, build: Build, starts: Any
    ) -> tuple[Draws, int]:  # fmt: skip
        """Draws with the frames' gradients that they took, of all chains."""
        counts = [0.0]

        def count(stage: str, block: samplers.Block) -> None:
            del stage
            counts[0] += float(np.sum(block.info.gradients)) * how.thinning * how.batch_size

        draws = infer.sample(key, posterior, how, build=build, starts=starts, callback=count)
        return _told(draws, round(counts[0])), round(counts[0])

    def _once(self, name: str, build: Build) -> Build:
        """``build`` at the first call; the same sampler, and so the same program, at others."""

        def made(target: samplers.Target) -> samplers.Sampler:
            if name not in self._samplers:
                self._samplers[name] = build(target)
            return self._samplers[name]

        return made

    def _random(self, key: jax.Array, train: Posterior, chains: int) -> Any:
        if "init" not in self._noise:
            potential, likelihood = train.likelihood.potential, train.likelihood

            @jax.jit
            def init(keys: jax.Array, data: Batch) -> Any:
                system = jax.tree.map(lambda x: x[0], data.system)

                def one(key: jax.Array) -> Any:
                    noise = likelihood.init_noise(data)
                    return {"potential": potential.init(key, system), "noise": noise}

                return jax.vmap(one)(keys)

            self._noise["init"] = init
        return self._noise["init"](jax.random.split(key, chains), train.data)

    def _residual_noise(self, train: Posterior, potential: Any, batch: Batch) -> Any:
        if "fit" not in self._noise:
            self._noise["fit"] = jax.jit(
                jax.vmap(train.likelihood.residual_noise, in_axes=(0, None))
            )
        return self._noise["fit"](potential, batch)


def _wide(x: Any) -> jax.Array:
    x = np.asarray(x)
    return jnp.asarray(x.astype(np.float64) if x.dtype == np.float32 else x)


def _narrow(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _told(draws: Draws, gradients: int, start: _Start | None = None) -> Draws:
    """``earlier`` are the seconds of a start that was there already."""
    told = {"gradients": gradients, "earlier": {} if start is None else start.clock}
    return dataclasses.replace(draws, provenance=told)
