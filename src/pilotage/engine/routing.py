"""Parsl's executor, whose workers reach its interchange by a way that is made for them."""

from __future__ import annotations

from typing import Any

from pilotage import events
from pilotage.engine.commands import is_usual_interchange
from pilotage.engine.quoting import QuotingExecutor
from pilotage.hosts.route import Route

PROBE = 120
"""Seconds in which a manager must have had an answer at the start, unless the site says otherwise: Parsl's 30 may all
be spent while a tunnel is made anew."""


class RoutedExecutor(QuotingExecutor):
    """Parsl's executor, which may tell its workers another address than its own; the arguments are Parsl's."""

    route: Route | None = None
    _route_is_open = False

    def initialize_scaling(self) -> None:
        """Compose the launch command; where there is a route, it is opened, and its other end put there."""
        if self.route is None:
            super().initialize_scaling()
            return
        self._close_route()  # it led to a port where the interchange does not listen
        ours: Any = self.all_addresses, self.worker_port, self.address_probe_timeout
        self._route_is_open = True  # from here on it may have left something
        address, port = self.route.open(int(self.worker_port or 0))
        self.all_addresses, self.worker_port = {address}, port
        self.address_probe_timeout = self.address_probe_timeout or PROBE
        try:
            super().initialize_scaling()
        finally:
            self.all_addresses, self.worker_port, self.address_probe_timeout = ours

    def _route_options(self) -> list[str]:
        """Return what our start of the pool is told of the route."""
        speaks = self.route is not None and is_usual_interchange(self.interchange_launch_cmd)
        return ["--tunnelled", *getattr(self.route, "options", ())] if speaks else []

    def _close_route(self) -> None:
        if self.route is None or not self._route_is_open:
            return
        self._route_is_open = False
        try:
            self.route.close()
        except Exception as error:  # whatever it is, the rest is to be ended too
            words = f"the workers' way to {self.label} could not be closed: {type(error).__name__}: {error}"
            events.tell("route-left", words, "warning", executor=self.label)
