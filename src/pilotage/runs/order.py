"""What a driver is told to run, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.assembly.configs import Target
from pilotage.paths import RunFolder, storage, write_json
from pilotage.sites.catalogue import Resolved
from pilotage.sites.merge import Origin, Table
from pilotage.sites.validation import validated

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Order:
    """A script with its arguments and sites.

    ``site_given`` is whether the user named a site; ``override`` whether the site takes the place of a Config that
    the script loads itself. ``quiet`` keeps our messages back; ``debug`` leaves our frames in tracebacks
    and Parsl its full logs.
    ``environment`` is the file by which driver and workers have their Python, where one was given.
    ``resumes`` is the run whose results are reused, ``ignore_changes`` whether those of changed apps are too.
    """

    script: Path
    arguments: Sequence[str]
    targets: Sequence[Target]
    site_given: bool = False
    override: bool = False
    quiet: bool = False
    debug: bool = False
    resumes: str | None = None
    ignore_changes: bool = False
    environment: str | None = None

    @property
    def sites(self) -> dict[str, str]:
        """Label to site's name or config file."""
        return {t.label: t.resolved.name if t.resolved else str(t.file) for t in self.targets}

    def write(self, folder: RunFolder) -> None:
        """Write the order into a run's folder; raises StorageError."""
        with storage(folder.order):
            write_json(folder.order, self._as_dict())

    def _as_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "script": str(self.script),
            "arguments": list(self.arguments),
            "targets": [target_as_dict(target) for target in self.targets],
            "site_given": self.site_given,
            "override": self.override,
            "quiet": self.quiet,
            "debug": self.debug,
            "resumes": self.resumes,
            "ignore_changes": self.ignore_changes,
            "environment": self.environment,
        }

    @classmethod
    def read(cls, folder: RunFolder) -> Order:
        """Read the order of a run; raises OSError or ValueError."""
        value = json.loads(folder.order.read_text(encoding="utf-8"))
        return cls(
            script=Path(value["script"]),
            arguments=value["arguments"],
            targets=[target_from_dict(target) for target in value["targets"]],
            site_given=value["site_given"],
            override=value["override"],
            quiet=value["quiet"],
            debug=value["debug"],
            resumes=value.get("resumes"),
            ignore_changes=value.get("ignore_changes", False),
            environment=value.get("environment"),
        )


def target_as_dict(target: Target) -> dict[str, Any]:
    """Return a target as JSON."""
    if target.resolved is None:
        return {"label": target.label, "file": str(Path(target.file or "").absolute())}
    table = target.resolved.table
    origins = [[list(path), origin.source, origin.line] for path, origin in table.origins.items()]
    return {"label": target.label, "site": target.resolved.name, "values": table.data, "origins": origins}


def target_from_dict(value: Mapping[str, Any]) -> Target:
    """Return the target in what `target_as_dict` made."""
    if "file" in value:
        return Target(value["label"], file=Path(value["file"]))
    origins = {tuple(path): Origin(source, line) for path, source, line in value["origins"]}
    table = Table(value["values"], origins)
    return Target(value["label"], resolved=Resolved(value["site"], validated(value["site"], table), table))
