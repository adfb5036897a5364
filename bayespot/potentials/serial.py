"""Potentials as JSON: their kind and fixed numbers, so that a file says what draws belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bayespot.errors import UserError
from bayespot.potentials.base import Potential


def to_json(potential: Potential) -> dict[str, Any]:
    """``potential`` in lists, dictionaries, numbers and texts; ``from_json`` gives an equal one.

    Raises:
        TypeError: an attribute that JSON cannot hold.
    """
    fields = {f.name: getattr(potential, f.name) for f in dataclasses.fields(potential)}
    return {"kind": type(potential).__name__, **{k: _plain(v, k) for k, v in fields.items()}}


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Potential):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(part, name) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which potential.json cannot hold")


def from_json(content: Mapping[str, Any]) -> Potential:
    """What ``to_json`` wrote.

    Raises:
        UserError: a kind that is not among ``bayespot.potentials``, or other attributes.
    """
    import bayespot.potentials as known

    kind = content["kind"]
    made = getattr(known, kind, None)
    if not (isinstance(made, type) and issubclass(made, Potential)):
        raise UserError(
            f"the potential {kind} is none of bayespot.potentials",
            "Build it in Python, and hand it to committee.load(folder, potential=...)",
        )
    values = {name: _back(value) for name, value in content.items() if name != "kind"}
    try:
        return made(**values)
    except TypeError as error:
        raise UserError(
            f"the potential {kind} was stored by another version ({error})",
            "Use the version of bayespot in the provenance of its posterior.nc",
        ) from error


def _back(value: Any) -> Any:
    if isinstance(value, dict):
        return from_json(value)
    return tuple(_back(part) for part in value) if isinstance(value, list) else value
