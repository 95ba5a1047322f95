"""From what a session's process has seen (`pilotage.perf.within`) to the parts of its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pilotage.perf.record import ColdStart, Node, Ran


def cold_start(observed: Mapping[str, Any]) -> ColdStart | None:
    """Return the start-up in parts; None where there was no first result.

    The times that were seen are brought into their order: each was looked for every few hundredths of a second, and a
    manager's start is told by its own node's clock.
    """
    times = observed.get("times", {})
    if "first_result" not in times or "started" not in times:
        return None
    start, end = float(times["started"]), float(times["first_result"])
    started = [look["manager_started"] for look in observed.get("looks", []) if look.get("manager_started")]
    submitted, connected = times.get("submitted"), times.get("connected")
    if submitted is None:  # no blocks: threads
        loaded = float(times.get("loaded", end))
        return _rounded(driver_s=loaded - start, first_task_s=end - loaded, total_s=end - start)
    submitted = min(max(float(submitted), start), end)
    connected = min(max(float(connected), submitted), end) if connected is not None else end
    manager = min(max(float(min(started)), submitted), connected) if started else None
    running = times.get("running")
    # Parsl asks for states from time to time: where a manager was there before the answer, the answer says nothing.
    running = float(running) if running is not None and running <= (connected if manager is None else manager) else None
    from_here = submitted if running is None else max(running, submitted)
    return _rounded(
        driver_s=submitted - start,
        queue_s=None if running is None else from_here - submitted,
        launch_s=(connected if manager is None else manager) - from_here,
        connect_s=None if manager is None else connected - manager,
        first_task_s=end - connected,
        total_s=end - start,
    )


def _rounded(**parts: float | None) -> ColdStart:
    values = {name: None if value is None else round(max(value, 0.0), 4) for name, value in parts.items()}
    return ColdStart.model_validate(values)


def ran(observed: Mapping[str, Any]) -> Ran:
    """Return what was connected, and the nodes that tasks have seen with the workers of the managers there."""
    managers: Mapping[str, Any] = observed.get("managers", {})
    looks = {look["host"]: look for look in observed.get("looks", [])}
    host_of = {look.get("pool"): look["host"] for look in observed.get("looks", [])}
    workers = int(observed.get("workers") or 0)
    on_host: Counter[str] = Counter()
    for name, manager in managers.items():
        if name in host_of:
            on_host[host_of[name]] += int(manager["workers"])
    if not managers and len(looks) == 1:  # threads, or whatever has no managers
        on_host.update(dict.fromkeys(looks, workers))
    return Ran(
        blocks=len({manager["block"] for manager in managers.values()}),
        managers=int(observed.get("most_managers") or 0),
        workers=workers,
        nodes=[Node(cores=look["cores"], cpu=look["cpu"], workers=on_host[host]) for host, look in looks.items()],
        python=sorted({str(manager["python"]) for manager in managers.values()}),
        parsl=sorted({str(manager["parsl"]) for manager in managers.values()}),
    )
