"""Inside a session's process: gives parsl-perf its config, and sees what really runs.

Imported by the config file of a session, whose ``fresh_config()`` is `session_config`. parsl-perf itself is unmodified:
all of this happens while its ``parsl.load()`` is under way, except that a thread looks once a second at how many
managers are connected.

Only the standard library, and what loading the config needs anyway: a stock config is to start as fast as without us.
"""

from __future__ import annotations

import json
import os
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pilotage.perf.parameters import collect

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

SOON, SELDOM = 0.01, 0.25
"""Seconds between two looks at blocks that have not connected: the longer they take, the fewer."""
PERIOD = 1.0
CONNECTING = 180.0
"""Seconds that a block may run, or that all may have been asked for where that is not known, without a manager."""
REST = 60.0
"""Seconds that the other blocks may take once a first result is there."""
LOOKS, ROUNDS = 0.02, 5
"""Seconds that a task takes which looks at its node, so that each worker gets one; rounds of them, each slower."""


def session_config(path: str) -> Config:
    """Return the config of the session that a file describes, and watch the kernel that will be made of it.

    The file holds ``folder`` (of the session), ``run`` (its run's folder), ``started`` (time of the process's start),
    ``file`` (a Parsl config file) or ``target`` (a site), ``executor`` (the label of the one to measure, or None) and
    ``workers`` (a node, or None).
    """
    from pilotage import events, journal

    began = time.time()
    session = json.loads(Path(path).read_text(encoding="utf-8"))
    run = Path(session["run"])
    journal.current = journal.Journal(run / "journal.jsonl")
    events.current = events.Events(run / "events.jsonl")
    config = _config(session, str(run / "parsl"))
    watch = Watch(Path(session["folder"]), session["started"], config, began)
    _hook(watch)
    return config


def _config(session: dict[str, Any], run_dir: str) -> Config:
    from pilotage.assembly import files

    if session.get("file"):
        config = files.config_from_file(Path(session["file"]))
        config.run_dir = run_dir  # its logs are the run's
    else:
        from pilotage.perf.subjects import config_of_site

        config = config_of_site(session["target"], run_dir)
    chosen = [one for one in config.executors if session.get("executor") in (None, one.label)]
    if not chosen:
        raise RuntimeError(f"the config has no executor {session['executor']!r} any more")
    config._executors = chosen[:1]
    if session.get("workers"):
        set_workers(chosen[0], int(session["workers"]))
    return config


def set_workers(executor: Any, count: int) -> None:
    """Let an executor have ``count`` workers a node, or threads; raises RuntimeError where it has no such number."""
    for name in ("max_workers_per_node", "max_threads"):
        if hasattr(executor, name):
            setattr(executor, name, count)
            if hasattr(executor, "_workers_per_node"):
                executor._workers_per_node = count
            return
    raise RuntimeError(f"{type(executor).__name__} has no number of workers that could be set")


def _hook(watch: Watch) -> None:
    """Let the next kernel that is made be watched from its first moment on."""
    from parsl.dataflow import dflow

    original = dflow.DataFlowKernel.__init__

    def init(kernel: DataFlowKernel, *arguments: Any, **named: Any) -> None:
        dflow.DataFlowKernel.__init__ = original  # type: ignore[method-assign]
        watch.begin()
        original(kernel, *arguments, **named)
        try:
            watch.adopt(kernel)
        except KeyboardInterrupt:  # parsl-perf has not got it yet, so it is ours to end
            kernel.cleanup()
            raise

    dflow.DataFlowKernel.__init__ = init  # type: ignore[method-assign,assignment]


