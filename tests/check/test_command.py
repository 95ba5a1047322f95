"""``pilotage check`` as people run it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from pilotage.check import shapes
from pilotage.runs.record import read_json
from program import PROGRAM
from terminals import Terminal

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "schemas"


def test_for_people(project, pilotage):
    done = pilotage("check", "laptop")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^  ok       configuration    \d+ values given", done.stdout, re.MULTILINE)
    assert re.search(r"^laptop: \d+ ok(, \d+ skipped)? in \d+\.\d s$", done.stderr, re.MULTILINE)


def test_what_is_wrong_is_told_with_place_hint_and_command(project, pilotage, user_file):
    path = user_file('[site.mine]\nextends = "laptop"\npython = "/nowhere/python"\n')
    done = pilotage.ask("check", "mine")
    assert done.returncode == 1
    told = done.stdout[done.stdout.index("  failed   python") :].splitlines()[:4]
    assert told[0] == "  failed   python           there is no /nowhere/python"
    assert told[1] == f"           where: {path}:3: site.mine.python"
    assert told[2].startswith("           hint: ")
    assert told[3] == "           again: ls -l /nowhere/python"


def test_each_wrong_value_is_told_for_itself(project, pilotage, user_file):
    path = user_file('[site.mine]\nextends = "laptop"\nmax_worker_per_node = 2\nmax_blocks = "4"\n')
    done = pilotage("check", "mine", "--set", "walltime=5")
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert len(told) == 12
    first = [line.removeprefix("  failed   configuration    ") for line in told[::4]]
    assert sorted(first) == [
        "expected a valid integer, got '4'",
        "unknown key 'max_worker_per_node'",
        "unknown key 'walltime'",
    ]
    beside = {line: told[4 * number + 1 : 4 * number + 3] for number, line in enumerate(first)}
    assert beside["unknown key 'max_worker_per_node'"] == [
        f"           where: {path}:3: site.mine.max_worker_per_node",
        "           hint: did you mean 'max_workers_per_node'?",
    ]
    assert beside["expected a valid integer, got '4'"][0] == f"           where: {path}:4: site.mine.max_blocks"
    assert "--set" in beside["unknown key 'walltime'"][0]
    assert done.stderr.startswith("mine: 3 failed in ")


def test_for_programs(project, pilotage):
    done = pilotage.ask("check", "laptop", "threads", "--json")
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("check"))
    assert [site["site"] for site in found["sites"]] == ["laptop", "threads"]
    assert "workers" not in [one["probe"] for one in found["sites"][1]["findings"]]


def test_quiet_says_what_failed_only(project, pilotage):
    done = pilotage.ask("check", "laptop", "--quiet", "--set", "python=/nowhere/python")
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout.splitlines()) == 4
    assert pilotage.ask("check", "-q").stdout == ""


def test_kubernetes_without_a_cluster(project, pilotage):
    pytest.importorskip("kubernetes")
    environment = {"KUBECONFIG": "/nowhere/config", "KUBERNETES_SERVICE_HOST": ""}
    done = pilotage.ask("check", "kind", "--quiet", env=environment)
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert told[0].startswith("  failed   kubernetes       KubernetesProvider cannot be made here: ConfigException: ")
    assert "site.kind" in told[1]
    assert "KUBECONFIG" in told[2]


def test_no_such_site(project, pilotage):
    done = pilotage.ask("check", "labtop")
    assert done.returncode == 2
    assert "did you mean 'laptop'?" in done.stderr


def test_the_schema_is_in_the_reference():
    """``make reference`` writes it anew."""
    written = json.loads((REFERENCE / "check.json").read_text())
    assert written == shapes.schema("check")
    jsonschema.Draft202012Validator.check_schema(written)


def test_a_block_on_this_machine(project, pilotage, private_home):
    done = pilotage("check", "laptop", "--submit", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("check"))
    (site,) = found["sites"]
    told = {one["probe"]: one for one in site["findings"]}
    assert told["block"]["message"] == "started and ended; 1 node connected"
    for name in ("managers", "node-versions", "node-folder", "node-clocks", "start-up"):
        assert told[name]["status"] == "ok", told[name]
    assert {told[name]["status"] for name in ("node-route", "round-trip")} <= {"ok", "warning"}, "it may be slow"
    block = site["block"]
    (node,) = block["nodes"]
    assert node["workers"] == int(told["workers"]["message"].split()[0])
    assert abs(node["clock_ahead"]) <= node["clock_error"] + 0.01, "it is one and the same clock"
    assert block["round_trip"]["least"] <= block["round_trip"]["median"] <= block["round_trip"]["most"]
    parts = block["start_up"]
    together = sum(seconds for part, seconds in parts.items() if part != "together")
    assert parts["together"] == pytest.approx(together, abs=0.2), "to the ticks in which a process's start is told"
    assert list((private_home / "state" / "runs").iterdir()) == [], "its run has nothing more to tell"


def test_a_block_that_fails_says_why_and_its_run_is_kept(project, pilotage):
    done = pilotage("check", "laptop", "--submit", "--set", "worker_init=modulo load gcc")
    assert done.returncode == 1
    told = next(line for line in done.stdout.splitlines() if line.startswith("  failed   block"))
    assert "worker_init failed (exit code 127): modulo load gcc" in told
    run = re.search(r"kept: pilotage show (\S+)", done.stderr).group(1)
    assert run in pilotage.ask("ps").stdout
    assert "block comes first" in done.stdout


def test_threads_have_no_blocks(project, pilotage):
    done = pilotage.ask("check", "threads", "--submit")
    assert done.returncode == 0
    assert "threads starts no blocks: nothing was submitted" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_check_that_is_ended_leaves_no_block(project, pilotage, private_home, number):
    argv = [PROGRAM, "check", "laptop", "--submit", "--set", "worker_init=sleep 60"]
    process = subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    runs = private_home / "state" / "runs"
    wait_for(lambda: any(runs.glob("2*/parsl/*/submit_scripts/*")))
    process.send_signal(number)
    assert process.wait(60) == (130 if number == signal.SIGINT else -number)
    (run,) = runs.glob("2*")
    if number == signal.SIGINT:
        assert read_json(run / "run.json")["state"] == "cancelled", "it has waited for that"
    wait_for(lambda: read_json(run / "run.json").get("state") in ("cancelled", "failed", "finished"))
    wait_for(lambda: not pilotage.left_behind())
    assert pilotage.ask("check", "laptop", "-q").returncode == 0
    assert list(runs.glob(".check-*")) == []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_on_a_terminal_it_says_what_it_waits_for(project, pilotage, tmp_path):
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    terminal = Terminal([PROGRAM, "check", "laptop", "--set", f"python={slow}"], pilotage.env())
    terminal.wait_for("python: waiting for ")
    terminal.wait_for("laptop: ")
    assert terminal.finish() == 0
    os.close(terminal.master)
    os.close(terminal.slave)
