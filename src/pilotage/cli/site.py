"""``pilotage site``: list, show, add, import, validate, export, schema."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pilotage.cli.common import command_options, set_option
from pilotage.errors import UsageError
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.hosts.base import Host
    from pilotage.sites.catalogue import Catalogue, Resolved


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def site() -> None:
    """List, show, add, import, check and export sites."""


def _catalogue(output: Output) -> Catalogue:
    from pilotage.sites.catalogue import Catalogue

    found = Catalogue.load()
    for warning in found.warnings:
        output.warn(warning)
    return found


def _resolve(output: Output, name: str, assignments: tuple[str, ...]) -> Resolved:
    from pilotage.assembly.configs import targets

    chosen = targets(name, assignments, _catalogue(output))[0]
    if chosen.resolved is None:
        raise UsageError(f"{name} is a Parsl config already, not a site")
    return chosen.resolved


@site.command("list")
@command_options
def list_sites(output: Output) -> None:
    """List all sites that are known here."""
    from pilotage.sites.listing import summaries

    catalogue = _catalogue(output)
    rows = summaries(catalogue)
    output.table(
        ("name", "scheduler", "from", "description"),
        [(row["name"], row["scheduler"], row["source"], row["description"]) for row in rows],
        {"default_site": catalogue.default_site, "sites": rows},
    )


@site.command()
@click.argument("name", metavar="SITE")
@set_option
@click.option("--script", is_flag=True, help="Show the batch script and the worker command instead.")
@click.option("--origin", is_flag=True, help="Say where each value was written.")
@command_options
def show(output: Output, name: str, assignments: tuple[str, ...], script: bool, origin: bool) -> None:
    """Show a site as resolved: its values, where they come from, or what it would start."""
    from pilotage.sites.listing import origins_of, resolved_toml, values_of

    resolved = _resolve(output, name, assignments)
    if script:
        _show_script(output, resolved)
    elif origin:
        rows = origins_of(resolved)
        output.table(
            ("key", "value", "origin"),
            [(r["key"], r["value"], r["origin"]) for r in rows],
            {"site": name, "values": rows},
        )
    else:
        from pilotage.assembly.reach import as_data, in_short

        values = {"site": name, "values": values_of(resolved)}
        ways = as_data(resolved)
        output.text(resolved_toml(resolved) + in_short(resolved), {**values, "reach": ways} if ways else values)


def _show_script(output: Output, resolved: Resolved) -> None:
    from dataclasses import asdict

    from pilotage.assembly.reach import as_comments, as_data
    from pilotage.assembly.rendering import render

    rendering = render(resolved)
    if rendering.note:
        output.say(f"note: {rendering.note}")
    shown = rendering.script or rendering.worker_command
    if output.as_json:
        ways = as_data(resolved)
        output.data({**asdict(rendering), "reach": ways} if ways else asdict(rendering))
    elif shown:
        output.text(shown.rstrip("\n") + "\n" + as_comments(resolved))


@site.command()
@click.argument("names", metavar="[SITE]...", nargs=-1)
@set_option
@command_options
def validate(output: Output, names: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Check sites (all, when none is named), Parsl's constructors included."""
    from pilotage.assembly.validation import validate_sites

    reports = validate_sites(_catalogue(output), names, assignments)
    for report in reports:
        if report.error is None:
            output.say(f"{report.name}: ok")
    output.data({"sites": [report.as_dict() for report in reports]})
    failed = [report.error for report in reports if report.error is not None]
    for error in failed:
        Output(debug=output.debug).error(error)
    if failed:
        raise SystemExit(2)


@site.command()
@click.argument("name", metavar="SITE")
@set_option
@click.option("--output", "-o", "path", metavar="FILE", help="Write to a file instead of stdout.")
@click.option("--force", is_flag=True, help="Replace the file where there is one.")
@command_options
def export(output: Output, name: str, assignments: tuple[str, ...], path: str | None, force: bool) -> None:
    """Write a stand-alone Parsl config module for a site; it needs no pilotage."""
    from pilotage.assembly.export import export as export_site
    from pilotage.paths import write_user_file

    text = export_site(_resolve(output, name, assignments))
    if path is None:
        output.text(text, {"site": name, "module": text})
        return
    write_user_file(path, text, replace=force)
    output.say(f"written: {path}")
    output.data({"site": name, "path": path})


