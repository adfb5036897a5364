"""Pages from the templates that ship beside this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bayespot.report.table import significant


def page(name: str, filters: dict[str, Callable[..., str]], /, **values: Any) -> str:
    """Fill in a template.

    Args:
        name: its file.
        filters: besides ``sig``, which writes significant digits.
        values: by the names that the template uses; one that is missing is an error.

    Raises:
        jinja2.UndefinedError: a name without a value.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bayespot", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sig": significant, **filters}
    return environment.get_template(name).render(**values)
