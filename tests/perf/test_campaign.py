"""The sessions of a run, whose process may be ended at any moment, and what the next run takes up of them."""

import json

import pytest

from perf.simulated import Simulated
from pilotage.perf import folder


def stopping(at):
    """Return a runner whose session ``at`` is interrupted."""
    count = iter(range(1, 100))

    def rate(label, number):
        if next(count) == at:
            raise KeyboardInterrupt
        return 1000.0 + number

    return Simulated(rate)


def test_what_was_measured_before_a_stop_is_taken_up(campaign, tmp_path):
    first = campaign(["laptop"], stopping(3), repeat=4)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    (path,) = first.files.values()
    assert folder.read(path).values("rate") == [1001.0, 1002.0]
    again = campaign(["laptop"], runner := Simulated(lambda label, number: 2000.0), repeat=4)
    assert again.take_up(first.folder) == 2
    again.run()
    assert [spec.number for spec in runner.specs] == [3, 4]
    (record,) = again.made()
    assert record.values("rate") == [1001.0, 1002.0, 2000.0, 2000.0]
    assert record.runs == [first.folder.id, again.folder.id]
    assert [file.name for file in (tmp_path / "results" / "laptop").iterdir()] == [path.name]


@pytest.mark.parametrize(
    "torn", [b'{"configuration": 0, "session": {"number": 2', b"\xff\xfe", b'{"configuration": 0}']
)
def test_half_a_line_of_a_killed_run_costs_that_session_alone(campaign, torn):
    first = campaign(["laptop"], stopping(3), repeat=3)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    kept = first.folder.path / "perf" / "outcomes.jsonl"
    lines = kept.read_bytes().splitlines()
    kept.write_bytes(b"\n".join([lines[0], torn]))
    again = campaign(["laptop"], runner := Simulated(lambda label, number: 2000.0), repeat=3)
    assert again.take_up(first.folder) == 1
    again.run()
    assert [spec.number for spec in runner.specs] == [2, 3]


def test_a_control_character_in_a_files_name_is_in_no_record(campaign):
    made = campaign(["laptop"], Simulated(lambda label, number: 1000.0), repeat=1)
    made.run()
    one = made.configurations[0]
    one.outcomes[0].label = "a\x1b[31mb"
    assert made.record(one).label == "a [31mb"
    assert json.loads(made.record(one).to_json())
