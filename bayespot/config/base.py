"""What all sections share: frozen, and unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pydantic
from pydantic import Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Section(pydantic.BaseModel):
    """Frozen, and unknown keys are refused."""

    example: ClassVar[str] = "bayespot template"
    """Where a user sees all keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
