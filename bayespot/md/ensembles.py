"""Thermodynamic conditions; every number may differ from replica to replica."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError

PerReplica = float | Sequence[float]
"""One number, or one for each replica: state points are laid out along the replicas."""


def whole_number(name: str, value: Any, least: int) -> int:
    """``value`` as an int.

    Raises:
        UserError: naming the setting where it is no integer, or below ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise UserError(f"MD {name} is {value!r}", f"Give a whole number of at least {least}")
    return number


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """What the dynamics conserve or sample.

    Attributes:
        temperature: K; of the initial velocities where nothing holds it.
        time_step: fs.
    """

    temperature: PerReplica
    time_step: PerReplica = 0.5

    positive: ClassVar[tuple[str, ...]] = ("temperature", "time_step")
    static: ClassVar[tuple[str, ...]] = ()
    varies_cell: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in self.static:
                continue
            # tuples are hashable: programs are found by them
            object.__setattr__(self, field.name, _numbers(field.name, getattr(self, field.name)))
        for name in self.positive:
            for value in np.atleast_1d(getattr(self, name)):
                if not value > 0:
                    raise UserError(f"MD {name} is {value}", f"Give a {name} greater than zero")

    def conditions(self, draws: int, replicas: int) -> dict[str, jnp.ndarray]:
        """Numbers of every trajectory, (draws, replicas) each.

        Raises:
            UserError: a sequence that is not one number for each replica.
        """
        made = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in self.static:
                continue
            numbers = np.asarray(value, float)
            if numbers.ndim == 1 and len(numbers) != replicas:
                raise UserError(
                    f"{len(numbers)} values of {field.name} for {replicas} replicas",
                    f"Give one {field.name}, or one for each replica",
                )
            made[field.name] = jnp.broadcast_to(jnp.asarray(numbers, float), (draws, replicas))
        return made

    @property
    def shape(self) -> tuple[object, ...]:
        """What a program is compiled for: everything but the numbers."""
        return (type(self).__name__,)


def _numbers(name: str, value: Any) -> float | tuple[float, ...]:
    """One number or one for each replica, finite."""
    fix = f"Give one finite {name}, or one for each replica"
    try:
        if isinstance(value, str):  # numpy would read it
            raise TypeError
        numbers = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise UserError(f"MD {name} is {value!r}", fix) from error
    if numbers.ndim > 1 or numbers.size == 0:
        raise UserError(f"MD {name} has shape {numbers.shape}", fix)
    for number in np.atleast_1d(numbers):
        if not np.isfinite(number):
            raise UserError(f"MD {name} is {number}", fix)
    return float(numbers) if numbers.ndim == 0 else tuple(numbers.tolist())


@dataclasses.dataclass(frozen=True)
class NVE(Ensemble):
    """Constant energy (velocity Verlet); velocities start at ``temperature``."""


@dataclasses.dataclass(frozen=True)
class NVT(Ensemble):
    """Constant temperature.

    Attributes:
        thermostat: "langevin" (BAOAB) or "nose_hoover" (chain of 5).
        friction: of the Langevin thermostat, 1/fs.
        relaxation_time: tau of the Nose-Hoover chain, fs.
    """

    thermostat: str = "langevin"
    friction: PerReplica = 0.01
    relaxation_time: PerReplica = 50.0

    positive: ClassVar[tuple[str, ...]] = (
        "temperature", "time_step", "friction", "relaxation_time",
    )  # fmt: skip
    static: ClassVar[tuple[str, ...]] = ("thermostat",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thermostat not in ("langevin", "nose_hoover"):
            raise UserError(
                f'unknown thermostat "{self.thermostat}"', 'Use "langevin" or "nose_hoover"'
            )

    @property
    def shape(self) -> tuple[object, ...]:
        """The thermostat."""
        return ("NVT", self.thermostat)


@dataclasses.dataclass(frozen=True)
class NPT(Ensemble):
    """Constant temperature and isotropic pressure: BAOAB and stochastic cell rescaling.

    Attributes:
        pressure: GPa.
        friction: of the Langevin thermostat, 1/fs.
        barostat_time: relaxation time of the volume, fs, for the ``compressibility`` given.
        compressibility: 1/GPa, a guess: it sets how fast the volume moves, not its law.
        barostat_interval: steps between two moves of the cell; each costs one more force call.
    """

    pressure: PerReplica = 0.0
    friction: PerReplica = 0.01
    barostat_time: PerReplica = 500.0
    compressibility: PerReplica = 0.01
    barostat_interval: int = 10

    positive: ClassVar[tuple[str, ...]] = (
        "temperature", "time_step", "friction", "barostat_time", "compressibility",
    )  # fmt: skip
    static: ClassVar[tuple[str, ...]] = ("barostat_interval",)
    varies_cell: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        interval = whole_number("barostat_interval", self.barostat_interval, 1)
        object.__setattr__(self, "barostat_interval", interval)

    @property
    def shape(self) -> tuple[object, ...]:
        """How often the cell moves."""
        return ("NPT", self.barostat_interval)


@dataclasses.dataclass(frozen=True)
class Length:
    """How long, and how often to look.

    Attributes:
        steps: production steps.
        equilibration: steps before, not averaged.
        stride: steps between two frames that enter averages and stability checks.
        blocks: time blocks the production is cut into, for error bars; also the checkpoints.
    """

    steps: int
    equilibration: int = 0
    stride: int = 10
    blocks: int = 10

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("equilibration", 0), ("stride", 1), ("blocks", 1)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if self.steps % (self.blocks * self.stride):
            raise UserError(
                f"{self.steps} MD steps do not divide into {self.blocks} blocks of frames every"
                f" {self.stride} steps",
                f"Use a multiple of {self.blocks * self.stride}",
            )
        if self.equilibration % self.block_steps:
            raise UserError(
                f"{self.equilibration} equilibration steps are no whole number of blocks",
                f"Use a multiple of {self.block_steps}",
            )

    @property
    def block_steps(self) -> int:
        """Steps in a block."""
        return self.steps // self.blocks
