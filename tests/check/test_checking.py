"""How probes are run: in order, in time, and what is said of those that are not."""

import json
import threading
import time

import jsonschema
import pytest

from pilotage.check import checking, shapes
from pilotage.check.checking import Listener, check_site
from pilotage.check.finding import Status, failed, ok, skipped, warning
from pilotage.check.probe import MODULES, Cost, Probe, probes


def made(name, run, cost=Cost.NOTHING, needs=(), limit=5.0, applies=True):
    """Return a probe that is not registered."""
    members = {
        "name": name,
        "cost": cost,
        "needs": needs,
        "run": lambda self, context: run(context),
        "limit": lambda self, context: limit,
        "applies": lambda self, context: applies,
    }
    return type(name, (Probe,), members)()


def well(context):
    return ok("well")


def bad(context):
    return failed("bad", hint="do better")


def statuses(report):
    return [(one["probe"], one["status"]) for one in report["findings"]]


def test_what_a_probe_needs_comes_first(check):
    asked = [made("a", bad), made("b", well, needs=("a",)), made("c", well, needs=("b",)), made("d", well)]
    found = check(asked=asked)
    assert statuses(found) == [("a", "failed"), ("b", "skipped"), ("c", "skipped"), ("d", "ok")]
    assert [one["message"] for one in found["findings"][1:3]] == ["a comes first", "a comes first"]
    assert found["ok"] is False


@pytest.mark.parametrize("kind", [lambda c: warning("so so", hint="x"), lambda c: skipped("no answer")])
def test_only_a_failure_stops_what_needs_it(check, kind):
    found = check(asked=[made("a", kind), made("b", well, needs=("a",))])
    assert statuses(found)[1] == ("b", "ok")
    assert found["ok"] is True


def test_one_that_does_not_apply_is_not_mentioned_and_stops_nothing(check):
    found = check(asked=[made("a", bad, applies=False), made("b", well, needs=("a",))])
    assert statuses(found) == [("b", "ok")]


def test_one_that_raises_is_a_finding(check):
    def raises(context):
        raise ValueError("what is this")

    found = check(asked=[made("a", raises), made("b", well)])
    assert statuses(found) == [("a", "failed"), ("b", "ok")]
    assert "ValueError: what is this" in found["findings"][0]["message"]


def test_one_whose_question_raises_is_asked(check):
    probe = made("a", well)
    type(probe).applies = lambda self, context: 1 / 0
    assert statuses(check(asked=[probe])) == [("a", "ok")]


def test_one_that_hangs_is_given_up(check):
    waits = threading.Event()
    hanging = made("a", lambda context: waits.wait(60) and well(context), limit=0.3)
    try:
        found = check(asked=[hanging, made("b", well)])
    finally:
        waits.set()
    assert statuses(found) == [("a", "failed"), ("b", "ok")]
    assert "no answer within 0.3 s" in found["findings"][0]["message"]


def test_a_command_that_hangs_is_ended_and_named(check, tmp_path):
    program = tmp_path / "hangs"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)

    def asks(context):
        answer = context.run(str(program))
        return failed(f"exit code {answer.exit_code}", hint="wait")

    found = check(asked=[made("a", asks, limit=1.5)])
    assert found["findings"][0]["message"] == "exit code 124"
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while (alive := _is_there(pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive


def _is_there(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_command_is_run_once(check, tmp_path):
    count = tmp_path / "count"
    argv = ("sh", "-c", f"echo x >> {count}; cat {count}")
    check(asked=[made(name, lambda context: ok(context.run(*argv).stdout)) for name in "abc"])
    assert count.read_text() == "x\n"


def test_results_come_as_they_are_found_and_waiting_is_told(project, user_file):
    from pilotage.assembly.configs import targets

    user_file('[site.mine]\nextends = "laptop"\n')
    seen = []

    def slow(context):
        context.say("waiting for the dawn")
        time.sleep(checking._Waiting.AFTER + 3 * checking.LOOK)
        return ok("it dawns")

    listener = Listener(lambda result: seen.append(result.probe), seen.append)
    check_site("mine", lambda: targets("mine")[0].resolved, listener, asked=[made("a", well), made("b", slow)])
    assert seen[:3] == ["mine: importing Parsl", None, "a"]
    assert seen[-2:] == [None, "b"]
    assert any(str(words).startswith("b: waiting for the dawn (") for words in seen)


def test_an_interrupt_tells_the_probe_to_stop_and_waits_for_it(check, monkeypatch):
    ended = []

    def long(context):
        context.stopping.wait(30)
        time.sleep(0.2)
        ended.append(True)
        return ok("")

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(checking._Waiting, "look", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check(asked=[made("a", long, limit=60)])
    assert ended == [True]


def test_nothing_is_left_of_a_check(check, private_home):
    check()
    assert list((private_home / "state" / "runs").iterdir()) == []


def test_what_a_killed_check_has_left_goes_with_the_next(check, private_home):
    runs = private_home / "state" / "runs"
    for name, owner in (("dead", {"pid": 2**22 + 1, "start": "1"}), ("elsewhere", {"host": "another"})):
        folder = runs / f".check-{name}"
        folder.mkdir(parents=True)
        from pilotage.worker import processes

        known = {**processes.identity(1), **owner}
        (folder / "owner.json").write_text(json.dumps(known))
    check(asked=[made("a", well)])
    assert [path.name for path in runs.iterdir()] == [".check-elsewhere"]


def test_the_order_is_that_of_cost():
    known = probes()
    assert [probe.cost for probe in known] == sorted(probe.cost for probe in known)
    assert known[0].name == "configuration"


def test_every_module_with_probes_is_in_the_list():
    folder = checking.Path(checking.__file__).parent
    having = {path.stem for path in folder.glob("*.py") if "\n@probe\n" in path.read_text()}
    assert having == set(MODULES)


def test_the_report_has_the_published_shape(check):
    found = check()
    found.pop("file")
    value = {"schema_version": shapes.SCHEMA_VERSION, "ok": found["ok"], "sites": [found]}
    jsonschema.validate(value, shapes.schema("check"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "more": 1}, shapes.schema("check"))


def test_statuses_are_what_the_schema_says():
    assert shapes.FINDING["properties"]["status"]["enum"] == [str(status) for status in Status]
