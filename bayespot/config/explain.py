"""What pydantic found wrong, in the words of someone who writes TOML."""

from __future__ import annotations

import difflib
from typing import Any

from bayespot.config.base import Section
from bayespot.errors import UserError


def explain(errors: list[Any], whole: type[Section], raw: dict[str, Any], source: str) -> UserError:
    """The first of ``errors`` as key, problem and fix."""
    # a misspelled key that must be there is both unknown and missing: name the typo
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = _key(error, raw)
    if error["type"] == "extra_forbidden":
        model = _model_at(whole, error["loc"][:-1])
        known = sorted(model.model_fields) if model else []
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        fix = f"Did you mean {near[0]}" if near else f"Valid keys are {', '.join(known)}"
        return UserError(f"unknown key {key} in {source}", fix)
    if error["type"] == "missing":
        return UserError(f"{source} lacks {key}", f"Add {key}; {whole.example} shows an example")
    if error["type"] == "union_tag_not_found":
        kind = f"{key}.kind"
        return UserError(f"{source} lacks {kind}", f"Add {kind}; {whole.example} shows an example")
    # a value that may be of two types has an error for each
    told = [e["msg"].removeprefix("Value error, ") for e in errors if _key(e, raw) == key]
    return UserError(
        f"{key} in {source}: {', or: '.join(dict.fromkeys(told))}", "Change that value"
    )


def _key(error: Any, raw: dict[str, Any]) -> str:
    """Where it is, as written in the file: pydantic also puts in the tags of unions."""
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
    return ".".join(str(p) for p in place) or "the configuration"


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