def _look(seconds: float) -> dict[str, Any]:
    """Return what a worker sees of its node; sent by value, since a worker need not have this package."""
    import os
    import platform
    import time

    found: dict[str, Any] = {"host": platform.node(), "cores": None, "cpu": None, "manager_started": None}
    found["pool"] = os.environ.get("PARSL_WORKER_POOL_ID")
    try:
        found["cores"] = len(os.sched_getaffinity(0))
    except AttributeError:
        found["cores"] = os.cpu_count()
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        found["cpu"] = names[0] if names else platform.machine()
        with open("/proc/stat") as file:
            boot = next(float(line.split()[1]) for line in file if line.startswith("btime"))
        with open("/proc/uptime") as file:
            up = float(file.read().split()[0])
        # The uptime gives the boot to the hundredth; btime only to the second.
        boot = time.time() - up if abs(time.time() - up - boot) < 2 else boot
        pid = os.getpid()
        while pid > 1:  # the outermost process of the pool among our ancestors
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            pool = any(word in command for word in (b"process_worker_pool", b"pilotage.worker.pool", b"parsl: HTEX"))
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if pool:
                found["manager_started"] = boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
            pid = int(fields[1])
    except (OSError, ValueError, IndexError, StopIteration):
        pass
    time.sleep(seconds)
    return found


look = types.FunctionType(_look.__code__, {"__name__": "__main__", "__builtins__": __builtins__}, "look")
"""The same function without a module to import it from."""


