"""The run's configuration: TOML, typed, frozen; a typo is an error that names the nearest key."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from bayespot.errors import UserError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Section(pydantic.BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Run(Section):
    """Seed and number format."""

    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["float32", "float64"] = "float32"


class Data(Section):
    """Files and their split; paths are relative to the configuration file."""

    train: Path
    test: Path
    validation: Path | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    energy_key: str | None = None
    forces_key: str | None = None


class HarmonicBondsTerm(Section):
    """Harmonic bonds whose constants are those of the training frames at their temperature."""

    kind: Literal["harmonic_bonds"]
    temperature: Positive


class RepulsionTerm(Section):
    """``epsilon (sigma/d)^12`` between all atoms within ``cutoff``."""

    kind: Literal["repulsion"]
    sigma: Positive
    epsilon: Positive
    cutoff: Positive


PriorTerm = Annotated[HarmonicBondsTerm | RepulsionTerm, Field(discriminator="kind")]


class SchNetPotential(Section):
    """Message-passing network, plus prior potentials."""

    kind: Literal["schnet"] = "schnet"
    cutoff: Positive = 5.0
    features: Count = 32
    interactions: Count = 2
    basis: Annotated[int, Field(ge=2)] = 20
    scale: Positive = 1.0
    priors: tuple[PriorTerm, ...] = ()


class PairMLPPotential(Section):
    """Pair network on Bessel functions, plus prior potentials."""

    kind: Literal["pair_mlp"]
    cutoff: Positive = 5.0
    basis: Count = 6
    hidden: tuple[Count, ...] = (64,)
    scale: Positive = 1.0
    priors: tuple[PriorTerm, ...] = ()


PotentialConfig = Annotated[SchNetPotential | PairMLPPotential, Field(discriminator="kind")]


class NoisePrior(Section):
    """Prior of a noise scale: exponential (mean ``scale``), gamma (``shape`` * ``scale``) or
    half-normal."""

    distribution: Literal["exponential", "gamma", "half_normal"] = "exponential"
    scale: Positive = 1.0
    shape: Positive = 1.0


class PosteriorConfig(Section):
    """Prior, noise and temperature of the posterior."""

    temperature: Positive = 1.0
    weight_scale: Positive = 10.0
    energy_noise: NoisePrior = NoisePrior()
    forces_noise: NoisePrior = NoisePrior()


class WarmStart(Section):
    """Adam before the first sampling step (the whole work of an ensemble)."""

    steps: Count = 4000
    learning_rate: Positive = 3e-3
    batch_size: Count = 8


class SamplerConfig(Section):
    """Sampler and its chains."""

    method: Literal["psgld", "ensemble", "nuts"] = "psgld"
    chains: Count = 8
    draws: Count = 20
    burn_in: Annotated[int, Field(ge=0)] = 2000
    thinning: Count = 100
    batch_size: Count = 8
    first_step_size: Positive = 1e-5
    last_step_size: Positive = 1e-6
    preconditioner_memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    preconditioner_floor: Positive = 1e-5
    warm_start: WarmStart | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SamplerConfig:
        if self.burn_in % self.thinning:
            raise ValueError(
                f"burn_in {self.burn_in} must be a multiple of thinning {self.thinning}"
            )
        if self.first_step_size < self.last_step_size:
            raise ValueError("first_step_size must not be below last_step_size")
        if self.method == "nuts" and self.burn_in < 20:
            raise ValueError("nuts adapts during burn_in: give at least 20 steps")
        return self


class Start(Section):
    """Where simulations start, if not from the training frames."""

    structure: Path
    repeat: tuple[Count, Count, Count] = (1, 1, 1)


class MDConfig(Section):
    """Simulation of all draws; times in fs, temperatures in K, pressure in GPa."""

    ensemble: Literal["nvt", "npt", "nve"] = "nvt"
    temperature: Positive
    pressure: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    barostat_time: Positive = 500.0
    compressibility: Positive = 0.01
    barostat_interval: Count = 10
    start: Start | None = None
    time_step: Positive = 0.5
    thermostat: Literal["langevin", "nose_hoover"] = "langevin"
    friction: Positive = 0.01
    relaxation_time: Positive = 50.0
    equilibration: Annotated[int, Field(ge=0)] = 0
    steps: Count = 10_000
    stride: Count = 10
    blocks: Count = 10
    draws: Annotated[int, Field(ge=2)] = 40
    replicas: Annotated[int, Field(ge=1)] = 4
    max_bond_deviation: Positive = 0.5
    min_distance: Annotated[float, Field(ge=0)] = 0.0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> MDConfig:
        if self.replicas == 1 and self.blocks < 2:
            raise ValueError("replicas = 1 needs at least 2 blocks to tell MD noise")
        if self.steps % (self.blocks * self.stride):
            raise ValueError(
                f"steps {self.steps} must be a multiple of blocks * stride"
                f" = {self.blocks * self.stride}"
            )
        if self.equilibration % (self.steps // self.blocks):
            raise ValueError(
                f"equilibration {self.equilibration} must be a whole number of blocks of"
                f" {self.steps // self.blocks} steps"
            )
        return self


class DistanceObservable(Section):
    """h(r)."""

    kind: Literal["distances"]
    name: Name = "h_r"
    low: Annotated[float, Field(ge=0)] = 0.8
    high: Positive = 4.8
    bins: Count = 100

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> DistanceObservable:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class DihedralObservable(Section):
    """Dihedral density of four atoms."""

    kind: Literal["dihedral"]
    name: Name = "dihedral"
    atoms: tuple[int, int, int, int]
    bins: Count = 36


class EnergyObservable(Section):
    """Mean potential energy."""

    kind: Literal["mean_energy"]
    name: Name = "mean_energy"


class HeatCapacityObservable(Section):
    """Heat capacity from energy fluctuations."""

    kind: Literal["heat_capacity"]
    name: Name = "heat_capacity"


class RDFObservable(Section):
    """Radial distribution function of a periodic system, of all atoms or of two elements."""

    kind: Literal["rdf"]
    name: Name = "rdf"
    high: Positive = 6.0
    bins: Count = 120
    elements: tuple[str, str] | None = None


class DensityObservable(Section):
    """Mass density."""

    kind: Literal["density"]
    name: Name = "density"


class LatticeConstantObservable(Section):
    """Edge of the conventional cell of a cubic crystal."""

    kind: Literal["lattice_constant"]
    name: Name = "lattice_constant"
    atoms_per_cell: Count


class BulkModulusObservable(Section):
    """From volume fluctuations at constant pressure."""

    kind: Literal["bulk_modulus"]
    name: Name = "bulk_modulus"


ObservableConfig = Annotated[
    DistanceObservable
    | DihedralObservable
    | EnergyObservable
    | HeatCapacityObservable
    | RDFObservable
    | DensityObservable
    | LatticeConstantObservable
    | BulkModulusObservable,
    Field(discriminator="kind"),
]


class Reference(Section):
    """An npz with ``NAME``, ``NAME_error`` and for curves ``NAME_axis``, for any observable."""

    file: Path
    label: str = "reference"


class Config(Section):
    """Everything a run depends on."""

    title: str = "bayespot run"
    run: Run = Run()
    data: Data
    potential: PotentialConfig = SchNetPotential()
    posterior: PosteriorConfig = PosteriorConfig()
    sampler: SamplerConfig = SamplerConfig()
    md: MDConfig
    observables: Annotated[tuple[ObservableConfig, ...], Field(min_length=1)]
    reference: Reference | None = None

    @pydantic.model_validator(mode="after")
    def _names(self) -> Config:
        names = [o.name for o in self.observables]
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ValueError(f"observables share the name {double[0]}: give each its own")
        total = self.sampler.chains * (
            1 if self.sampler.method == "ensemble" else self.sampler.draws
        )
        if total < 2:
            raise ValueError("one draw has no spread: ask for more chains or draws")
        return self


def load(path: str | Path) -> Config:
    """Read and check a TOML file; paths in it become absolute.

    Raises:
        UserError: no such file, no TOML, an unknown key (with the nearest valid one), or a value
            out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no configuration {path}", "Make one with: bayespot template > my.toml"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "Mend that line") from error
    config = parse(raw, str(path))
    return _absolute(config, path.resolve().parent)


