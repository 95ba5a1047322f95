"""From what a site says of its data to Parsl's staging providers, and to the options of its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilotage.sites.catalogue import Catalogue
from pilotage.sites.keeping import size
from pilotage.sites.models import BatchSite, KubernetesSite, Site, SSHSite
from pilotage.sites.staging import Staging as Table
from pilotage.worker.data.context import Context, set_here

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging


@dataclass(frozen=True)
class Data:
    """How the data of one site's tasks is brought."""

    context: Context
    copies: dict[str, str]

    def storage(self) -> list[Staging]:
        """Return Parsl's ``storage_access``: ours first, then what Parsl has for what ours leaves."""
        from parsl.data_provider.data_manager import default_staging

        from pilotage.staging.provider import Staging as Ours

        return [Ours(self.context.shared, self.copies, self.context.options), *default_staging]

    def lines(self) -> tuple[str, ...]:
        """Return what workers are told."""
        return tuple(self.context.lines())

    def hold_here(self) -> None:
        """Let it hold in this process, whose threads are the workers."""
        set_here(self.context)


def data_of(site: Site) -> Data:
    """Return how the data of a site's tasks is brought."""
    table = site.staging or Table()
    shared: Any = table.shared_filesystem
    if shared is None:
        elsewhere = isinstance(site, SSHSite | KubernetesSite) or (isinstance(site, BatchSite) and site.login)
        shared = not elsewhere
    context = Context(bool(shared), table.cache, size(table.cache_size), table.keep, table.options())
    return Data(context, table.copies())


def options_of(name: str, warn: Callable[[str], None]) -> Mapping[str, Mapping[str, Any]]:
    """Return what a site says to stores of data, by scheme; raises SiteError.

    Parameters
    ----------
    warn: is told what the site files have been warned of.
    """
    catalogue = Catalogue.load()
    for warning in catalogue.warnings:
        warn(warning)
    site = catalogue.resolve(name).site
    return {} if site.staging is None else site.staging.options()
