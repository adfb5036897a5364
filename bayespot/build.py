"""From configuration to objects: data, potential, posterior, observables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

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
from bayespot.infer import Optimization, Sampling
from bayespot.likelihood import EnergyForces
from bayespot.md import NPT, NVE, NVT, Ensemble, Length, Stability
from bayespot.observables import (
    RDF,
    BulkModulus,
    Density,
    DihedralDistribution,
    DistanceDistribution,
    HeatCapacity,
    LatticeConstant,
    MeanEnergy,
    Observable,
)
from bayespot.posterior import Posterior
from bayespot.potentials import HarmonicBonds, LennardJones, PairMLP, Potential, SchNet
from bayespot.prior import WeightPrior
from bayespot.system import System
from bayespot.topology import Bonds, find_bonds


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
    keys = Keys()
    if config.energy_key:
        keys = Keys(energy=(config.energy_key,), forces=keys.forces)
    if config.forces_key:
        keys = Keys(energy=keys.energy, forces=(config.forces_key,))
    train, test = read(config.train, keys), read(config.test, keys)
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


def datasets(frames: dict[str, list[Frame]], cutoff: float) -> Splits:
    """Padded arrays; all splits share the shift of the training split."""
    shift = fit_shift(frames["train"])
    made = {name: make_dataset(part, shift, cutoff) for name, part in frames.items()}
    return Splits(made["train"], made["validation"], made["test"], shift)


def potential(config: Any, frames: list[Frame]) -> Potential:
    """The network plus its prior potentials."""
    species = tuple(sorted({int(z) for f in frames for z in f.atoms.numbers}))
    if isinstance(config, cfg.SchNetPotential):
        made: Potential = SchNet(
            species,
            config.cutoff,
            config.features,
            config.interactions,
            config.basis,
            config.scale,
        )
    else:
        made = PairMLP(config.cutoff, config.basis, config.hidden, config.scale)
    for term in config.priors:
        if isinstance(term, cfg.HarmonicBondsTerm):
            bonds, positions = _molecule(frames)
            made = made + HarmonicBonds.from_fluctuations(bonds, positions, term.temperature)
        else:
            made = made + LennardJones(term.sigma, term.epsilon, term.cutoff, repulsion_only=True)
    return made


def _molecule(frames: list[Frame]) -> tuple[Bonds, np.ndarray]:
    """Bonds and positions (frames, atoms, 3) of the one molecule that all frames show."""
    first = frames[0]
    for frame in frames:
        if not np.array_equal(frame.atoms.numbers, first.atoms.numbers):
            raise UserError(
                f"{frame.where} is not the molecule of {first.where}, atom by atom",
                "Bonded terms and bond criteria need one molecule with one order of atoms",
            )
    positions = np.stack([f.atoms.positions for f in frames])
    bonds = find_bonds(first.atoms)
    if not bonds:
        raise UserError(f"no bonds were found in {first.where}", "Remove the bonded prior")
    return bonds, positions


def starting_frames(frames: list[Frame]) -> list[Frame]:
    """Where simulations start: the frames with the atoms, in order, and the cell of the first."""
    first = frames[0].atoms
    return [
        f
        for f in frames
        if np.array_equal(f.atoms.numbers, first.numbers)
        and np.array_equal(f.atoms.pbc, first.pbc)
        and (not any(first.pbc) or np.allclose(f.atoms.cell, first.cell, atol=1e-6))
    ]


def stability(config: cfg.MDConfig, starts: list[Frame]) -> Stability:
    """Criteria around the starting frames' mean bond lengths; periodic systems have no bonds."""
    bonds = () if any(starts[0].atoms.pbc) else find_bonds(starts[0].atoms)
    if not bonds:
        return Stability(min_distance=config.min_distance)
    positions = np.stack([f.atoms.positions for f in starts])
    i, j = np.asarray(bonds).T
    lengths = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1).mean(axis=0)
    return Stability(
        bonds, tuple(float(x) for x in lengths), config.max_bond_deviation, config.min_distance
    )


def posterior(config: cfg.PosteriorConfig, made: Potential, train: Dataset) -> Posterior:
    """Likelihood, prior and temperature over the training split."""
    likelihood = EnergyForces(made, _noise(config.energy_noise), _noise(config.forces_noise))
    return Posterior(
        likelihood, WeightPrior.normal(config.weight_scale), train.batch, config.temperature
    )


def _noise(prior: cfg.NoisePrior) -> Any:
    import numpyro.distributions as dist

    if prior.distribution == "gamma":
        return dist.Gamma(prior.shape, 1 / prior.scale)
    if prior.distribution == "half_normal":
        return dist.HalfNormal(prior.scale)
    return dist.Exponential(1 / prior.scale)


def sampling(config: cfg.SamplerConfig) -> Sampling:
    """Settings of ``infer.sample``."""
    values = config.model_dump(exclude={"warm_start"})
    warm = config.warm_start
    return Sampling(**values, warm_start=None if warm is None else Optimization(**dict(warm)))


def md(config: cfg.MDConfig) -> tuple[Ensemble, Length]:
    """Settings of ``propagate``."""
    common = (config.temperature, config.time_step)
    if config.ensemble == "npt":
        ensemble: Ensemble = NPT(
            *common,
            config.pressure,
            config.friction,
            config.barostat_time,
            config.compressibility,
            config.barostat_interval,
        )
    elif config.ensemble == "nve":
        ensemble = NVE(*common)
    else:
        ensemble = NVT(*common, config.thermostat, config.friction, config.relaxation_time)
    return ensemble, Length(config.steps, config.equilibration, config.stride, config.blocks)


