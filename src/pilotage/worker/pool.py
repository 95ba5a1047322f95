"""Starts Parsl's worker pool in the folder and with the import path of the script.

``python -m pilotage.worker.pool --cwd DIR --path DIR ... -- ARGUMENTS OF PARSL'S POOL``

The path goes into ``sys.path`` only, which Parsl's workers inherit; commands that a bash_app runs must not find a
PYTHONPATH that the user did not set.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pilotage.worker import processes, tails
from pilotage.worker.accelerators import NoAcceleratorsError, shares, usable_affinity, usable_cores
from pilotage.worker.farewell import Farewell
from pilotage.worker.guard import guarded
from pilotage.worker.news import News
from pilotage.worker.slots import memory

if TYPE_CHECKING:
    from pilotage.worker.desk import Desk
    from pilotage.worker.manager import Context
    from pilotage.worker.packages import Package

POOL = "parsl.executors.high_throughput.process_worker_pool"


def main(argv: Sequence[str]) -> None:
    """Run the worker pool; ``argv`` is the command line without the program."""
    parser = argparse.ArgumentParser(prog="pilotage.worker.pool")
    parser.add_argument("--cwd", help="folder to work in")
    parser.add_argument("--path", action="append", default=[], help="folder to import from; repeatable")
    parser.add_argument("--recursion-limit", type=int, help="Python's, where the script has set one")
    parser.add_argument(
        "--driver", type=processes.from_text, help="identity of the driver, with which all of this ends"
    )
    parser.add_argument("--on-each", type=int, default=0, help="workers on each accelerator that the scheduler gives")
    parser.add_argument("--mpi", help="what starts the ranks of MPI programs")
    parser.add_argument("--mpi-options", default="", help="more options for it")
    parser.add_argument("--via", metavar="HOST:PORT", help="a login host, and the port of its loopback to bring here")
    parser.add_argument("--tunnelled", action="store_true", help="the interchange is reached through a tunnel")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=VALUE", help="of the files of tasks")
    parser.add_argument("pool", nargs=argparse.REMAINDER, help="-- and the arguments of Parsl's pool")
    arguments = parser.parse_args(argv)
    if not sys.flags.safe_path:
        sys.path[:1] = []  # -m has put the current folder first; it stays only where the driver has it too
    sys.path[:0] = [folder for folder in dict.fromkeys(arguments.path) if folder not in sys.path]
    if arguments.cwd:
        _work_in(arguments.cwd)
    if arguments.recursion_limit:
        sys.setrecursionlimit(arguments.recursion_limit)
    pool = arguments.pool
    sys.argv = [POOL, *(pool[1:] if pool[:1] == ["--"] else pool)]
    if arguments.via:
        from pilotage.worker.via import LOOPBACK, through

        host, _, port = arguments.via.rpartition(":")
        _reach(LOOPBACK, str(through(host, int(port))))
    elif place := os.environ.pop("PILOTAGE_INTERCHANGE", ""):  # known only where this runs
        address, _, port = place.rpartition(":")
        _reach(address, port)
    known = _known(sys.argv[1:])
    if not known.uid:  # Parsl would choose one that the guard never hears of
        known.uid = os.urandom(6).hex()
        sys.argv += ["--uid", known.uid]
    if known.logdir:
        os.environ["PILOTAGE_WORKER_LOGS"] = os.path.abspath(known.logdir)  # noqa: PTH100  see pilotage.worker.task
    interchange = [(address, known.port) for address in (known.addresses or "").split(",") if address and known.port]
    told: list[str] = []
    pins = _share_out(known, arguments.on_each, told)
    slots = memory(_workers_at_most(known))
    certificates = None if known.cert_dir in (None, "None") else known.cert_dir
    last = Farewell(slots, interchange, known.uid, certificates)

    def farewell(how: str, told: bool) -> None:
        # A block that its driver has ended knows of it, and the driver waits for the end.
        in_order = known.logdir and os.path.exists(tails.in_order(os.path.abspath(known.logdir), known.block_id))  # noqa: PTH100,PTH110
        if not in_order:
            # Whoever ends a block may be the run's own end, and its scheduler will say what became of it.
            last.say(how, through_a_break=arguments.tunnelled and not told)

    def manage() -> None:
        from pilotage.worker.sparing import sparing

        with sparing():
            import parsl.multiprocessing  # noqa: F401  the manager's

            from pilotage.worker.manager import Context

            context = Context(slots, pins)
            context.load()
        _bring_driver_near(interchange, certificates, known.hb_threshold)
        tell = _teller(context.desk, known.block_id)
        for words in told:
            tell("accelerators", words)
        if arguments.mpi:
            _prepare_for_mpi(arguments.mpi, arguments.mpi_options, lambda words: tell("mpi", words))
        _manage(context, known.hb_threshold if arguments.tunnelled else None)

    # A tunnel's end refuses while the tunnel is made anew: then only Parsl's heartbeat can tell that the run is lost.
    asked = () if arguments.tunnelled else interchange
    collect, remove = tails.node(sys.argv), _files_of_calls() if arguments.tunnelled else None
    remove_data = _data_of_tasks(arguments.data)

    def remove_files() -> None:
        if remove is not None:
            remove()
        remove_data()

    def first_remove(how: str, told: bool) -> None:
        remove_files()  # a run that ends does not wait long, and what is told takes time on a busy node
        farewell(how, told)

    def after(code: int) -> None:
        remove_files()
        collect(code)

    container = os.environ.pop("PILOTAGE_HOLDER", "")
    holder = processes.from_text(container) if container else None
    guarded(manage, arguments.driver, asked, after, first_remove, holder)


def _files_of_calls() -> Callable[[], None]:
    from pilotage.worker.carried import claim

    return claim()


def _bring_driver_near(interchange: Sequence[tuple[str, int]], certificates: str | None, threshold: float) -> None:
    """Let workers, which are forked later, reach the driver's files as the manager reaches the interchange."""
    from zmq.auth import load_certificate

    from pilotage.worker.data import link

    keys = None
    if certificates is not None:
        client, server = (load_certificate(f"{certificates}/{name}.key_secret") for name in ("client", "server"))
        keys = client[0], client[1] or b"", server[0]
    addresses = tuple(address for address, _ in interchange)
    if addresses:
        link.here = link.Interchange(addresses, interchange[0][1], keys, threshold)


def _data_of_tasks(lines: Sequence[str]) -> Callable[[], None]:
    """Tell workers what holds for the files of tasks; return what removes those of this block."""
    import tempfile

    from pilotage.worker.data import context, scratch

    os.environ[context.VARIABLE] = "\n".join(lines)
    cache = context.parsed(lines).cache
    folders = [folder for folder in (cache, tempfile.gettempdir()) if folder]
    remove = scratch.claim(lambda: folders)
    if cache is None:
        return remove
    from pilotage.worker.data.cache import remove_unfinished  # now: a run that ends does not wait long

    remove_unfinished(cache)  # what a block that was killed has left

    def remove_all() -> None:
        remove()
        remove_unfinished(cache)

    return remove_all


def _share_out(known: argparse.Namespace, on_each: int, told: list[str]) -> Sequence[Mapping[str, str]] | None:
    """Fit accelerators and cores in Parsl's arguments to what this job has, and return the workers' variables.

    None leaves that to Parsl. ``told`` gets what a person should know. Ends the process where no worker can be.
    """
    found = None
    if on_each:
        try:
            found = shares(known.available_accelerators, on_each, known.cpu_affinity, os.environ)
        except NoAcceleratorsError as error:
            sys.exit(f"pilotage: {error}")
    affinity, words = usable_affinity(found.affinity if found else known.cpu_affinity, usable_cores())
    told += [text for text in (found and found.words, words) if text]
    if affinity != known.cpu_affinity:
        _replace("--cpu-affinity", [affinity])
    if found is None:
        return None
    _replace("--available-accelerators", found.entries)
    return found.variables


def _reach(address: str, port: str) -> None:
    """Put the interchange's address and port into Parsl's arguments."""
    sys.argv = [part for part in sys.argv if not part.startswith("--port=")] + [f"--port={port}"]
    _replace("-a", [address])


def _replace(option: str, values: Sequence[str]) -> None:
    """Replace the values of an option in Parsl's arguments."""
    start = sys.argv.index(option) + 1
    end = next((place for place in range(start, len(sys.argv)) if sys.argv[place].startswith("-")), len(sys.argv))
    sys.argv[start:end] = values


def _teller(desk: Desk, block: str) -> Callable[[str, str], None]:
    """Return what tells a person, of a kind of event, its words."""

    def tell(kind: str, words: str) -> None:
        sys.stderr.write(f"pilotage: {words}\n")
        sys.stderr.flush()
        desk.put_message(News(kind, words, block, os.uname().nodename).message())

    return tell


def _prepare_for_mpi(program: str, options: str, tell: Callable[[str], None]) -> None:
    from pilotage.worker.mpi import install, starter
    from pilotage.worker.pairing import Ranks

    ranks = Ranks(tell)
    install(starter(program, options, tell), ranks.task_started)


def _manage(context: Context, threshold: float | None) -> None:
    """Run Parsl's manager, with our context in the place of multiprocessing's.

    ``threshold`` is Parsl's, in seconds, where the interchange is reached through a tunnel; else None.
    """
    import importlib.metadata

    import parsl.multiprocessing

    from pilotage.worker.packages import packages

    context.start()  # what follows is the manager's alone: its workers come from the fork server
    real = importlib.metadata.distributions

    def for_the_manager() -> Iterator[Package]:
        importlib.metadata.distributions = real
        return packages()

    importlib.metadata.distributions = for_the_manager  # type: ignore[assignment]
    parsl.multiprocessing.SpawnContext = context  # type: ignore[assignment]
    if threshold is not None:
        _outlive_connections(threshold)
    sys.modules.pop(POOL, None)  # the fork server needed it; here it runs as a program
    runpy.run_module(POOL, run_name="__main__", alter_sys=True)


def _outlive_connections(threshold: float) -> None:
    from parsl import curvezmq

    from pilotage.worker.tunnelled import Context

    curvezmq.ClientContext = functools.partial(Context, threshold=threshold)  # type: ignore[assignment,misc]


def _workers_at_most(known: argparse.Namespace) -> int:
    """Return the number of workers that Parsl's manager will start, or more: the memory may make it fewer."""
    cores = int(os.environ.get("PARSL_CORES") or os.cpu_count() or 1)
    return int(min(math.floor(cores / known.cores_per_worker), known.max_workers_per_node))


def _work_in(folder: str) -> None:
    try:
        os.chdir(os.path.expanduser(folder))  # noqa: PTH111  ~ is whoever's home it is there
    except OSError as error:  # another machine need not have it
        sys.stderr.write(f"pilotage: cannot work in {folder}: {error.strerror}; staying in {os.getcwd()}\n")  # noqa: PTH109


def _known(pool: Sequence[str]) -> argparse.Namespace:
    """Return what we need of the arguments of Parsl's pool."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-l", "--logdir")
    parser.add_argument("-a", "--addresses")
    parser.add_argument("-P", "--port", type=int)
    parser.add_argument("-u", "--uid", default="")
    parser.add_argument("-b", "--block_id", default="")
    parser.add_argument("--cert_dir")
    parser.add_argument("--hb_threshold", type=float, default=120.0)
    parser.add_argument("-c", "--cores_per_worker", type=float, default=1.0)
    parser.add_argument("--max_workers_per_node", type=float, default=math.inf)
    parser.add_argument("--cpu-affinity", default="none")
    parser.add_argument("--available-accelerators", nargs="*", default=[])
    return parser.parse_known_args(pool)[0]


if __name__ == "__main__":
    main(sys.argv[1:])
