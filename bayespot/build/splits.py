"""Data: frames of the three splits, and padded arrays of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayespot import config as cfg
from bayespot.data import (
    Dataset,
    Frame,
    Keys,
    Shift,
    check_splits,
    check_units,
    fit_shift,
    make_dataset,
    read,
)
from bayespot.errors import UserError


class Splits(NamedTuple):
    """The three splits and the energy shift of the first."""

    train: Dataset
    validation: Dataset
    test: Dataset
    shift: Shift


def read_splits(config: cfg.Data, seed: int) -> dict[str, list[Frame]]:
    """Read, check and split the frames.

    Without a validation file a random ``validation_fraction`` of the training file is held out.
    """
    named = {k: getattr(config, f"{k}_key") for k in ("energy", "forces", "stress")}
    keys = Keys(
        **{k: (name,) for k, name in named.items() if name},
        **({"virial": ()} if config.stress_key else {}),
    )
    train, test = read(config.train, keys), read(config.test, keys)
    if config.stress_key and all(f.stress is None for f in train):
        raise UserError(
            f"no periodic frame of {config.train} has a {config.stress_key}",
            "Change stress_key in [data], or leave it out",
        )
    if config.validation is not None:
        validation = read(config.validation, keys)
    else:
        order = np.random.default_rng(seed).permutation(len(train))
        held = round(config.validation_fraction * len(train))
        validation = [train[i] for i in sorted(order[:held])]
        train = [train[i] for i in sorted(order[held:])]
    splits = {"train": train, "validation": validation, "test": test}
    check_splits(splits)
    for frames in splits.values():
        check_units(frames)
    known = {int(z) for f in train for z in f.atoms.numbers}
    for name in ("validation", "test"):
        for frame in splits[name]:
            unknown = sorted({int(z) for z in frame.atoms.numbers} - known)
            if unknown:
                raise UserError(
                    f"{frame.where} ({name}) holds elements {unknown} that training lacks",
                    "Add such frames to the training split",
                )
    return splits


def datasets(frames: dict[str, list[Frame]], cutoff: float, shift: Shift | None = None) -> Splits:
    """Padded arrays; all splits share one shift, that of the training split if none is given."""
    shift = shift or fit_shift(frames["train"])
    made = {name: make_dataset(part, shift, cutoff) for name, part in frames.items()}
    return Splits(made["train"], made["validation"], made["test"], shift)