def parse(raw: dict[str, Any], source: str = "the configuration") -> Config:
    """Check a nested dictionary."""
    try:
        return Config.model_validate(raw)
    except pydantic.ValidationError as error:
        errors = error.errors()
        # a misspelled key that must be there is both unknown and missing: name the typo
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        raise _explain(first, raw, source) from error


def _absolute(config: Config, folder: Path) -> Config:
    def move(path: Path | None) -> Path | None:
        return None if path is None else (folder / path).resolve()

    data = config.data.model_copy(
        update={name: move(getattr(config.data, name)) for name in ("train", "test", "validation")}
    )
    reference = config.reference
    if reference is not None:
        reference = reference.model_copy(update={"file": move(reference.file)})
    md = config.md
    if md.start is not None:
        place = md.start.model_copy(update={"structure": move(md.start.structure)})
        md = md.model_copy(update={"start": place})
    return config.model_copy(update={"data": data, "reference": reference, "md": md})


def _explain(error: Any, raw: dict[str, Any], source: str) -> UserError:
    # pydantic puts the tag of a discriminated union into the path; the user did not write it
    named = error["type"] in ("extra_forbidden", "missing")
    place: list[Any] = []
    here: Any = raw
    for depth, part in enumerate(error["loc"]):
        last = depth == len(error["loc"]) - 1
        in_list = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if in_list or (isinstance(here, dict) and part in here):
            here = here[part]
        elif not (named and last):
            continue
        place.append(part)
    key = ".".join(str(p) for p in place) or "the configuration"
    if error["type"] == "extra_forbidden":
        model = _model_at(Config, error["loc"][:-1])
        known = sorted(model.model_fields) if model else []
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        fix = f"Did you mean {near[0]}" if near else f"Valid keys are {', '.join(known)}"
        return UserError(f"unknown key {key} in {source}", fix)
    if error["type"] == "missing":
        return UserError(f"{source} lacks {key}", f"Add {key}; bayespot template shows an example")
    if error["type"] == "union_tag_not_found":
        kind = f"{key}.kind"
        return UserError(
            f"{source} lacks {kind}", f"Add {kind}; bayespot template shows an example"
        )
    message = error["msg"].removeprefix("Value error, ")
    return UserError(f"{key} in {source}: {message}", "Change that value")


def _model_at(model: Any, location: tuple[Any, ...]) -> Any:
    """The section class at a pydantic error location."""
    for part in location:
        if isinstance(part, int):
            continue
        if isinstance(model, list):  # members of a union: the part is the tag
            match = [m for m in model if part in m.model_fields["kind"].annotation.__args__]
            model = match[0] if match else None
        elif model is not None and part in getattr(model, "model_fields", {}):
            model = _sections(model.model_fields[part].annotation)
        if model is None:
            return None
    return model if not isinstance(model, list) else None


def _sections(annotation: Any) -> Any:
    """The section(s) inside an annotation: one class, or a list for a union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        inner = _sections(argument)
        found += inner if isinstance(inner, list) else [inner] if inner else []
    return found if len(found) > 1 else found[0] if found else None


def dumps(config: Config) -> str:
    """The resolved configuration as TOML."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
