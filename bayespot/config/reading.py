"""From TOML and back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from bayespot.config.base import Section
from bayespot.config.explain import explain
from bayespot.config.fit import FitConfig
from bayespot.config.learn import LearnConfig
from bayespot.config.whole import Config
from bayespot.errors import UserError


def load(path: str | Path) -> Config:
    """Read and check a TOML file; paths in it become absolute.

    Raises:
        UserError: no such file, no TOML, an unknown key (with the nearest valid one), or a value
            out of range.
    """
    return _absolute(parse(_read(path), str(path)), _folder(path))


def load_fit(path: str | Path) -> FitConfig:
    """The same for a file with a ``[trainer]``."""
    return _absolute(parse_fit(_read(path), str(path)), _folder(path))


def load_learn(path: str | Path) -> LearnConfig:
    """The same for a file with ``[learn]``."""
    return _absolute(parse_learn(_read(path), str(path)), _folder(path))


def learns(path: str | Path) -> bool:
    """Whether a TOML file is for ``bayespot learn``."""
    return "learn" in _read(path)


def trains(path: str | Path) -> bool:
    """Whether a TOML file is for ``bayespot fit``."""
    return "trainer" in _read(path)


def parse(raw: dict[str, Any], source: str = "the configuration") -> Config:
    """Check a nested dictionary."""
    if "trainer" in raw:
        raise UserError(f"{source} has a [trainer]", "Train with bayespot fit")
    if "learn" in raw:
        raise UserError(f"{source} has [learn]", "Learn with bayespot learn, or remove it")
    return _checked(Config, raw, source)


def parse_fit(raw: dict[str, Any], source: str = "the configuration") -> FitConfig:
    """Check a nested dictionary with a ``trainer``."""
    return _checked(FitConfig, raw, source)


def parse_learn(raw: dict[str, Any], source: str = "the configuration") -> LearnConfig:
    """Check a nested dictionary with ``learn``."""
    return _checked(LearnConfig, raw, source)


Whole = TypeVar("Whole", Config, FitConfig, LearnConfig)


def _checked(whole: type[Whole], raw: dict[str, Any], source: str) -> Whole:
    try:
        return whole.model_validate(raw)
    except pydantic.ValidationError as error:
        raise explain(error.errors(), whole, raw, source) from error


def _folder(path: str | Path) -> Path:
    return Path(path).resolve().parent


def _read(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no configuration {path}", "Make one with: bayespot template > my.toml"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "Mend that line") from error


def _absolute(value: Any, folder: Path) -> Any:
    """``value`` with every path in it taken from ``folder``."""
    if isinstance(value, Path):
        return (folder / value).resolve()
    if isinstance(value, tuple):
        return tuple(_absolute(part, folder) for part in value)
    if isinstance(value, Section):
        moved = {name: _absolute(part, folder) for name, part in value}
        changed = {name: part for name, part in moved.items() if part != getattr(value, name)}
        return value.model_copy(update=changed)
    return value


def dumps(config: Config | FitConfig) -> str:
    """The resolved configuration as TOML."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