@site.command()
@command_options
def schema(output: Output) -> None:
    """Print the JSON Schema of a site file, for editors."""
    import json

    from pilotage.sites.schema import file_schema

    value = file_schema()
    output.text(json.dumps(value, indent=2), value)


@site.command()
@click.argument("name", metavar="NAME")
@click.option("--login", metavar="USER@HOST", help="Look at this login host by SSH instead of this machine.")
@click.option("--scheduler", help="Take this one of the schedulers found (local: this machine).")
@click.option("--queue", help="Partition or queue.")
@click.option("--account", help="Account (project, bank) to charge.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes in one block.")
@click.option("--project", is_flag=True, help="Write ./pilotage.toml instead of your own file.")
@click.option("--force", is_flag=True, help="Replace a site of the same name in that file.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take what was found.")
@command_options
def add(output: Output, name: str, login: str | None, project: bool, force: bool, yes: bool, **given: Any) -> None:
    """Add a site: detects what this machine (or a login host) has, asks little, writes commented TOML."""
    from pilotage.assembly.adding import add_site

    ask = None if yes else _ask
    with _host(login) as host:
        path, text = add_site(name, host, given, ask=ask, project=project, force=force, say=output.say)
    if output.as_json:
        output.data({"site": name, "path": str(path), "toml": text})
    else:
        output.text(text)
    output.say(f"written: {path}")


@contextlib.contextmanager
def _host(login: str | None) -> Iterator[Host]:
    """Yield this machine, or a login host; a connection that is made for this is ended."""
    from pilotage.hosts.local import LocalHost
    from pilotage.hosts.openssh import A_MOMENT, OpenSSHHost

    if login is None:
        yield LocalHost()
        return
    if login.startswith("-") or len(login.split()) != 1:
        raise UsageError(f"{login!r} is no host", where="--login")
    host = OpenSSHHost(login, stays=A_MOMENT)
    try:
        host.connect(ask=sys.stdin is not None and sys.stdin.isatty())
        yield host
    finally:
        host.leave()


@site.command("import")
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--project", is_flag=True, help="Write ./pilotage.toml instead of your own file.")
@click.option("--force", is_flag=True, help="Replace sites of the same names in that file.")
@click.option("--keep-going", is_flag=True, help="Keep keys that are not known as comments.")
@click.option("--dry-run", is_flag=True, help="Print the sites, and write nothing.")
@command_options
def import_sites(output: Output, source: Path, **options: bool) -> None:
    """Make sites of the pools in an executors.json, the older form of Parallel Works."""
    from pilotage.assembly.importing import import_executors
    from pilotage.sites.executors_json import printable

    imported = import_executors(source, **options)
    output.text(imported.text, imported.as_dict())
    for pool in imported.pools:
        if pool.remark:
            output.warn(f"{pool.label}: {pool.remark}")
        for reason in dict.fromkeys(note.reason for note in pool.notes):
            notes = [note for note in pool.notes if note.reason == reason]
            tell = output.warn if notes[0].urgent else output.say
            tell(f"{pool.label}: only a comment: {', '.join(printable(note.key) for note in notes)} ({reason})")
    if imported.path is not None:
        output.say(f"written: {imported.path}")
        choice = " ".join(f"--site {pool.label}={pool.label}" for pool in imported.pools)
        output.say(f"a script whose apps name these executors runs with: pilotage run SCRIPT {choice}")


def _ask(question: str, choices: list[str], default: str) -> str:
    # Questions are talk: they go to stderr, and stdout stays data.
    if len(choices) > 1:
        answer: str = click.prompt(question, type=click.Choice(choices), default=default, err=True)
    else:
        answer = click.prompt(question, default=default, err=True)
    return answer
