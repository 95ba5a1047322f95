"""``pilotage cp``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pilotage.cli.common import command_options
from pilotage.cli.completion import FileOrURL, SiteName
from pilotage.output import Output


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, type=FileOrURL())
@click.argument("destination", metavar="DST", type=FileOrURL())
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be copied, and to where.")
@click.option("-s", "--site", metavar="SITE", type=SiteName(), help="Take what [site.SITE.staging] says of schemes.")
@click.option(
    "--option",
    "assignments",
    multiple=True,
    metavar="SCHEME.KEY=VALUE",
    help="What a scheme is told, such as s3.endpoint_url=http://localhost:9000.",
)
@command_options
def cp(
    output: Output,
    sources: tuple[str, ...],
    destination: str,
    dry_run: bool,
    site: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Copy files and folders between any two places: paths, ssh://, s3://, gs://, http(s)://, or what fsspec knows.

    A folder is copied with all that is in it. Where DST is a folder, or ends with a slash, the copy is in it under its
    own name. What is there is replaced once all of the new file has come; what has another name stays. Nothing is
    copied where a SRC is not there.
    """
    from pilotage.staging.copying import planned
    from pilotage.staging.interrupting import ends_in_order
    from pilotage.staging.options import merged

    known: Mapping[str, Mapping[str, Any]] = {}
    if site is not None:
        from pilotage.assembly.data import options_of

        known = options_of(site, output.warn)
    options = merged(known, assignments)
    with ends_in_order(), planned(sources, destination, options) as job:
        if dry_run:
            output.text("\n".join(f"{one.source} -> {one.target}" for one in job.copies), job.as_dict())
            return
        with output.progress("copying", lambda: (job.meter.bytes, job.meter.files, job.expected())):
            job.run()
        output.data(job.as_dict())
