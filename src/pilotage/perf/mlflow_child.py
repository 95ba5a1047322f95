"""MLflow in a process of its own: what it costs to import, waits for and leaves in the environment is not ours.

A child reads a request, one JSON object, from its stdin, and answers with JSON objects, a line each. It ends itself
when its time is over, whatever it waits for, and when its starter is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pilotage.errors import MissingExtraError, PilotageError
from pilotage.paths import TrackingFolder, private_folder, storage

SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else MLflow tells its makers what is done with it
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONWARNINGS": "ignore",
}
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""In place of MLflow's own 120 s and seven retries; the user's values stand."""
NETWORK = (
    ("NewConnectionError", "nothing listens there"),
    ("ConnectTimeout", "no connection in time"),
    ("Read timed out", "no answer in time"),
    ("Failed to resolve", "there is no such host"),
    ("too many 500", "the server fails (500)"),
)
"""What stands in the errors of MLflow's client, and what that means."""
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception): (?P<words>.+)")
STALE = 86400.0
"""Seconds after which a folder for temporary files is nobody's any more."""
LOOK = 0.2
NEEDED = {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"}


class TrackingError(PilotageError):
    """MLflow's store cannot be reached, or refuses."""


def missing(uri: str) -> list[str]:
    """Return the packages that a store needs and that are not installed."""
    modules = ["mlflow"] if uri.startswith(("http://", "https://")) else list(NEEDED)
    return [NEEDED[module] for module in modules if importlib.util.find_spec(module) is None]


def require(uri: str) -> None:
    """Raise MissingExtraError where MLflow, or what it needs for the store ``uri``, is not installed."""
    if packages := missing(uri):
        raise MissingExtraError(f"{', '.join(packages)}: not installed", hint="pip install 'pilotage[mlflow]'")


def environment() -> dict[str, str]:
    """Return the environment of a process with MLflow in it: ours, and MLflow's switches."""
    own = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}
    return {**PATIENCE, **own, **SWITCHES}


def ask(module: str, request: Mapping[str, Any], seconds: int) -> Iterator[dict[str, Any]]:
    """Run a child and yield its answers as they come; raises TrackingError where it ends otherwise than by itself.

    Parameters
    ----------
    module: of this room; its ``answers`` takes the request.
    request: JSON; ``uri`` names the store.
    seconds: after which the child ends itself.
    """
    uri = str(request["uri"])
    argv = [sys.executable, "-P", "-m", "pilotage.perf.mlflow_child", module, str(seconds)]
    with _temporary() as temporary, tempfile.TemporaryFile("w+", errors="replace") as words:
        env = {**environment(), "TMPDIR": temporary}
        child = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True)
        try:
            yield from _answers(child, request)
        finally:
            child.kill()
            child.wait()
            for stream in filter(None, (child.stdin, child.stdout)):
                stream.close()
        words.seek(0)
        said = words.read().strip().splitlines()
    if child.returncode == -signal.SIGALRM:
        raise TrackingError(f"no answer within {seconds} s", where=shown(uri))
    if child.returncode:
        raise TrackingError(in_words(_reason(said)) or f"exit code {child.returncode}", where=shown(uri))


@contextlib.contextmanager
def _temporary() -> Iterator[str]:
    """Make a folder for what a child, which may be killed, leaves in folders for temporary files; remove it."""
    place = private_folder(TrackingFolder.standard().temporary)
    for left in place.iterdir():  # of a starter that was killed
        if time.time() - left.lstat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
    with storage(place), tempfile.TemporaryDirectory(prefix="mlflow-", dir=place, ignore_cleanup_errors=True) as folder:
        yield folder


def _reason(said: Sequence[str]) -> str:
    """Return what the last exception in a child's words says: SQLAlchemy's is followed by where to read about it."""
    for line in reversed(said):
        if found := EXCEPTION.match(line):
            return found["words"]
    return said[-1] if said else ""


def in_words(text: str) -> str:
    """Return what an error of MLflow's client says, short, and in plain words where it is the network's."""
    return next((words for mark, words in NETWORK if mark in text), " ".join(text.split())[:500])


def _answers(child: subprocess.Popen[str], request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    assert child.stdin is not None  # noqa: S101  it is a pipe
    assert child.stdout is not None  # noqa: S101
    try:
        child.stdin.write(json.dumps(request))
        child.stdin.close()
    except BrokenPipeError:  # it has ended already, and said why
        pass
    for line in child.stdout:
        yield json.loads(line)
    child.wait()


def shown(uri: str) -> str:
    """Return a store's address as it may be shown: without a password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _end_with(starter: int) -> None:
    """End this process once its starter is gone: what it was sending is sent anew."""
    while os.getppid() == starter:
        time.sleep(LOOK)
    os._exit(1)


def main() -> None:
    """Answer one request."""
    module, seconds = sys.argv[1:]
    if module not in ("mlflow_sender", "mlflow_reader"):
        raise SystemExit(f"{module} answers nothing")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    request = json.load(sys.stdin)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what MLflow prints is no answer
    for answer in importlib.import_module(f"pilotage.perf.{module}").answers(request):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
