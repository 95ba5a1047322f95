"""Real runs whose tasks have files, and what looks at them meanwhile: for faults of data."""

import contextlib
import json
import os
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from fault_run import QUICK, FaultRun, children, is_alive, words

SITE = """
[site.data]
extends = "laptop"
max_workers_per_node = {workers}
[site.data.config]
retries = {retries}
[site.data.staging]
{staging}
"""
SCRIPT = """
import json, os, parsl
from parsl import python_app
from pilotage import Directory, File

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "tasks.json")) as file:
    TASKS = json.load(file)

@python_app
def joined(number, here, inputs=(), outputs=()):
    import os, time
    with open(os.path.join(here, "started"), "a") as file:
        file.write(f"{number}\\n")
    while os.path.exists(os.path.join(here, f"hold-{number}")):
        time.sleep(0.05)
    data = []
    for one in map(str, inputs):
        folder = os.path.isdir(one)
        for path in sorted(os.path.join(one, name) for name in os.listdir(one)) if folder else [one]:
            with open(path, "rb") as file:
                data.append(file.read())
    for one in map(str, outputs):
        with open(one, "wb") as file:
            file.write(b"".join(data))
    return len(b"".join(data))

def files(urls):
    return [(Directory if url.endswith("/") else File)(url) for url in urls]

def call(number, task):
    try:
        return joined(number, HERE, inputs=files(task["inputs"]), outputs=files(task["outputs"]))
    except Exception as error:
        return error

def outcome(one):
    try:
        if isinstance(one, Exception):
            raise one
        one.result()
        for output in one.outputs:
            output.result()
    except Exception as error:
        return {"kind": type(error).__name__, "words": str(error), "where": getattr(error, "where", None)}

with parsl.load():
    failed = {}
    for number, one in enumerate([call(number, task) for number, task in enumerate(TASKS)]):
        error = outcome(one)
        with open(os.path.join(HERE, "seen" if error is None else "wrong"), "a") as file:
            file.write(f"{number}\\n")
        if error is not None:
            failed[number] = error
    print("failed", json.dumps(failed), flush=True)
    print("leaving", flush=True)
if failed:
    raise SystemExit(1)
"""
PREFIX = "pilotage-data-"
CACHED = re.compile(r"[0-9a-f]{32}")


KEYS = {"AWS_ACCESS_KEY_ID": "AKIDFIRSTKEYS", "AWS_SECRET_ACCESS_KEY": "first-very-secret-words"}
SAYS = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>"
FORBIDDEN = SAYS.format("AccessDenied", "Access Denied").encode()
EXPIRED = SAYS.format("ExpiredToken", "The provided token has expired.").encode()


