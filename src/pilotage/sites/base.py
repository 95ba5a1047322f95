"""What all tables of a site file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]*$")]
"""A string that ends up in one line of a batch script."""
Absolute = Annotated[str, StringConstraints(pattern=r"^(/|~/|~$)[^\n\r]*$")]


class Model(BaseModel):
    """Base of all tables in a site file.

    A start uses one of them: validators are made with the first use, and the attributes' docstrings are read only for a
    schema or a page (`sites.descriptions`). Both took a tenth of a second before every run.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
