"""``pilotage env``: the Python that a site's workers have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pilotage.cli.common import FiniteRange, command_options, set_option
from pilotage.cli.completion import SiteName
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.assembly.environments import Place
    from pilotage.sites.catalogue import Resolved

site_argument = click.argument("name", metavar="SITE", type=SiteName())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def env() -> None:
    """Show, build, verify, list and remove the environments of a site's workers."""


def _site(output: Output, name: str, assignments: tuple[str, ...] = ()) -> tuple[Resolved, list[Place]]:
    from pilotage.assembly.configs import targets
    from pilotage.assembly.environments import places
    from pilotage.errors import UsageError
    from pilotage.sites.catalogue import Catalogue

    catalogue = Catalogue.load()
    for warning in catalogue.warnings:
        output.warn(warning)
    resolved = targets(name, assignments, catalogue)[0].resolved
    if resolved is None:
        raise UsageError(f"{name} is a Parsl config of its own, not a site")
    return resolved, list(places(resolved))


def _each(output: Output, found: list[Place], work: Callable[[Place], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is said of each host, in which an error of one is no error of the others."""
    from pilotage.errors import PilotageError

    rows = []
    for place in found:
        try:
            rows.append({"host": place.name, "error": None, **work(place)})
        except PilotageError as error:
            if len(found) == 1:
                raise
            output.warn(" ".join(str(error).split()))
            rows.append({"host": place.name, "error": error.as_dict()})
    return rows


def _end(output: Output, name: str, rows: list[dict[str, Any]], *, failed: bool = False) -> None:
    output.data({"site": name, "hosts": rows})
    if failed or any(row["error"] for row in rows):
        sys.exit(1)


@env.command()
@site_argument
@set_option
@command_options
def show(output: Output, name: str, assignments: tuple[str, ...]) -> None:
    """Show what the workers of SITE run in: where it is, whether it is there, its packages."""
    from pilotage.assembly import environments as room

    resolved, found = _site(output, name, assignments)

    def work(place: Place) -> dict[str, Any]:
        shown = room.described(resolved, place, room.recipe(resolved, place, output.say))
        if not output.as_json:
            output.text(_described(place, shown))
        return shown

    _end(output, name, _each(output, found, work))


def _described(place: Place, shown: dict[str, Any]) -> str:
    lines = [f"{place.name}: {shown['kind']}{', ' + shown['title'] if shown['title'] else ''}"]
    if shown["path"]:
        lines.append(f"  {shown['path']} ({'built' if shown['built'] else 'not built yet'})")
    lines += [f"  {line}" for line in shown["activation"].splitlines()]
    lines.append(f"  python: {shown['python']}")
    packages = ", ".join(f"{name} {version}" for name, version in sorted(shown["packages"].items()))
    return "\n".join([*lines, *([f"  {packages}"] if packages else [])])


@env.command()
@site_argument
@set_option
@command_options
def build(output: Output, name: str, assignments: tuple[str, ...]) -> None:
    """Make the environment of SITE's workers now, where it is not there yet; a run does so by itself."""
    from pilotage.assembly import environments as room

    resolved, found = _site(output, name, assignments)

    def work(place: Place) -> dict[str, Any]:
        made, now = room.build(resolved, place, lambda words: output.say(f"{place.name}: {words}"))
        path = place.store.path(made) if made is not None else None
        if not output.as_json:
            words = "nothing is made for it" if made is None else f"{made.title}: {'built' if now else 'there already'}"
            output.text(f"{place.name}: {words}{f', {path}' if path else ''}")
        return {
            "path": path,
            "digest": made.digest if made else None,
            "title": made.title if made else None,
            "new": now,
        }

    _end(output, name, _each(output, found, work))


@env.command()
@site_argument
@set_option
@command_options
def verify(output: Output, name: str, assignments: tuple[str, ...]) -> None:
    """Look whether the Python of SITE's workers has what the driver needs; ``check --submit`` does so on a node."""
    from pilotage.assembly import environments as room

    resolved, found = _site(output, name, assignments)

    def work(place: Place) -> dict[str, Any]:
        problem = room.verify(resolved, place, output.say)
        if not output.as_json:
            output.text(f"{place.name}: {problem or 'as it should be'}")
        return {"problem": problem}

    rows = _each(output, found, work)
    _end(output, name, rows, failed=any(row.get("problem") for row in rows))


@env.command("list")
@site_argument
@set_option
@command_options
def list_environments(output: Output, name: str, assignments: tuple[str, ...]) -> None:
    """List the environments that are kept on SITE's hosts."""
    from pilotage.runs.record import iso

    _, found = _site(output, name, assignments)

    def work(place: Place) -> dict[str, Any]:
        return {
            "path": place.store.base,
            "environments": [
                {
                    "digest": one.digest,
                    "kind": str(one.mark.get("kind", "")),
                    "title": str(one.mark.get("title", "")),
                    "bytes": one.size,
                    "used": iso(one.used),
                    "runs": list(one.runs),
                }
                for one in place.store.kept()
            ],
        }

    rows = _each(output, found, work)
    lines = [
        (row["host"], one["digest"], one["kind"], one["title"], f"{one['bytes'] / 1e6:.0f} MB", one["used"])
        for row in rows
        for one in row.get("environments", ())
    ]
    output.table(("host", "digest", "kind", "what", "size", "last used"), lines, {"site": name, "hosts": rows})
    if any(row["error"] for row in rows):
        sys.exit(1)


@env.command()
@site_argument
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@set_option
@click.option(
    "--unused",
    type=FiniteRange(min=0),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="Remove what no run has asked for in so many days.",
)
@command_options
def prune(output: Output, name: str, digests: tuple[str, ...], assignments: tuple[str, ...], unused: float) -> None:
    """Remove environments on SITE's hosts that no run uses: old ones, or those that are named."""
    from pilotage.assembly import environments as room
    from pilotage.errors import UsageError

    _, found = _site(output, name, assignments)

    def work(place: Place) -> dict[str, Any]:
        outcome = room.prune(place, unused, digests)
        for one, became in outcome if not output.as_json else ():
            output.text(f"{place.name}: {one.digest} ({one.mark.get('title', '?')}): {became}")
        removed = [one for one, became in outcome if became == "removed"]
        kept = {one.digest: became for one, became in outcome if became != "removed"}
        return {"removed": [one.digest for one in removed], "bytes": sum(one.size for one in removed), "kept": kept}

    rows = _each(output, found, work)
    if not output.as_json:
        freed = sum(row.get("bytes", 0) for row in rows)
        output.say(f"{sum(len(row.get('removed', ())) for row in rows)} removed, {freed / 1e6:.0f} MB")
    known = {digest for row in rows if not row["error"] for digest in (*row["removed"], *row["kept"])}
    if (strange := [one for one in digests if one not in known]) and not any(row["error"] for row in rows):
        raise UsageError(f"there is no environment {', '.join(strange)}", hint=f"pilotage env list {name} has them all")
    _end(output, name, rows)