def simulated(config: cfg.MDConfig, frames: list[Frame]) -> list[Frame]:
    """The configurations simulations start from: the structure of [md.start], or training frames.

    Raises:
        UserError: no such structure, none that can be read, or elements training lacks.
    """
    if config.start is None:
        return starting_frames(frames)
    import ase.io

    path = config.start.structure
    if not path.is_file():
        raise UserError(f"there is no structure {path}", "Check the path in [md.start]")
    try:
        atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise what they like
        raise UserError(f"{path} cannot be read: {error}", "Give a file ASE reads") from error
    atoms = atoms.repeat(config.start.repeat)  # type: ignore[union-attr]
    known = {int(z) for f in frames for z in f.atoms.numbers}
    unknown = sorted({int(z) for z in atoms.numbers} - known)
    if unknown:
        raise UserError(
            f"{path} holds elements {unknown} that training lacks", "Train on frames with them"
        )
    return [Frame(atoms, 0.0, np.zeros((len(atoms), 3)), str(path), 0)]


def observables(config: cfg.Config, frames: list[Frame]) -> list[Observable]:
    """One object for each ``[[observables]]``; ``frames`` are what is simulated."""
    num_atoms, periodic = len(frames[0].atoms), any(frames[0].atoms.pbc)
    system = System.from_ase(frames[0].atoms)
    made: list[Observable] = []
    for o in config.observables:
        if not all(frames[0].atoms.pbc) and isinstance(o, CRYSTALLINE):
            raise UserError(
                f"observable {o.name} ({o.kind}) needs a cell periodic in all three directions",
                "Remove it, or simulate a periodic system",
            )
        if isinstance(o, cfg.BulkModulusObservable) and config.md.ensemble != "npt":
            raise UserError(
                f"observable {o.name} reads volume fluctuations, and the volume is constant",
                'Use ensemble = "npt"',
            )
        if periodic and isinstance(o, cfg.DistanceObservable | cfg.DihedralObservable):
            raise UserError(
                f"observable {o.name} ({o.kind}) knows no images, and the data are periodic",
                "Remove it, or use open-boundary frames",
            )
        if isinstance(o, cfg.DistanceObservable):
            made.append(DistanceDistribution(o.name, o.low, o.high, o.bins))
        elif isinstance(o, cfg.DihedralObservable):
            if max(o.atoms) >= num_atoms or min(o.atoms) < 0 or len(set(o.atoms)) < 4:
                raise UserError(
                    f"observable {o.name} has atoms {list(o.atoms)} in a molecule of {num_atoms}",
                    f"Give four different indices from 0 to {num_atoms - 1}",
                )
            made.append(DihedralDistribution(o.name, o.atoms, o.bins))
        elif isinstance(o, cfg.EnergyObservable):
            made.append(MeanEnergy(o.name))
        elif isinstance(o, cfg.RDFObservable):
            made.append(RDF.of(o.name, system, o.high, o.bins, _elements(o)))
        elif isinstance(o, cfg.DensityObservable):
            made.append(Density(o.name))
        elif isinstance(o, cfg.LatticeConstantObservable):
            if num_atoms % o.atoms_per_cell:
                raise UserError(
                    f"{num_atoms} atoms are no whole number of cells of {o.atoms_per_cell}",
                    f"Change atoms_per_cell of {o.name}",
                )
            made.append(LatticeConstant(o.name, num_atoms // o.atoms_per_cell))
        elif isinstance(o, cfg.BulkModulusObservable):
            made.append(BulkModulus(o.name, float(frames[0].atoms.get_volume())))
        else:
            made.append(HeatCapacity(o.name))
    return made


CRYSTALLINE = (
    cfg.RDFObservable,
    cfg.DensityObservable,
    cfg.LatticeConstantObservable,
    cfg.BulkModulusObservable,
)


def _elements(config: cfg.RDFObservable) -> tuple[int, int] | None:
    from ase.data import atomic_numbers

    if config.elements is None:
        return None
    first, second = config.elements
    for symbol in (first, second):
        if symbol not in atomic_numbers:
            raise UserError(f"{symbol} is no element", f"Change elements of {config.name}")
    return atomic_numbers[first], atomic_numbers[second]


def reference(
    config: cfg.Reference | None, made: list[Observable]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and standard error of every observable the reference file knows."""
    if config is None:
        return {}
    path = Path(config.file)
    if not path.is_file():
        raise UserError(f"there is no reference file {path}", "Check the path in [reference]")
    found = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(
            f"{path} is no npz file of plain arrays", "Write the reference with numpy.savez"
        ) from error
    for o in made:
        if o.name not in arrays:
            continue
        value = np.asarray(arrays[o.name], float)
        shape = () if o.axis is None else o.axis.shape
        if value.shape != shape:
            raise UserError(
                f"{path} has {o.name} of shape {value.shape}, the observable has {shape}",
                "Use the reference's number of bins",
            )
        axis = f"{o.name}_axis"
        if (
            o.axis is not None
            and axis in arrays
            and not np.allclose(arrays[axis], o.axis, atol=1e-6)
        ):
            raise UserError(
                f"{path} has {o.name} on another axis than the observable",
                "Use the reference's range and number of bins",
            )
        spread = np.asarray(arrays.get(f"{o.name}_error", np.zeros(shape)), float)
        if spread.shape != shape or not np.all(np.isfinite(value) & np.isfinite(spread)):
            raise UserError(
                f"{path} has {o.name} or {o.name}_error with NaN or of another shape than {shape}",
                "Give finite numbers, one error for each value",
            )
        found[o.name] = value, spread
    if not found:
        raise UserError(
            f"{path} knows none of the observables {', '.join(o.name for o in made)}",
            f"It holds {', '.join(sorted(arrays))}: name the observables alike",
        )
    return found