class Bucket:
    """A bucket as a test sees it: beside all proxies."""

    def __init__(self, keeper):
        self._keeper = keeper
        self.name, self.client = keeper.bucket, keeper.client
        self.port = int(self.client.meta.endpoint_url.rpartition(":")[2])

    def url(self, key):
        return f"s3://{self.name}/{key}"

    def write(self, key, data):
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def keys(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", ()))


def content(name, size):
    """Return bytes that are always the same for a name."""
    return random.Random(name).randbytes(size)


class DataRun(FaultRun):
    """A run of tasks that read all their inputs and write that into each of their outputs.

    Parameters
    ----------
    tasks: a list of (inputs, outputs), which are URLs; of folders, with a slash at the end. Paths of ``driver:`` are in
        the run's folder. A task that has begun waits for as long as there is a file ``hold-NUMBER`` there.
    """

    def __init__(self, folder, command, tasks, *, options=(), env=None, **more):
        temporary = folder / "temporary"
        temporary.mkdir(parents=True)
        env = {"TMPDIR": str(temporary), **(env or {})}
        super().__init__(folder, command, SCRIPT, options=("--site", "data", *QUICK, *options), env=env, **more)
        self.temporary = temporary
        self.patience = 20
        self.plan(tasks)

    def plan(self, tasks):
        """Let these be its tasks."""
        told = [{"inputs": inputs, "outputs": outputs} for inputs, outputs in tasks]
        (self.here / "tasks.json").write_text(json.dumps(told))

    def failures(self, which=0):
        """Return the errors that the script has met, by the number of the task."""
        told = [line for line in self.output(which).splitlines() if line.startswith("failed ")]
        return {int(number): error for number, error in json.loads(told[-1].removeprefix("failed ")).items()}

    def finishes(self, timeout=90):
        """Wait until it has ended well."""
        assert self.ends(timeout) == "finished", self.told()
        self.is_gone()
        assert not self.left_on_node()

    def fails(self, timeout=90):
        """Wait until it has failed, and nothing of it is there; return the errors of its tasks."""
        assert self.ends(timeout) == "failed", self.told()
        self.is_gone()
        assert not self.left_on_node()
        return self.failures()

    def goes_on(self, env=None, but=()):
        """Resume it; no task whose result had come back runs again, but for some."""
        before, done = self.started(), set(self.seen()) - set(but)
        resumed = self.command("resume", self.run_folders()[0].name, env={**self.env, **(env or {})}, cwd=self.here)
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        again = {number for number in done if self.started()[number] > before[number]}
        assert not again, f"tasks {sorted(again)} had finished and were done again"
        self.is_gone()
        assert not self.left_on_node()

    def processes(self, kind):
        """Return all living processes of a kind, as `find` has the first."""
        supervisor = self.supervisor()
        found = {one.pid: (one, words(one)) for one in children(supervisor, recursive=True)} if supervisor else {}
        return [one for one, said in found.values() if self._kind(one, said, found) == kind and is_alive(one)]

    def left_on_node(self, *more):
        """Return what there is of data on the node: folders of blocks and tasks, and parts of files."""
        found = []
        for above in (self.temporary, *more):
            found += [path for path in above.rglob("*") if path.name.startswith(PREFIX) or path.name.endswith(".part")]
        return sorted(map(str, found))

    def moved(self, place, which=0):
        """Return the bytes that came to tasks from a place such as ``driver``."""
        rows = json.loads((self.run_folders()[which] / "moves.json").read_text())["moves"]
        return sum(row["bytes"] for row in rows if row["direction"] == "in" and row["place"].startswith(place))


class Watcher:
    """Looks all the time whether a file that has its final name is not whole.

    Parameters
    ----------
    folders: all that is below them is looked at.
    sizes: what a file of that name is to have; one of a node's cache, whose name is a hash, has one of them.
    """

    def __init__(self, folders, sizes):
        self.folders, self.sizes = folders, sizes
        self.halves, self.looked, self.parts = set(), Counter(), set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.is_set():
            for folder in self.folders:
                self._look_into(folder)
            time.sleep(0.01)

    def _look_into(self, folder):
        for at, folders, names in os.walk(folder):
            self.parts.update(os.path.join(at, name) for name in (*folders, *names) if name.endswith(".part"))
            folders[:] = [name for name in folders if not name.endswith(".part")]
            for name in names:
                path = os.path.join(at, name)
                if name.endswith(".part"):
                    continue
                if name in self.sizes:
                    whole = {self.sizes[name]}
                elif CACHED.fullmatch(name):
                    whole = set(self.sizes.values())
                else:
                    continue
                with contextlib.suppress(OSError):
                    found = os.stat(path).st_size
                    self.looked[name] += 1
                    if found not in whole:
                        self.halves.add((path, found))


def leaks(secrets, *folders):
    """Return the files below folders in which one of the secrets is."""
    found = []
    for folder in folders:
        for path in Path(folder).rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and any(one.encode() in path.read_bytes() for one in secrets):
                    found.append(str(path))
    return found


class CommandLines(threading.Thread):
    """Takes down the words and the environments of all processes of a run."""

    def __init__(self, run):
        super().__init__()
        self.run_, self.words, self.environments = run, set(), set()
        self.over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.3):
            supervisor = self.run_.supervisor() if self.run_.launcher else None
            for one in children(supervisor, recursive=True) if supervisor else []:
                with contextlib.suppress(psutil.Error, OSError):
                    self.words.add(" ".join(words(one)))
                    self.environments.add(json.dumps(one.environ()))


def within(protection):
    """Return an environment in which a protection of a run's workers is switched off."""
    return {"PYTHONPATH": str(Path(__file__).parent / "within"), "FAULTS_WITHOUT": protection}
