"""Force matching of a configuration: which frames count how much, and the optimizer's schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax

from bayespot import config as cfg
from bayespot.build.splits import Splits
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.potentials import Potential
from bayespot.trainers import ForceMatching, Weights


def force_matching(
    section: cfg.ForceMatchingPart, updates: int, made: Potential, splits: Splits
) -> ForceMatching:
    """Over ``updates`` updates of the training frames."""
    train = splits.train
    epoch = len(train) // min(section.batch_size, len(train))
    return ForceMatching(
        made,
        train.batch,
        optimizer(section.optimizer, updates * (section.steps or epoch)),
        validation=splits.validation.batch,
        batch_size=section.batch_size,
        steps=section.steps,
        weights=Weights(**dict(section.weights)),
        frame_weights=frame_weights(section, train.frames),
        average=section.average,
        isotropic=section.isotropic,
        energies=section.mapping is None,
    )


def frame_weights(section: cfg.ForceMatchingPart, frames: tuple[Frame, ...]) -> np.ndarray | None:
    """(frames,) what each counts; None where all count alike.

    Raises:
        UserError: a frame without the number, or a config_type that no frame has.
    """
    if section.weight_key is None and not section.config_types:
        return None
    made = np.ones(len(frames))
    types = [str(frame.atoms.info.get("config_type")) for frame in frames]
    for name, weight in section.config_types.items():
        here = np.array([t == name for t in types])
        if not here.any():
            found = ", ".join(sorted(set(types) - {"None"})) or "none"
            raise UserError(
                f"no training frame has config_type {name}, which [trainer] config_types weighs",
                f"The frames have {found}",
            )
        made[here] *= weight
    if section.weight_key is not None:
        for i, frame in enumerate(frames):
            try:
                value = float(frame.atoms.info[section.weight_key])
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{frame.where} has no number {section.weight_key}",
                    "Change weight_key in [trainer], or give every training frame one",
                ) from error
            made[i] *= value
    return made


def optimizer(section: cfg.Adam, steps: int) -> optax.GradientTransformation:
    """Adam over ``steps`` steps in all."""
    rate: Any = section.learning_rate
    if section.decay == "cosine":
        rate = optax.cosine_decay_schedule(rate, steps, section.last)
    elif section.decay == "exponential":
        rate = optax.exponential_decay(rate, steps, section.last)
    adam = optax.adam(rate, b1=section.b1, b2=section.b2)
    if section.clip is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(section.clip), adam)
