"""Blocks as process sessions of a host without a scheduler, which is asked in a shell's words.

A block's id is its first process and when that began, so that another process of the same number is never taken for
it, nor one of another boot. Linux.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import Observed, State, UnclearError, refusal

# The time since the boot at which a process began is the 22nd field of its stat, after a name in brackets.
BEGAN = 'began() { sed "s/.*) //" "/proc/$1/stat" 2>/dev/null | cut -d" " -f20; }; '
SUBMIT = (
    BEGAN + 'PILOTAGE_JOB=$(basename -- "$1"); export PILOTAGE_JOB; '
    'setsid sh -c \'bash "$1" >"$1.stdout" 2>"$1.stderr" </dev/null; echo $? >"$1.code.new"; '
    'mv "$1.code.new" "$1.code"\' '
    'sh "$1" </dev/null >/dev/null 2>&1 & echo "started $!.$(began $!)"'
)
"""For ``sh -c``: start the script that is the first argument, in a session of its own."""
LOOK = (
    BEGAN + 'for job in "$@"; do pid=${job%.*}; at=$(began "$pid"); '
    'state=$(sed "s/.*) //" "/proc/$pid/stat" 2>/dev/null | cut -c1); '
    'if [ -n "$at" ] && [ "$at" = "${job#*.}" ] && [ "$state" != Z ]; then echo "$job running"; '
    'else echo "$job gone"; fi; done'
)
CODES = 'for script in "$@"; do echo "$(cat "$script.code" 2>/dev/null)"; done'
"""For ``sh -c``: say the exit codes of scripts, a line each, empty where there is none."""
CANCEL = (
    BEGAN + 'members() { began=$(began "${1%.*}"); [ -n "$began" ] && [ "$began" != "${1#*.}" ] && return; '
    'sed -n "s/^\\([0-9]*\\) (.*) [^ZX] [0-9]* [0-9]* ${1%.*} .*/\\1/p" /proc/[0-9]*/stat 2>/dev/null; }; '
    'all() { for job in "$@"; do members "$job"; done; }; '
    'for number in TERM KILL; do for one in $(all "$@"); do kill -s $number "$one" 2>/dev/null; done; '
    "for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do "
    '[ -z "$(all "$@")" ] && exit 0; sleep 0.2; done; done; exit 1'
)
"""For ``sh -c``: end sessions, and after three seconds what is left of them with force."""
LIST = (
    BEGAN + "for folder in /proc/[0-9]*; do pid=${folder#/proc/}; "
    '[ -r "$folder/environ" ] || continue; '
    '[ "$(sed "s/.*) //" "$folder/stat" 2>/dev/null | cut -d" " -f4)" = "$pid" ] || continue; '
    'name=$(tr "\\0" "\\n" <"$folder/environ" 2>/dev/null | sed -n "s/^PILOTAGE_JOB=//p"); '
    '[ -n "$name" ] && echo "$pid.$(began "$pid") $name"; done; exit 0'
)
ID = re.compile(r"\d+\.\d+")


class SSHJobs:
    """Processes of one host; see the module."""

    name = "ssh"
    place: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._scripts: dict[str, str] = {}
        self._submitted = ""

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return what starts a script."""
        self._submitted = script
        return ("sh", "-c", SUBMIT, "sh", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the id of what was started; raises RefusedError, UnclearError."""
        if not answer.ok:
            raise refusal(answer)
        found = re.search(rf"^started ({ID.pattern})$", answer.stdout, re.MULTILINE | re.ASCII)
        if found is None:
            raise UnclearError(f"the host said {answer.stdout.strip()!r}")
        self._scripts[found[1]] = self._submitted
        return found[1]

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question for all."""
        scripts = [self._scripts.get(job, "/dev/null/none") for job in ids]
        return (("sh", "-c", LOOK, "sh", *ids), ("sh", "-c", CODES, "sh", *scripts))

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return what runs, and how what has ended ended; raises UnclearError."""
        looked, codes = answers
        if not looked.ok or not codes.ok:
            raise UnclearError(" ".join((looked.stderr + codes.stderr).split()) or "the host does not say")
        lines = [line.split() for line in looked.stdout.splitlines()]
        found = {}
        for line, code in zip(lines, codes.stdout.split("\n"), strict=False):
            if len(line) == 2 and ID.fullmatch(line[0]):
                found[line[0]] = Observed(State.RUNNING, "running") if line[1] == "running" else _ended(code.strip())
        return found

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002
        """Return none: a host keeps no history."""
        return ()

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:  # noqa: ARG002
        """Return nothing."""
        return {}

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return what ends them."""
        return ("sh", "-c", CANCEL, "sh", *ids)

    def is_gone(self, answer: Completed) -> bool:  # noqa: ARG002
        """Return False: ending what is gone succeeds."""
        return False

    def list_command(self, user: str) -> tuple[str, ...]:  # noqa: ARG002
        """Return the question for the sessions that blocks are; of other users nothing can be read."""
        return ("sh", "-c", LIST)

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id; raises UnclearError."""
        if not answer.ok:
            raise UnclearError(" ".join(answer.stderr.split()) or "the host does not say")
        rows = [line.partition(" ") for line in answer.stdout.splitlines()]
        return {job: name for job, _, name in rows if ID.fullmatch(job)}


def _ended(code: str) -> Observed:
    if not code.isdecimal():
        return Observed(State.FAILED, "its first process is gone without a word: it was killed, or the host restarted")
    number = int(code)
    return Observed(State.COMPLETED if number == 0 else State.FAILED, f"ended with exit code {number}", number)
