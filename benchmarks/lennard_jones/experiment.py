"""The experiment from beginning to end, and how long its settings let it run."""

from pathlib import Path

import jax
import numpy as np

from benchmarks.common import Setting
from benchmarks.lennard_jones import figures
from benchmarks.lennard_jones.problem import CHAINS, DRAWS, GRID, SEED, network_start, prior_start
from benchmarks.lennard_jones.recipes import Runner, mini_batch, nuts
from benchmarks.lennard_jones.reference import Collapsed, evidence, exact
from benchmarks.lennard_jones.space import CELLS, Space, describe, pooled, score

SETTINGS = {
    "quick": {
        "exact": {"warmup": 150, "draws": 250},
        "nuts": {"warmup": 200, "draws": 200, "max_doublings": 7},
        "steps": 100_000,  # of the mini-batch samplers and the ensemble
        "replica_steps": 40_000,
        "cycles": (21, 4500),
        "metropolis": (1000, 2000),
        "warm": 20_000,
        "swag": 20_000,
    },
    "full": {
        "exact": {"warmup": 500, "draws": 2500},
        "nuts": {"warmup": 4100, "draws": 3400, "max_doublings": 8},
        "steps": 1_000_000,
        "replica_steps": 500_000,
        "cycles": (21, 45_000),
        "metropolis": (10_000, 20_000),
        "warm": 20_000,
        "swag": 200_000,
    },
}


def run(setting: Setting, out: Path) -> dict:
    at = SETTINGS[setting]
    do = Runner(at)
    collapsed = Collapsed.of(do.distances)
    truth = exact(at["exact"], collapsed, sigma=1e-3)
    # the reference has starts of its own: chains that hardly move would else look close to it
    apart, _ = do.optimised(do.likelihood, prior_start(jax.random.key(SEED + 7), CHAINS))
    reference = nuts(do, "NUTS, reference", apart, "warm start")
    usual, _ = do.optimised(do.likelihood, network_start(jax.random.key(SEED + 2), CHAINS))
    methods = {
        "NUTS": nuts(do, "NUTS", do.warm, "warm start"),
        "NUTS, usual start": nuts(do, "NUTS, usual start", usual, "warm start from usual start"),
        **mini_batch(do),
    }

    flat = truth.curves.reshape(-1, truth.curves.shape[2])
    step = max(1, len(flat) // 1000)
    references = {
        "exact": flat[::step],
        "nuts": pooled(reference.curves, range(len(reference.curves))),
    }
    space = Space.of(flat[::step])
    rows = {name: describe(made, references, space) for name, made in methods.items()}
    # each exact chain against the others: what a single run of a sampler that mixes would have
    whole = describe(truth, references, space)
    alone = []
    for chain in range(len(truth.curves)):
        rest = np.delete(truth.curves, chain, axis=0).reshape(-1, truth.curves.shape[2])
        alone.append(score(pooled(truth.curves, [chain]), {**references, "exact": rest}))
    whole["chains"] = {
        1: {k: float(np.mean([x[k] for x in alone])) for k in alone[0]}
        | {"gradients": truth.gradients}
    }
    rows = {"exact": whole} | rows
    curves = {"exact": truth, **methods}
    figures.bands(curves, reference, out / "lennard_jones_bands.png")
    figures.calibration(rows, out / "lennard_jones_miscalibration.png")
    figures.cost(rows, out / "lennard_jones_cost.png")
    figures.modes(curves, space, rows, out / "lennard_jones_modes.png")
    return {
        "seed": SEED,
        "settings": {**at, "chains": CHAINS, "draws": DRAWS, "distances": [GRID[0], GRID[-1]]},
        "space": {"variance_of_three_axes": space.share, "cells": CELLS},
        "evidence": evidence(collapsed),
        "reference": {
            "rhat_exact": whole["single_run"]["rhat"],
            "clusters_of_nuts_chains": space.clusters(reference.curves),
            "w1_of_references": score(references["nuts"], {"exact": references["exact"]}),
        },
        "methods": rows,
        "figures": [
            f"lennard_jones_{name}.png" for name in ("bands", "miscalibration", "cost", "modes")
        ],
    }
