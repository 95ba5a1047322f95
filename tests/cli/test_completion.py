"""What the shell completes: runs and sites, asked for as bash asks."""

import json

import pytest

from pilotage.paths import RunFolder
from pilotage.runs.places import kept as keeping


@pytest.fixture
def completed(pilotage):
    """Return what bash would offer for a command line; it never gets a word of anything else."""

    def ask(line, **env):
        words = line.split(" ")
        done = pilotage(
            env={
                "_PILOTAGE_COMPLETE": "bash_complete",
                "COMP_WORDS": f"pilotage {line}",
                "COMP_CWORD": str(len(words)),
                **env,
            }
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [entry.partition(",")[2] for entry in done.stdout.split()]

    return ask


@pytest.fixture
def run(private_home):
    def make(name=None, **more):
        folder = RunFolder.create()
        values = {"id": folder.id, "folder": str(folder.path), "name": name, "state": "finished", "sites": {}}
        folder.record.write_text(json.dumps({**values, "script": "/s.py", "owner": {"host": "x"}, **more}))
        return folder.id

    return make


def test_runs(run, completed):
    ids = [run("alpha"), run("beta"), run()]
    for command in ("show", "attach", "cancel", "resume", "rm", "logs", "bundle"):
        assert sorted(completed(f"{command} ")) == sorted([*ids, "alpha", "beta"]), command
    assert completed("show al") == ["alpha"]
    assert sorted(completed("show 2")) == sorted(ids)
    assert completed(f"show {ids[0]}") == [ids[0]]
    assert completed("show @") == ["@last"]
    assert completed("show nothing-like-it") == []
    assert completed("rm alpha be") == ["beta"], "each of several"


def test_sites(user_file, completed):
    user_file('[site.lab]\nextends = "slurm"\n')
    assert completed("run --site la") == ["lab", "laptop", "laptop-mpi"]
    assert completed("run -s thr") == ["threads"]
    assert completed("run --site gpu=la") == ["gpu=lab", "gpu=laptop", "gpu=laptop-mpi"]
    user_file("[site.x\n")
    assert completed("run --site la") == [], "a broken file is told by the command, not here"


def test_commands_and_options(completed):
    assert completed("canc") == ["cancel"]
    assert "--now" in completed("cancel --")
    assert completed("logs --sch") == ["--scheduler"]


def test_nothing_in_the_store_is_an_error(run, completed, private_home):
    known = run("mine")
    for text in ("", "{}", '{"name": 3, "script": 4}', "[1]"):
        (RunFolder.create().path / "run.json").write_text(text)
    run(name=3)
    assert {known, "mine"} <= set(completed("show "))
    assert completed("show ", PILOTAGE_STATE="/dev/null/x") == []
    assert completed("show ", PILOTAGE_STATE=str(private_home / "none")) == []


def test_runs_whose_driver_is_elsewhere(completed):
    keeping.new("far", "there", "s.py", [], [], run="20261127-101500-aaaa", values={"state": "running"})
    assert completed("cancel th") == ["there"]
    assert completed("cancel 2026") == ["20261127-101500-aaaa"]
