"""Real runs of scripts whose tasks have files."""

import json
import textwrap

import pytest

HEAD = """
import json, os, sys, time
from pathlib import Path
import parsl
import pilotage
from parsl import bash_app, python_app
from parsl.data_provider.files import File as ParslFile
from pilotage import Directory, File, log_app, stage, stage_app

def failure(call, *args, **kwargs):
    \"\"\"Return the error of a call, or of its submission.\"\"\"
    try:
        return ["no error", call(*args, **kwargs).result()]
    except Exception as error:
        found = {"kind": type(error).__name__, "words": str(error)}
        return {**found, "where": getattr(error, "where", None), "hint": getattr(error, "hint", None)}

def tell(**values):
    print(json.dumps(values))
"""
SITES = """
[site.workers]
extends = "laptop"
max_workers_per_node = {workers}
[site.workers.config]
retries = {retries}
[site.workers.staging]
{staging}
[site.apart]
extends = "workers"
[site.apart.staging]
shared_filesystem = false
"""


class Run:
    """What a run has told, and what it wrote."""

    def __init__(self, done, folder):
        self.done = done
        self.folder = folder
        self.told = {}
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                self.told.update(json.loads(line))

    def __getitem__(self, name):
        return self.told[name]

    @property
    def events(self):
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line]


@pytest.fixture
def run(project, pilotage, private_home, user_file):
    """Run a script after HEAD and ``apps`` on threads or on worker processes; returns a `Run`."""

    def start(text, site="workers", *more, workers=2, retries=0, staging="", apps="", code=0, **options):
        user_file(SITES.format(workers=workers, retries=retries, staging=staging))
        (project / "script.py").write_text(HEAD + apps + textwrap.dedent(text))
        before = set((private_home / "state").glob("runs/*"))
        done = pilotage("run", "script.py", "--site", site, *more, **options)
        assert done.returncode == code, done.stdout + done.stderr
        (folder,) = set((private_home / "state").glob("runs/*")) - before
        return Run(done, folder)

    return start


@pytest.fixture(params=["threads", "workers", "apart"])
def site(request):
    """The kinds of workers: threads of the driver, processes, and processes that do not see the driver's files."""
    return request.param


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The temporary folder of the runs, in which nothing of a task's data is to be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert not [str(path) for path in folder.glob("pilotage-data-*/**/*")]
    assert not list(folder.glob("pilotage-data-*"))
