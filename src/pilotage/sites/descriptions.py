"""What the keys of a site mean: the docstrings that stand below the attributes of the models.

Nothing but a schema or a page of the reference needs them, and to find them the source has to be read.
"""

from __future__ import annotations

import ast
import functools
import inspect
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel

from pilotage.sites import environments, models, staging
from pilotage.sites.base import Model


@functools.cache
def describe() -> None:
    """Give the fields of all models their descriptions."""
    files = (environments, staging, models)  # a site's tables are described before the site is
    found = {name: texts for one in files for name, texts in _docstrings(Path(str(one.__file__))).items()}
    kinds = [kind for one in files for kind in vars(one).values() if isinstance(kind, type) and issubclass(kind, Model)]
    for kind in kinds:
        for name, field in kind.model_fields.items():
            own = (found.get(base.__name__, {}).get(name) for base in kind.__mro__ if _declares(base, name))
            field.description = field.description or next(own, None)
        kind.model_rebuild(force=True)


def _declares(kind: type, name: str) -> bool:
    return issubclass(kind, BaseModel) and name in vars(kind).get("__annotations__", {})


def _docstrings(path: Path) -> dict[str, dict[str, str]]:
    """Return the texts by class and attribute."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                one.target.id: inspect.cleandoc(text)
                for one, after in pairwise(node.body)
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and (text := _text(after))
            }
    return found


def _text(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None
