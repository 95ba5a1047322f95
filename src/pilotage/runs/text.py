"""Runs as text for people."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilotage.runs import moves
from pilotage.runs.status import clock

ROW = ("run", "name", "script", "state", "site", "host", "tasks", "rate", "blocks", "age", "node-h")
TRACEBACK_LINES = 30
LOG_FILES = 6


def row(run: Mapping[str, Any]) -> list[str]:
    """Return a run's line of ``ps``, in the order of `ROW`."""
    return [
        run["id"],
        run["name"] or "",
        Path(run["script"]).name,
        run["state"],
        _short_sites(run),
        run["host"] or "?",
        _tasks(run),
        f"{run['rate']:,.0f}/s",
        " ".join(f"{count} {state}" for state, count in sorted(run["blocks"].items())) or "-",
        _age(run),
        f"{run['node_hours']:.2f}",
    ]


def _sites(run: Mapping[str, Any]) -> str:
    if run["own_config"]:
        return "its own"
    return ", ".join(f"{label}={site}" if label != site else site for label, site in run["sites"].items())


def _short_sites(run: Mapping[str, Any]) -> str:
    """Return the sites with a config file's name in the place of its path."""
    names = {label: Path(site).name for label, site in run["sites"].items()}
    names = {name if name == f"{label}.py" else label: name for label, name in names.items()}
    return _sites({**run, "sites": names})


def _tasks(run: Mapping[str, Any]) -> str:
    tasks = run["tasks"]
    if not tasks.get("total"):
        return "-"
    failed = f" ({tasks['failed']:,} failed)" if tasks["failed"] else ""
    return f"{tasks['done'] + tasks['failed']:,}/{tasks['total']:,}{failed}"


def _age(run: Mapping[str, Any]) -> str:
    if not run["started"]:
        return "?"
    seconds = max(0, int(time.time() - timegm(time.strptime(run["started"], "%Y-%m-%dT%H:%M:%SZ"))))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def full(run: Mapping[str, Any]) -> str:
    """Return all of a run for ``show``."""
    lines = [
        f"run        {run['id']}" + (f" ({run['name']})" if run["name"] else ""),
        f"state      {run['state']}" + (f": {run['reason']}" if run["reason"] else ""),
        f"script     {run['script']} {' '.join(run['arguments'])}".rstrip(),
        f"site       {_sites(run)}",
        f"host       {run['host']}" + (f", heartbeat {run['heartbeat']:.0f} s ago" if run["heartbeat"] else ""),
        f"started    {run['started']}" + (f", took {clock(run['elapsed'])}" if run["elapsed"] else ""),
        f"tasks      {_all_tasks(run)}",
        f"node-hours {run['node_hours']:.3f}" + (f" of {run['max_node_hours']:g}" if run["max_node_hours"] else ""),
        f"folder     {run['folder']}",
    ]
    if run["resumes"]:
        lines.append(f"resumes    {run['resumes']}")
    if run["blocks"]:
        lines += [f"blocks     {blocks}" for blocks in _all_blocks(run)]
    if run["waits_for"]:
        lines.append(f"waits      {run['waits_for']}")
    lines += [f"doing      {one['label']}: {one['words']}" for one in run.get("doing", [])]
    if run["versions"]:
        lines.append("versions   " + ", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    sections = {
        "what happened": [f"{_time(event['at'])} {event['message']}" for event in run["events"]],
        "what was moved": moves.lines(run.get("moves", [])),
        "may be there still": run["journal"],
        "log files": [_log(log) for log in run["logs"]],
    }
    for title, content in sections.items():
        if content:
            lines += ["", title, *(f"  {line}" for line in content)]
    if run["failures"]:
        lines += ["", failed(run["failures"], always=True)]
    return "\n".join(lines)


def _all_blocks(run: Mapping[str, Any]) -> list[str]:
    """Return the blocks by state, of each executor where several have any."""
    those = {f"{label}: ": states for label, states in run["blocks_of"].items() if states}
    if len(those) < 2:
        those = {"": run["blocks"]}
    return [
        label + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        for label, states in those.items()
    ]


def _all_tasks(run: Mapping[str, Any]) -> str:
    tasks = run["tasks"]
    return ", ".join(f"{count:,} {word}" for word, count in tasks.items() if count or word == "total") or "none"


def _time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))


def _log(log: Mapping[str, Any]) -> str:
    place = [log["executor"], f"block {log['block']}" if log["block"] else ""]
    place += [f"worker {log['worker']}"] if log["worker"] is not None else []
    return f"{' '.join([log['kind'], *filter(None, place)]):<34} {log['path']}"


def where(tails: list[str], run: str) -> str:
    """Return where to read on after a failure: the files with what Parsl logged last, and the command for all."""
    lines = [f"pilotage show {run} says where the logs are"]
    if tails:
        more = f" (and {len(tails) - LOG_FILES} more)" if len(tails) > LOG_FILES else ""
        lines += [f"what Parsl logged last{more}:", *(f"  {path}" for path in tails[:LOG_FILES])]
    return "\n".join(lines)


def failed(failures: list[dict[str, Any]], *, always: bool = False) -> str:
    """Return what failed, how often, and the first traceback: always, or unless the script has ended with it."""
    count = sum(kind["count"] for kind in failures)
    lines = [f"{count:,} task{'s' if count != 1 else ''} failed"]
    lines += [f"  {kind['count']:,} x {kind['app']}: {_kind(kind)}" for kind in failures]
    if failures[0]["shown"] and not always:
        return "\n".join(lines)
    words = failures[0]["traceback"].rstrip().splitlines()
    if len(words) > TRACEBACK_LINES:
        words = [*words[: TRACEBACK_LINES // 2], "  ...", *words[-TRACEBACK_LINES // 2 :]]
    return "\n".join([*lines, "", f"the first of {failures[0]['app']}:", *(f"  {word}" for word in words)])


def _kind(kind: Mapping[str, Any]) -> str:
    """Return the exception of a kind of failure, and which tasks had it: their messages may differ."""
    if kind["count"] == 1:
        return f"{kind['exception']}: {first_line(kind)} (task {kind['first_task']})"
    more = kind["count"] - len(kind["tasks"])
    tasks = ", ".join(map(str, kind["tasks"])) + (f" and {more:,} more" if more else "")
    return f"{kind['exception']}, first: {first_line(kind)} (tasks {tasks})"


def first_line(kind: Mapping[str, Any]) -> str:
    """Return the first line of the message that the first failure of a kind had."""
    return str((kind["message"].strip().splitlines() or [""])[0][:200])
