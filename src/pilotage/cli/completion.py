"""Names that the shell completes: ids and names of runs, sites."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class RunName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A run's id, the beginning of one, a name, or ``@last``."""

    name = "run"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the runs that begin so, the newest first; nothing where the store cannot be read."""
        from pilotage.errors import PilotageError
        from pilotage.runs.places.kept import all_kept
        from pilotage.runs.record import RunRecord
        from pilotage.runs.store import folders

        try:
            known = list(reversed(folders()))
        except PilotageError:
            return []
        found = [CompletionItem("@last")] if "@last".startswith(incomplete) and incomplete else []
        for kept in reversed(all_kept()):
            words = [kept.run or "", kept.name or ""]
            about = f"{kept.values.get('state', '?')} {kept.script} on {kept.host}"
            found += [CompletionItem(word, help=about) for word in words if word and word.startswith(incomplete)]
        for folder in known[:200]:
            record = RunRecord(folder.path).values
            words = [folder.id, str(record.get("name") or "")]
            about = f"{record.get('state', '?')} {record.get('script', '').rpartition('/')[2]}"
            found += [CompletionItem(word, help=about) for word in words if word and word.startswith(incomplete)]
        return found


class SiteName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A site, with or without a label before it."""

    name = "site"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the sites that begin so; nothing where a site file cannot be read."""
        from pilotage.errors import PilotageError
        from pilotage.sites.catalogue import Catalogue

        label, equals, beginning = incomplete.rpartition("=")
        try:
            names = Catalogue.load().names()
        except PilotageError:
            return []
        return [CompletionItem(f"{label}{equals}{name}") for name in names if name.startswith(beginning)]


class FileOrURL(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A path, which the shell completes itself, or a URL."""

    name = "path"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the shell's own names of files; nothing for a URL."""
        return [] if "://" in incomplete else [CompletionItem(incomplete, type="file")]
