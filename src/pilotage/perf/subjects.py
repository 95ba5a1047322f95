"""What is measured: an executor of a site or of a Parsl config file, with its own number of workers or another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage.assembly import configs
from pilotage.assembly.configs import Target
from pilotage.errors import UsageError
from pilotage.perf.parameters import scheduler_name, short_name
from pilotage.perf.record import name_of
from pilotage.runs.order import target_from_dict
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import LocalSite
from pilotage.sites.overrides import from_mapping
from pilotage.sites.validation import validated

if TYPE_CHECKING:
    from parsl.config import Config


@dataclass(frozen=True)
class Subject:
    """One executor of a site or a file.

    ``label`` is its name in this run, ``kind`` the short name of the executor, ``executor`` its own label where a file
    has several, ``workers`` those a node that were asked for.
    """

    label: str
    target: Target
    scheduler: str
    kind: str
    executor: str | None = None
    workers: int | None = None

    @property
    def site(self) -> str:
        """The site's name, or the file's without its ending."""
        return self.target.resolved.name if self.target.resolved else name_of(Path(self.target.file or "").stem)

    @property
    def title(self) -> str:
        """The subject in a few words."""
        words = [self.label, *([self.executor] if self.executor else [])]
        return " ".join(words) + (f", {self.workers} worker{'s' if self.workers != 1 else ''}" if self.workers else "")


def subjects_of(targets: Sequence[Target], workers: Sequence[int]) -> list[Subject]:
    """Return what is to be measured of ``targets``: each executor of each, with each number of workers.

    Config files are run for their executors' labels. Raises SiteFileError for one that fails, UsageError where a number
    of workers cannot be set.
    """
    counts: Sequence[int | None] = workers or [None]
    return [
        Subject(target.label, with_workers(target, count), scheduler, kind, executor, count)
        for target in targets
        for scheduler, kind, executor in _executors(target)
        for count in counts
    ]


def _executors(target: Target) -> list[tuple[str, str, str | None]]:
    """Return scheduler, kind and label of each executor; no label where there is one only."""
    if target.resolved is not None:
        site = target.resolved.site
        threads = isinstance(site, LocalSite) and site.kind == "threads"
        return [(site.scheduler, "threads" if threads else "htex", None)]
    from pilotage.assembly.files import config_from_file

    executors = config_from_file(target.file or Path()).executors
    several = len(executors) > 1
    return [(scheduler_name(one), short_name(one), one.label if several else None) for one in executors]


def with_workers(target: Target, count: int | None) -> Target:
    """Return a site with ``count`` workers a node; a file as it is, whose executor is set when it is loaded.

    Raises SiteValueError where the site refuses it.
    """
    if count is None or target.resolved is None:
        return target
    site = target.resolved.site
    key = "max_threads" if isinstance(site, LocalSite) and site.kind == "threads" else "max_workers_per_node"
    if key not in type(site).model_fields:
        raise UsageError(f"a site of scheduler {site.scheduler!r} has no number of workers", where="--workers")
    table = target.resolved.table
    for over in from_mapping({key: count}):
        table = table.under(over)
    return replace(target, resolved=Resolved(target.resolved.name, validated(target.resolved.name, table), table))


def config_of_site(value: dict[str, Any], run_dir: str) -> Config:
    """Return the config of a site as `pilotage run` would make it, for a session's process."""
    target = target_from_dict(value)
    if target.resolved is not None:  # its label is the site's name however often it is compared with itself
        target = replace(target, label=target.resolved.name)

    def made() -> Config:
        return configs.config_of([target], run_dir=run_dir)

    configs.run_config, configs.folder_of_run = made, run_dir
    return made()