class Watch:
    """What happens to the one kernel of this process, written down for the run's process to read.

    Parameters
    ----------
    folder: the session's; ``observed.json`` in it is what is known, ``progress.json`` how far it has come.
    started: time of the process's start.
    config: the kernel's, with one executor.
    began: when the config was asked for.
    """

    def __init__(self, folder: Path, started: float, config: Config, began: float) -> None:
        self._folder = folder
        self._executor: Any = config.executors[0]
        self._kernel: DataFlowKernel | None = None
        self._stop = threading.Event()
        self._times: dict[str, float] = {"started": started, "began": began}
        self._node_seconds = 0.0
        self._observed: dict[str, Any] = {
            "label": self._executor.label,
            "parameters": collect(config, self._executor),
            "times": self._times,
            "managers": {},
            "workers": 0,
            "looks": [],
        }

    def begin(self) -> None:
        """Note when blocks are asked for, run and connect, from now on."""
        threading.Thread(target=self._follow, name="pilotage-perf-start", daemon=True).start()

    def adopt(self, kernel: DataFlowKernel) -> None:
        """Wait for the first result and for the other blocks that were asked for, then look on from time to time."""
        self._kernel = kernel
        self._times["loaded"] = time.time()
        self._observed["run_dir"] = kernel.run_dir
        self._first_result()
        self._await_rest()
        self._look_at_nodes()
        self._sample()
        self.write()
        threading.Thread(target=self._sample_until_stopped, name="pilotage-perf", daemon=True).start()
        original = kernel.cleanup

        def cleanup() -> None:
            self._stop.set()
            self._sample()
            self.write()
            original()
            self._times["cleaned_up"] = time.time()
            self.write()

        kernel.cleanup = cleanup  # type: ignore[method-assign]

    # The start

    def _follow(self) -> None:
        while not self._stop.is_set() and "connected" not in self._times:
            now = time.time()
            if self._blocks():
                self._times.setdefault("submitted", now)
            if any(state == "RUNNING" for state in self._blocks().values()):
                self._times.setdefault("running", now)
            # Before that the interchange may not be up, and a question without an answer would block Parsl's own.
            if "submitted" in self._times and self._managers():
                self._times["connected"] = time.time()
            waited = now - self._times.get("submitted", now)
            self._stop.wait(min(SOON + waited / 200, SELDOM))

    def _blocks(self) -> dict[str, str]:
        facade = getattr(self._executor, "status_facade", None)
        asked = dict.fromkeys(list(getattr(self._executor, "blocks_to_job_id", {})), "PENDING")
        states = {block: status.state.name for block, status in list(facade.items())} if facade else {}
        return {**asked, **states}

    def _managers(self) -> list[dict[str, Any]]:
        """Return the connected managers; none of an executor that has no such thing, or whose interchange is not up."""
        ask: Callable[[], list[dict[str, Any]]] | None = getattr(self._executor, "connected_managers", None)
        if ask is None or not self._has_managers():
            return []
        try:
            return ask()
        except Exception:  # the executor is starting or ending; whatever it says, nothing is connected
            return []

    def _first_result(self) -> None:
        future = self._app()(0.0)
        while True:
            try:
                self._observed["looks"].append(future.result(timeout=0.5))
                break
            except TimeoutError:
                if future.done():  # the task's own
                    self._give_up(f"{future.exception()}")
                self._check_patience()
            except Exception as error:  # whatever stops a first task stops the benchmark
                self._give_up(f"the first task failed: {type(error).__name__}: {error}")
        self._times["first_result"] = time.time()

    def _app(self) -> Callable[[float], Any]:
        import parsl

        made: Callable[[float], Any] = parsl.python_app(look, data_flow_kernel=self._kernel)
        return made

    def _check_patience(self) -> None:
        since = self._times.get("running", self._times.get("submitted"))
        pending = any(state == "PENDING" for state in self._blocks().values())
        if since is None or "connected" in self._times or ("running" not in self._times and pending):
            return
        if time.time() - since > CONNECTING:
            self._give_up(f"no worker has connected within {CONNECTING:.0f} s of its block's start")

    def _give_up(self, reason: str) -> NoReturn:
        self._observed["reason"] = reason
        self._stop.set()
        self.write()
        if self._kernel is not None:
            self._kernel.cleanup()
        raise SystemExit(f"pilotage: {reason}")

    def _await_rest(self) -> None:
        """Wait for every block that was asked for and not given back, as an elastic site does with idle ones."""
        end = time.monotonic() + REST
        while time.monotonic() < end:
            coming = {block for block, state in self._blocks().items() if state in ("PENDING", "RUNNING")}
            if coming <= {str(manager["block_id"]) for manager in self._managers()} or not self._has_managers():
                return
            time.sleep(0.05)

    def _has_managers(self) -> bool:
        return getattr(self._executor, "command_client", None) is not None

    def _look_at_nodes(self) -> None:
        """Let tasks look at their nodes until one has been on each manager, or some rounds have not found more."""
        app = self._app()
        for round_ in range(ROUNDS):
            managers = {manager["manager"]: manager["worker_count"] for manager in self._managers()}
            if round_ and managers.keys() <= {look["pool"] for look in self._observed["looks"]}:
                return
            futures = [app(LOOKS * (1 + round_)) for _ in range(min(sum(managers.values()) or 1, 1024))]
            for future in futures:
                try:
                    self._observed["looks"].append(future.result(timeout=REST))
                except Exception:  # what cannot be seen is not told
                    return

    # While it runs

    def _sample(self) -> None:
        now = self._managers()
        known = self._observed["managers"]
        for manager in now:
            known[manager["manager"]] = {
                "block": manager["block_id"],
                "workers": manager["worker_count"],
                "python": manager["python_version"],
                "parsl": manager["parsl_version"],
            }
        workers = sum(manager["worker_count"] for manager in now) or getattr(self._executor, "max_threads", 0)
        self._observed["workers"] = max(self._observed["workers"], workers)
        self._observed["most_managers"] = max(self._observed.get("most_managers", 0), len(now))

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(PERIOD):
            self._sample()
            self._write_progress()

    def _write_progress(self) -> None:
        if self._kernel is None:
            return
        states = self._blocks()
        nodes = getattr(getattr(self._executor, "provider", None), "nodes_per_block", 1)
        running = [block for block, state in states.items() if state == "RUNNING"]
        self._node_seconds += PERIOD * len(running) * nodes
        counts = {state.name: count for state, count in dict(self._kernel.task_state_counts).items() if count}
        _write(
            self._folder / "progress.json",
            {
                "over": self._stop.is_set(),
                "tasks": counts,
                "blocks": list(states.values()),
                "node_seconds": self._node_seconds,
            },
        )

    def write(self) -> None:
        """Write down what is known."""
        self._write_progress()
        _write(self._folder / "observed.json", self._observed)


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(value, default=str), encoding="utf-8")
        partial.replace(path)
    except OSError:  # a full disk: the run's process tells of it
        partial.unlink(missing_ok=True)
