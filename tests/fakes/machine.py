"""What the fakes of schedulers share: a folder with their state, nodes that are names, and jobs that are processes.

There is no server. Whoever changes something (a command, the end of a job) holds the lock and starts what can start.
Each job has a process of its own that waits for it, as an execution daemon does, and that outlives its submission.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path

LOOK = 0.02
PATIENCE = 120.0
"""Seconds that a command waits at most for a server that does not answer."""
SWITCHES = {
    "down": False,  # no server answers
    "frozen": False,  # it will answer when this is over, and do what it was asked
    "slow": 0.0,  # seconds until it answers
    "history": True,  # whether jobs that have ended are remembered
    "kill_delay": 0.3,  # seconds between SIGTERM and SIGKILL
    "linger": 0.0,  # seconds that a job is on its way out after its script has ended
    "node_fail_requeue": 0.3,  # seconds after which jobs of a lost node are given up
    "old_json": False,  # write numbers and escapes as older releases did, which is no JSON
}


class Unpinned(Exception):
    """A fake was asked for what no recorded answer tells."""


class Machine:
    """The state of one scheduler.

    Parameters
    ----------
    folder: where it is.
    rules: what the scheduler is: ``schedule(state)`` returns the jobs to start, ``command(job)`` the argument list,
        folder and environment of one, ``ended(state, job, code, why)`` notes an end.
    """

    def __init__(self, folder, rules):
        self.folder = Path(folder)
        self.rules = rules
        rules.machine = self

    @property
    def switches(self):
        try:
            return {**SWITCHES, **json.loads((self.folder / "switches.json").read_text())}
        except FileNotFoundError:
            return dict(SWITCHES)

    @contextlib.contextmanager
    def locked(self):
        """Yield the state, alone; what becomes of it is kept, and what can start then is started."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path = self.folder / "state.json"
            state = json.loads(path.read_text())
            yield state
            begun = self.rules.schedule(state)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(state))
            part.replace(path)
        finally:
            os.close(descriptor)
        for job in begun:
            detached(lambda job=job: self._attend(job))

    def job_folder(self, job):
        return self.folder / "jobs" / str(job)

    def ask(self, job, why):
        """Ask for the end of a job that runs."""
        (self.job_folder(job) / why).touch()

    def answering(self, answer):
        """Return what ``answer()`` returns, when the server answers; it does so even when nobody waits any more."""
        switches = self.switches
        if not switches["frozen"] and not switches["slow"]:
            return answer()
        reading, writing = os.pipe()

        def later():
            os.close(reading)
            time.sleep(switches["slow"])
            self._wait_while("frozen")
            with os.fdopen(writing, "w") as pipe:
                said = json.dumps(answer())
                with contextlib.suppress(BrokenPipeError):
                    pipe.write(said)
                    pipe.flush()

        detached(later, keep=(reading, writing))
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return json.loads(pipe.read())

    def _open(self, folder):
        return folder.exists() and not (self.folder / "closed").exists()

    def _wait_while(self, *names):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._open(self.folder) and any(self.switches[name] for name in names):
            time.sleep(LOOK)

    def _attend(self, job):
        """Run a job and note how it has ended."""
        folder = self.job_folder(job["id"])
        session = self._started(job, folder)
        with self.locked() as state:
            state["jobs"][job["id"]]["session"] = session
        limit = time.monotonic() + job["walltime"] if job["walltime"] else None
        why, kill_at, code = "", None, None
        while code is None and self._open(folder):
            now = time.monotonic()
            asked = next((word for word in ("node", "delete") if (folder / word).exists()), "")
            if not why and not asked and limit is not None and now >= limit:
                asked = "walltime"
            if asked and why != asked and why != "node":
                why = asked
                end_session(session, signal.SIGKILL if why == "node" else signal.SIGTERM)
                kill_at = now + self.switches["kill_delay"]
            if kill_at is not None and now >= kill_at:
                end_session(session, signal.SIGKILL)
            ended, status = os.waitpid(session, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else None
            time.sleep(LOOK)
        end_session(session, signal.SIGKILL)
        if why == "node":
            time.sleep(self.switches["node_fail_requeue"])
        self._wait_while("down", "frozen")
        if not self._open(folder):
            return
        if self.switches["linger"] and not why:
            with self.locked() as state:
                self.rules.leaving(state, state["jobs"][job["id"]], code)
            time.sleep(self.switches["linger"])
        self.rules.deliver(job, folder, code, why)
        with self.locked() as state:
            for word in ("node", "delete"):
                (folder / word).unlink(missing_ok=True)
            self.rules.ended(state, state["jobs"][job["id"]], code, why)

    def _started(self, job, folder):
        argv, where, environment = self.rules.command(job, folder)
        process = os.fork()
        if process:
            return process
        try:
            os.setsid()
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
            os.chdir(where)
            os.execve(argv[0], argv, environment)
        finally:
            os._exit(127)


def detached(function, keep=()):
    """Call a function in a process of its own that nobody waits for."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            others = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *keep}
            for descriptor in others:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            function()
    finally:
        os._exit(0)


def create(folder, **state):
    """Make the folder of a new scheduler."""
    (folder / "jobs").mkdir(parents=True)
    nodes = {name: {"cpus": cpus, "up": True, "taken": []} for name, cpus in state.pop("nodes").items()}
    (folder / "state.json").write_text(json.dumps({"next": 1, "jobs": {}, "nodes": nodes, **state}))


def end_session(session, number):
    """Send a signal to all processes of a session."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and session_of(entry) == session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry), number)


def session_of(process):
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[2])


def placed(nodes, chunks, exclusive=False):
    """Return where chunks find room, as pairs of a node and its slots; None where there is not enough now."""
    free = {name: [slot for slot in range(node["cpus"]) if slot not in node["taken"]] for name, node in nodes.items()}
    found = []
    for chunk in chunks:
        for name, slots in free.items():
            if not nodes[name]["up"] or chunk.get("host") not in (None, name) or len(slots) < chunk["cpus"]:
                continue
            if exclusive and len(slots) < nodes[name]["cpus"]:
                continue
            count = nodes[name]["cpus"] if exclusive else chunk["cpus"]
            found.append((name, slots[:count]))
            free[name] = slots[count:]
            break
        else:
            return None
    return found


def take(nodes, found):
    for name, slots in found:
        nodes[name]["taken"] = sorted({*nodes[name]["taken"], *slots})


def give_back(nodes, found):
    for name, slots in found:
        nodes[name]["taken"] = [slot for slot in nodes[name]["taken"] if slot not in slots]
