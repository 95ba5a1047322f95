"""What parsl-perf prints is read as it is meant, and the tables of measures, peers and programs fit together."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# As parsl-perf of Parsl 2026.10.26 prints it.
OUTPUT = """\
==== Iteration 1 ====
Will run 10 tasks
Submitting tasks / invoking apps
All 10 tasks submitted ... waiting for completion
Submission took 0.005 seconds = 2063.110 tasks/second
Runtime: actual 0.012s vs target 10.0s
Tasks per second: 809.086
==== Iteration 2 ====
Will run 8090 tasks
Submitting tasks / invoking apps
All 8090 tasks submitted ... waiting for completion
Submission took 5.110 seconds = 1583.170 tasks/second
Runtime: actual 7.816s vs target 10.0s
Tasks per second: 1035.056
Tests complete - leaving DFK block
The end
"""


def test_the_last_iteration_counts():
    from measures import parsl_perf_rate

    assert parsl_perf_rate(OUTPUT) == {"tasks": 8090, "seconds": 7.816, "rate": 1035.056}


@pytest.mark.parametrize("text", ["", "The end\n", "Tasks per second: 5\n", OUTPUT[: OUTPUT.index("Runtime")]])
def test_output_without_a_finished_iteration_is_refused(text):
    from measures import parsl_perf_rate

    with pytest.raises(ValueError, match="parsl-perf's output"):
        parsl_perf_rate(text)


@given(st.integers(0, len(OUTPUT)))
def test_a_cut_output_gives_no_rate(length):
    from measures import parsl_perf_rate

    if "Tests complete" in OUTPUT[:length]:
        assert parsl_perf_rate(OUTPUT[:length])["rate"] == 1035.056
    else:
        with pytest.raises(ValueError, match="before its end"):
            parsl_perf_rate(OUTPUT[:length])


def test_a_last_iteration_without_a_rate_is_told():
    from measures import parsl_perf_rate

    with pytest.raises(ValueError, match="has no rate"):
        parsl_perf_rate(OUTPUT.replace("Tasks per second: 1035.056", "Tasks per second: nan"))


def keys(program, name):
    """Return the keys of a dictionary that a program has; not all of what it imports is here."""
    tree = ast.parse((BENCHMARKS / "programs" / f"{program}.py").read_text())
    (found,) = (node.value.keys for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == name)
    return {each.value for each in found}


def test_every_measure_has_its_program_and_every_peer_its_session_pins_and_config():
    figure = pytest.importorskip("figure", exc_type=ImportError)  # needs matplotlib
    from measures import MEASURES
    from peers import PEERS

    sessions, copiers = keys("sessions", "SESSIONS"), keys("copiers", "COPIERS")
    assert sessions | copiers == set(PEERS)
    assert sessions & copiers == {"pilotage"}
    assert set(figure.COLOURS) == sessions
    for measure in MEASURES.values():
        assert set(measure.peers) <= (copiers if measure.name.startswith("staging_") else sessions)
        assert set(measure.needs) <= set(PEERS)
        assert len(measure.quick) == len(measure.arguments)
        if measure.name == "perf":
            for peer in measure.peers:
                assert (BENCHMARKS / "programs" / "configs" / f"{peer.replace('-', '_')}.py").is_file()
        else:
            assert (BENCHMARKS / "programs" / f"{measure.name}.py").is_file()
    for peer in PEERS.values():
        assert peer.environment.requirements is None or peer.environment.requirements.is_file()


def test_pins_are_exact_and_name_no_host():
    for file in (BENCHMARKS / "requirements").glob("*.txt"):
        for line in file.read_text().splitlines():
            assert line.startswith("#") or line.count("==") >= 1, (file.name, line)
            assert "://" not in line
            assert "@" not in line


def test_a_measure_may_be_called_by_how_its_name_begins(capsys):
    import run

    assert run.options_of(["--only", "staging"]).only == ["staging_file", "staging_s3", "staging_ssh"]
    assert run.options_of(["--only", "latency,staging_ssh"]).only == ["latency", "staging_ssh"]
    for word in ("stag", "staging_", "nothing"):
        with pytest.raises(SystemExit):
            run.options_of(["--only", word])
    assert "no measure 'nothing'" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_a_reason_of_all_that_need_it(tmp_path, monkeypatch):
    import run

    monkeypatch.setattr(run, "prepare", lambda peers: {"rclone": "not set up"} if run.PEERS["rclone"] in peers else {})
    monkeypatch.setattr(run.processes, "become_subreaper", lambda: None)
    run.main(["--only", "staging_s3", "--peers", "awscli", "--repeats", "1", "--output", str(tmp_path / "out.json")])
    (found,) = json.loads((tmp_path / "out.json").read_text())["samples"]
    assert (found["peer"], found["error"]) == ("awscli", "not set up")


def test_the_order_is_interleaved_random_and_the_same_each_time():
    import run
    from measures import MEASURES

    steps = [(repeat, measure.name, peer.name) for repeat, measure, peer in run.plan(["latency", "seconds"], 4, False)]
    assert steps == [(r, m.name, p.name) for r, m, p in run.plan(["latency", "seconds"], 4, False)]
    assert len(set(steps)) == len(steps) == 4 * sum(len(MEASURES[name].peers) for name in ("latency", "seconds"))
    assert [repeat for repeat, _, _ in steps] == sorted(repeat for repeat, _, _ in steps)
    orders = [[p for r, m, p in steps if r == repeat and m == "latency"] for repeat in range(4)]
    assert all(set(order) == set(MEASURES["latency"].peers) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_each_measure_has_its_own_number_of_repeats_unless_one_is_given():
    import run
    from measures import MEASURES

    def repeats(*arguments):
        return {m.name: r + 1 for r, m, _ in run.plan(["latency", "tail"], *arguments)}

    assert repeats(None, False) == {name: MEASURES[name].repeats for name in ("latency", "tail")}
    assert repeats(6, True) == {"latency": 6, "tail": 6}
    assert repeats(None, True) == {"latency": 1, "tail": 1}
