"""The JSON Schema of a site file, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from pilotage.sites.descriptions import describe
from pilotage.sites.models import MODELS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def file_schema() -> dict[str, Any]:
    """Return the schema of ``pilotage.toml`` (JSON Schema 2020-12).

    A site is told apart by ``scheduler``; one that extends another may leave out what the other has, so only the
    names and types of its keys can be checked.
    """
    describe()
    _, whole = models_json_schema([(model, "validation") for model in MODELS.values()])
    definitions: dict[str, Any] = whole["$defs"]
    branches, all_keys = [], {}
    for scheduler, model in MODELS.items():
        definition = definitions[model.__name__]
        definition["required"] = sorted({*definition.get("required", []), "scheduler"})
        branches.append(
            {
                "if": {"properties": {"scheduler": {"const": scheduler}}, "required": ["scheduler"]},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
        )
        all_keys.update(definition["properties"])
    extending = {
        "properties": {**dict.fromkeys(all_keys, True), "extends": {"type": "string"}},
        "required": ["extends"],
        "additionalProperties": False,
    }
    site = {
        "type": "object",
        "if": {"required": ["extends"]},
        "then": extending,
        "else": {
            "properties": {"scheduler": {"enum": list(MODELS)}},
            "required": ["scheduler"],
            "allOf": branches,
        },
    }
    return {
        "$schema": DIALECT,
        "title": "pilotage site file",
        "type": "object",
        "properties": {
            "default_site": {"type": "string", "description": "The site that is used when none is named."},
            "runs": {
                "type": "object",
                "description": "How long runs that have ended are kept.",
                "properties": {
                    "keep": {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[mhdw]$", "description": "Such as 30d."},
                    "max_size": {
                        "type": "string",
                        "pattern": r"^\d+(\.\d+)?\s*[KMGT]B$",
                        "description": "Of all runs together, such as 10GB; the oldest go first.",
                    },
                },
                "additionalProperties": False,
            },
            "site": {"type": "object", "additionalProperties": site},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }
