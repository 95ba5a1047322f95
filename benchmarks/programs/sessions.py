"""How each peer is started, given a call, and asked for results: the only part of the programs that differs.

Every session has two workers and keeps to this machine. Each uses the peer's own documented way, so that a peer with a
call for many tasks at once is measured by that call.
"""

import os
from collections import deque
from itertools import chain, islice
from pathlib import Path

import functions

WORKERS = 2
WINDOW = 64
"""Chunks under way at once where a map is built by hand."""


class Session:
    """One peer, started. ``submit`` returns a future."""

    least_seconds = 0.0
    """A round of a rate takes at least this long, where a peer's clock is coarse."""

    def start(self):
        raise NotImplementedError

    def submit(self, function, *arguments):
        raise NotImplementedError

    def submit_many(self, function, count):
        """Return the futures of ``count`` calls without arguments."""
        return [self.submit(function) for _ in range(count)]

    def results(self, futures):
        """Wait for all; return their results in order."""
        return [future.result() for future in futures]

    def map(self, function, items, chunk):
        """Yield ``function`` of each item in order, ``chunk`` items a task, with a bounded number of tasks under way.

        By hand, as a user of a peer without a map of its own has to write it.
        """
        items = iter(items)
        under_way = deque()
        while True:
            while len(under_way) < WINDOW and (piece := list(islice(items, chunk))):
                under_way.append(self.submit(functions.over, function, functions.Chunk(piece)))
            if not under_way:
                return
            # Half of them at once: asking Ray or Dask for each alone costs a trip each.
            oldest = [under_way.popleft() for _ in range(min(WINDOW // 2, len(under_way)))]
            yield from chain.from_iterable(self.results(oldest))

    def stop(self):
        raise NotImplementedError


class Parsl(Session):
    """Any Parsl config."""

    def __init__(self):
        self.apps = {}

    def config(self):
        raise NotImplementedError

    def start(self):
        import parsl

        self.parsl = parsl
        self.dfk = parsl.load(self.config())

    def submit(self, function, *arguments):
        if function not in self.apps:
            self.apps[function] = self.parsl.python_app(function)
        return self.apps[function](*arguments)

    def stop(self):
        self.dfk.cleanup()
        self.parsl.clear()


class Pilotage(Parsl):
    def config(self):
        import pilotage

        return pilotage.config("laptop", max_workers_per_node=WORKERS, engine={"relax_collector": True})

    def map(self, function, items, chunk):
        import pilotage

        return pilotage.map(function, items, chunksize=chunk)


class PilotageBlocks(Pilotage):
    """Blocks of one worker, started by the program."""

    def config(self):
        import pilotage

        return pilotage.config("laptop", max_workers_per_node=1, max_blocks=32, config={"strategy": "none"})


class ParslHtex(Parsl):
    """HighThroughputExecutor as Parsl's users configure it: everything that is not needed is left at its default."""

    def config(self, **more):
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor

        executor = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=WORKERS)
        return Config(executors=[executor], **more)


class ParslHtexNoLog(ParslHtex):
    def config(self):
        from parsl.logconfigs.noop import NoopLogging

        return super().config(initialize_logging=NoopLogging())


class ParslHtexBlocks(Parsl):
    """Blocks of one worker, started by the program."""

    def config(self):
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        provider = LocalProvider(init_blocks=1, max_blocks=32)
        executor = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=1, provider=provider)
        return Config(executors=[executor], strategy="none")


class ParslThreads(Parsl):
    def config(self):
        from parsl.config import Config
        from parsl.executors import ThreadPoolExecutor

        return Config(executors=[ThreadPoolExecutor(max_threads=WORKERS)])


class Ray(Session):
    def start(self):
        import ray

        self.ray = ray
        self.remotes = {}
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(Path.cwd() / "ray"),
            log_to_driver=False,
            logging_level="error",
        )

    def submit(self, function, *arguments):
        if function not in self.remotes:
            self.remotes[function] = self.ray.remote(function)
        return self.remotes[function].remote(*arguments)

    def results(self, futures):
        return self.ray.get(futures)

    def stop(self):
        self.ray.shutdown()


class Dask(Session):
    def start(self):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        )
        self.client = Client(self.cluster)

    def submit(self, function, *arguments):
        return self.client.submit(function, *arguments, pure=False)

    def submit_many(self, function, count):
        # Dask's call for many gives each call an item; `nothing` takes it and does nothing.
        return self.client.map(function, range(count), pure=False)

    def results(self, futures):
        return self.client.gather(futures)

    def stop(self):
        self.client.close()
        self.cluster.close()


class ProcessPool(Session):
    def start(self):
        from concurrent.futures import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(WORKERS)

    def submit(self, function, *arguments):
        return self.executor.submit(function, *arguments)

    def map(self, function, items, chunk):
        return self.executor.map(function, items, chunksize=chunk)

    def stop(self):
        self.executor.shutdown()


class Loky(ProcessPool):
    def start(self):
        from loky import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(WORKERS)


class Pool(Session):
    """``multiprocessing.Pool``: a map, and calls whose results are asked for by another name."""

    def start(self):
        import multiprocessing

        self.pool = multiprocessing.Pool(WORKERS)

    def submit(self, function, *arguments):
        return self.pool.apply_async(function, arguments)

    def results(self, futures):
        return [future.get() for future in futures]

    def map(self, function, items, chunk):
        return self.pool.imap(function, items, chunksize=chunk)

    def stop(self):
        self.pool.terminate()
        self.pool.join()


class HyperQueue(Session):
    """Tasks are programs: ``nothing`` is ``true``, and no other function can be run."""

    least_seconds = 8.0  # its client looks once a second whether a job has ended

    def start(self):
        os.environ["TQDM_DISABLE"] = "1"
        from hyperqueue import Job, LocalCluster
        from hyperqueue.cluster import WorkerConfig

        self.job = Job
        self.cluster = LocalCluster(worker_config=WorkerConfig(cores=WORKERS))
        self.client = self.cluster.client()

    def submit(self, function, *arguments):
        if arguments:
            raise ValueError("HyperQueue's tasks are programs")
        return self.submit_many(function, 1)[0]

    def submit_many(self, function, count):
        if function is not functions.nothing:
            raise ValueError("HyperQueue's tasks are programs")
        job = self.job()
        for _ in range(count):
            job.program(["true"], stdout=None, stderr=None)
        return [self.client.submit(job)]

    def results(self, futures):
        self.client.wait_for_jobs(futures)
        return [None] * len(futures)

    def stop(self):
        self.cluster.stop()


SESSIONS = {
    "pilotage": Pilotage,
    "parsl-htex": ParslHtex,
    "parsl-htex-nolog": ParslHtexNoLog,
    "parsl-threads": ParslThreads,
    "ray": Ray,
    "dask": Dask,
    "processpool": ProcessPool,
    "loky": Loky,
    "multiprocessing": Pool,
    "hyperqueue": HyperQueue,
}
BLOCKS = {"pilotage": PilotageBlocks, "parsl-htex": ParslHtexBlocks}
