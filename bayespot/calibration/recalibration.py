"""Maps of standard deviations learnt on frames of their own: stored, applied and undone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayespot.calibration.elements import SYMBOLS
from bayespot.errors import UserError

Groups = Mapping[str, np.ndarray]
FORMAT = "bayespot-recalibration/1"


@dataclasses.dataclass(frozen=True)
class Scale:
    """``sigma -> factor sigma``, with a factor of its own for each group that had enough frames.

    Attributes:
        factor: of all numbers, and of groups not met in ``factors``.
        by: kind of group ("element", "config_type"), or None.
        factors: group -> factor.
    """

    factor: float
    by: str | None = None
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def ratio(self, sigma: np.ndarray, groups: Groups | None) -> np.ndarray:
        """(n,) recalibrated over given standard deviation."""
        ratio = np.full(np.shape(sigma), self.factor)
        if self.by is None or groups is None or self.by not in groups:
            return ratio
        names = np.asarray(groups[self.by]).astype(str)
        for name, factor in self.factors.items():
            ratio[names == name] = factor
        return ratio

    def undone(self, sigma: np.ndarray, groups: Groups | None) -> np.ndarray:
        """What ``sigma`` was before."""
        return sigma / self.ratio(sigma, groups)


@dataclasses.dataclass(frozen=True)
class Isotonic:
    """A monotone map of standard deviations, straight between knots in logarithms.

    Outside the knots it goes on as a factor, that of the nearest knot: an uncertainty larger than
    any seen must stay larger.

    Attributes:
        given: (knots,) standard deviations as stated, increasing.
        made: (knots,) what they should be, increasing.
    """

    given: tuple[float, ...]
    made: tuple[float, ...]

    def ratio(self, sigma: np.ndarray, groups: Groups | None) -> np.ndarray:
        """(n,) recalibrated over given standard deviation."""
        del groups
        return _through(self.given, self.made, sigma)

    def undone(self, sigma: np.ndarray, groups: Groups | None) -> np.ndarray:
        """What ``sigma`` was before."""
        del groups
        return sigma * _through(self.made, self.given, sigma)


@dataclasses.dataclass(frozen=True)
class Conformal:
    """Half-widths of intervals in recalibrated standard deviations.

    Attributes:
        levels: nominal levels.
        multiples: group -> half-width of each level; "" for all numbers.  Infinite where there
            were too few frames.
        by: kind of group, or None.
        frames: group -> frames it rests on.
        guarantee: what holds, in a sentence.
    """

    levels: tuple[float, ...]
    multiples: Mapping[str, tuple[float, ...]]
    by: str | None
    frames: Mapping[str, int]
    guarantee: str

    def multiple(self, level: float, count: int, groups: Groups | None) -> np.ndarray:
        """(count,) half-widths; a group without one of its own has that of all numbers.

        Raises:
            UserError: a level nobody calibrated.
        """
        if level not in self.levels:
            raise UserError(
                f"there is no conformal interval of level {level:g}",
                f"Ask for one of {', '.join(f'{x:g}' for x in self.levels)}",
            )
        place = self.levels.index(level)
        made = np.full(count, self.multiples[""][place])
        if self.by is not None and groups is not None and self.by in groups:
            names = np.asarray(groups[self.by]).astype(str)
            for name, values in self.multiples.items():
                if name:
                    made[names == name] = values[place]
        return made


@dataclasses.dataclass(frozen=True)
class Recalibration:
    """What was learnt on a recalibration split, by quantity ("energy", "forces", "stress", ...).

    ``force_vectors`` follow "forces"; quantities that are not in it stay as they are.  Standard
    deviations of energies are per atom.

    Attributes:
        maps: quantity -> map of standard deviations.
        conformal: quantity -> intervals in the mapped standard deviations.
        text: what was done, in a sentence.
        score: what the maps minimise, "nll" or "crps".
        members: of the committee: fewer or more need another recalibration.
        frames: it was learnt on.
        source: where they come from: anything JSON can hold.
    """

    maps: Mapping[str, Scale | Isotonic]
    conformal: Mapping[str, Conformal] = dataclasses.field(default_factory=dict)
    text: str = ""
    score: str = "nll"
    members: int = 0
    frames: int = 0
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """ "scale" or "isotonic", and "conformal" with intervals."""
        first = "isotonic" if any(isinstance(m, Isotonic) for m in self.maps.values()) else "scale"
        return f"{first} + conformal" if self.conformal else first

    def apply(self, name: str, sigma: Any, groups: Groups | None = None) -> np.ndarray:
        """Recalibrated standard deviations, of members and noise together.

        Args:
            name: quantity.
            sigma: (n,) or a number, as the committee gives them; energies per atom.
            groups: kind -> (n,) names, where factors differ by group; elements as symbols.
        """
        sigma = np.asarray(sigma, float)
        made = self.maps.get(_key(name))
        return sigma if made is None else sigma * made.ratio(sigma, groups)

    def undo(self, name: str, sigma: Any, groups: Groups | None = None) -> np.ndarray:
        """What recalibrated standard deviations were before."""
        sigma = np.asarray(sigma, float)
        made = self.maps.get(_key(name))
        return sigma if made is None else made.undone(sigma, groups)

    def interval(
        self, name: str, sigma: Any, level: float, groups: Groups | None = None
    ) -> np.ndarray:
        """Half-widths of conformal intervals; ``sigma`` as the committee gives it.

        Raises:
            UserError: there are none for ``name`` or ``level``.
        """
        if _key(name) not in self.conformal:
            raise UserError(
                f"there are no conformal intervals of {name}", "Recalibrate with conformal=True"
            )
        sigma = self.apply(name, np.atleast_1d(sigma), groups)
        return sigma * self.conformal[_key(name)].multiple(level, len(sigma), groups)

    def factor(self, name: str, element: int | str | None = None) -> float:
        """Factor of a quantity, of an element (symbol or atomic number) where it has its own.

        Raises:
            UserError: the map is no factor.
        """
        made = self.maps.get(_key(name))
        if made is None:
            return 1.0
        if isinstance(made, Isotonic):
            raise UserError(
                f"the recalibration of {name} is isotonic: it has no factor",
                "Give it standard deviations (apply), or recalibrate by a factor",
            )
        symbol = str(SYMBOLS[element]) if isinstance(element, int) else element
        if symbol is None or made.by != "element":
            return made.factor
        return made.factors.get(symbol, made.factor)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words; infinite half-widths become null."""
        maps = {
            name: {"kind": type(m).__name__.lower(), **dataclasses.asdict(m)}
            for name, m in self.maps.items()
        }
        conformal = {}
        for name, made in self.conformal.items():
            values = {
                group: [x if np.isfinite(x) else None for x in multiples]
                for group, multiples in made.multiples.items()
            }
            conformal[name] = {**dataclasses.asdict(made), "multiples": values}
        return {
            "schema": FORMAT, "kind": self.kind, "text": self.text, "score": self.score,
            "members": self.members, "frames": self.frames, "maps": _plain(maps),
            "conformal": _plain(conformal), "source": _plain(dict(self.source)),
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Recalibration:
        """What ``to_json`` gave.

        Raises:
            UserError: it is something else.
        """
        if content.get("schema") != FORMAT:
            raise UserError(
                f"this is no recalibration ({FORMAT}) but {content.get('schema')!r}",
                "Recalibrate again",
            )
        maps: dict[str, Scale | Isotonic] = {}
        for name, given in content["maps"].items():
            if given["kind"] == "isotonic":
                maps[name] = Isotonic(tuple(given["given"]), tuple(given["made"]))
            else:
                maps[name] = Scale(given["factor"], given["by"], dict(given["factors"]))
        conformal = {
            name: Conformal(
                tuple(given["levels"]),
                {
                    group: tuple(np.inf if x is None else x for x in values)
                    for group, values in given["multiples"].items()
                },
                given["by"],
                dict(given["frames"]),
                given["guarantee"],
            )
            for name, given in content["conformal"].items()
        }
        return cls(
            maps, conformal, content["text"], content["score"], content["members"],
            content["frames"], dict(content["source"]),
        )  # fmt: skip


def _key(name: str) -> str:
    return "forces" if name == "force_vectors" else name


def _through(start: tuple[float, ...], end: tuple[float, ...], sigma: np.ndarray) -> np.ndarray:
    """Ratio of the map through the knots."""
    log = np.log(np.asarray(end) / np.asarray(start))
    with np.errstate(divide="ignore"):
        at = np.log(sigma)
    # straight in logarithms between knots; np.interp keeps the ratio of the ends beyond them
    return np.exp(np.interp(at, np.log(start), log))


def _plain(value: Any) -> Any:
    """Tuples as lists, numpy numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
