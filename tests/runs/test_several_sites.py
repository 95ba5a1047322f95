"""Several sites in one run: where calls go when one of them fails, and what is shown of each."""

import json
import re
import time

import pytest

APP = "import os, time\nimport parsl, pilotage\nfrom parsl import python_app\n"
FAILOVER = APP + (
    "DRIVER = os.getpid()\n"
    "@pilotage.fallback('gpu', 'cpu')\n@python_app\ndef f(x):\n    import os\n    return x, os.getpid()\n"
    "parsl.load()\n"
    "done = [one.result() for one in [f(n) for n in range(20)]]\n"
    "print(sum(n for n, _ in done), {process == DRIVER for _, process in done})\n"
)


@pytest.fixture
def script(project):
    def write(text):
        (project / "s.py").write_text(text)
        return "s.py"

    return write


def test_a_site_whose_blocks_fail_is_left(script, pilotage):
    """Its workers never start: the environment is broken."""
    sites = ["--site", "gpu=laptop", "--site", "cpu=threads", "--set", "gpu:worker_init=exit 3"]
    done = pilotage("run", script(FAILOVER), *sites)
    assert (done.returncode, done.stdout) == (0, "190 {True}\n"), done.stderr
    assert "tasks of 'gpu' that may, go on at 'cpu'" in done.stderr
    assert re.search(r"go on at 'cpu': Executor gpu failed due to: .*EXIT CODE: 3", done.stderr), "and why it was left"


def test_a_site_that_is_well_keeps_its_calls(script, pilotage):
    """The control."""
    done = pilotage("run", script(FAILOVER), "--site", "gpu=laptop", "--site", "cpu=threads")
    assert (done.returncode, done.stdout) == (0, "190 {False}\n"), done.stderr
    assert "go on at" not in done.stderr


def test_a_worker_that_dies_takes_its_call_to_the_next_site(script, pilotage):
    text = APP + (
        "DRIVER = os.getpid()\n"
        "@pilotage.fallback('gpu', 'cpu')\n@python_app\ndef f(x, driver):\n    import os, signal\n"
        "    if os.getpid() != driver:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return x\n"
        "parsl.load()\nprint(f(7, DRIVER).result())\n"
    )
    done = pilotage("run", script(text), "--site", "gpu=laptop", "--site", "cpu=threads")
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert "was killed by SIGKILL" in done.stderr


@pytest.mark.parametrize("app", ["@python_app", "@python_app(executors=['gpu'])"])
def test_without_its_first_site_an_app_starts_at_the_next(script, pilotage, app):
    text = FAILOVER.replace("@python_app", app)
    done = pilotage("run", script(text), "--site", "cpu=threads", "--site", "other=laptop")
    assert (done.returncode, done.stdout) == (0, "190 {True}\n"), done.stderr


def test_with_one_site_it_means_nothing(script, pilotage):
    done = pilotage("run", script(FAILOVER), "--site", "threads")
    assert (done.returncode, done.stdout) == (0, "190 {True}\n"), done.stderr
    assert done.stderr.count("no executor 'gpu' in this run") == 1


WAITING = APP + (
    "@python_app(executors=['gpu'])\ndef gpu(): return 1\n"
    "@python_app(executors=['cpu'])\ndef cpu(): return 2\n"
    "parsl.load()\nprint(gpu().result() + cpu().result())\n"
    "while not os.path.exists('go'):\n    time.sleep(0.05)\n"
)


def test_sites_are_prepared_at_once_and_each_is_shown(script, project, pilotage, private_home):
    """The block of each waits in its worker_init for the other's: one after the other they would never be there."""
    both = [
        word
        for own, other in (("gpu", "cpu"), ("cpu", "gpu"))
        for word in ("--set", f"{own}:worker_init=touch {own}.here; until [ -e {other}.here ]; do sleep 0.1; done")
    ]
    started = pilotage("run", script(WAITING), "--detach", "--site", "gpu=laptop", "--site", "cpu=laptop", *both)
    assert started.returncode == 0, started.stderr
    try:
        end = time.monotonic() + 90
        shown = {"blocks_of": {}}
        while time.monotonic() < end and not (
            shown["blocks_of"] == {"gpu": {"running": 1}, "cpu": {"running": 1}} and shown["tasks"].get("done") == 2
        ):
            time.sleep(0.2)
            shown = json.loads(pilotage.ask("show", "@last", "--json").stdout)
        assert shown["blocks_of"] == {"gpu": {"running": 1}, "cpu": {"running": 1}}, shown
        assert shown["blocks"] == {"running": 2}
        text = pilotage.ask("show", "@last").stdout
        assert "blocks     gpu: 1 running\nblocks     cpu: 1 running\n" in text
    finally:
        (project / "go").touch()
        pilotage("attach", "@last")
    last = json.loads(pilotage.ask("show", "@last", "--json").stdout)
    assert (last["state"], last["exit_code"], last["blocks_of"]) == ("finished", 0, {})
