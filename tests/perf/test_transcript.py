"""parsl-perf's output, by the names of its lines."""

import pytest

from pilotage.perf.transcript import Transcript, TranscriptError

OUTPUT = """\
==== Iteration 1 ====
Will run 10 tasks
Submitting tasks / invoking apps
All 10 tasks submitted ... waiting for completion
Submission took 0.005 seconds = 2000.000 tasks/second
Runtime: actual 0.050s vs target 2.0s
Tasks per second: 200.000
==== Iteration 2 ====
Will run 400 tasks
Submitting tasks / invoking apps
All 400 tasks submitted ... waiting for completion
Submission took 0.100 seconds = 4000.000 tasks/second
Runtime: actual 1.600s vs target 2.0s
Tasks per second: 250.000
Tests complete - leaving DFK block
The end
"""


def read(text):
    made = Transcript()
    done = [made.feed(line, at) for at, line in enumerate(text.splitlines())]
    return made, [iteration for iteration in done if iteration is not None]


def test_every_iteration_is_read():
    made, told = read(OUTPUT)
    made.check()
    first, second = made.iterations()
    assert (first.number, first.num_tasks, first.submission_s, first.submission_tps) == (1, 10, 0.005, 2000.0)
    assert (first.runtime_s, first.runtime_tps, first.warm_up) == (0.05, 200.0, True)
    assert (second.number, second.num_tasks, second.runtime_tps, second.warm_up) == (2, 400, 250.0, False)
    assert [one.number for one in told] == [1, 2]
    assert made.ended_at - made.complete_at == 1
    assert not made.marks()


def test_lines_are_known_by_name_and_not_by_place():
    """Lines of others in between, the values in another order, and parsl-perf's own in another language's format."""
    lines = OUTPUT.splitlines()
    swapped = [lines[0], "WARNING something", lines[5], lines[4], "", lines[1], "Will run a marathon", lines[6]]
    made, _ = read("\n".join([*swapped, *lines[7:]]))
    made.check()
    assert [one.runtime_tps for one in made.iterations()] == [200.0, 250.0]
    assert made.iterations()[0].num_tasks == 10


def test_what_is_printed_before_the_first_iteration_is_nobodys():
    made, told = read("Tasks per second: 5.0\n" + OUTPUT)
    assert len(made.iterations()) == len(told) == 2


@pytest.mark.parametrize("lines", range(1, 14))
def test_an_output_that_stops_is_no_result(lines):
    made, _ = read("\n".join(OUTPUT.splitlines()[:lines]))
    with pytest.raises(TranscriptError, match="stops before its end"):
        made.check()
    # What came to its end is kept, as warm-up unless it is the last.
    assert len(made.iterations()) == (2 if lines >= 14 else 1 if lines >= 7 else 0)


def test_a_missing_value_is_named():
    made, _ = read(OUTPUT.replace("Will run 400 tasks\n", ""))
    with pytest.raises(TranscriptError, match="iteration 2 of parsl-perf's output has no num_tasks"):
        made.check()
    made, _ = read("Tests complete - leaving DFK block")
    with pytest.raises(TranscriptError, match="has no iteration"):
        made.check()


def test_a_last_iteration_that_was_too_short_is_marked():
    """parsl-perf stops after two iterations where the first took long: its second may have been a handful of tasks."""
    made, _ = read(OUTPUT.replace("actual 1.600s", "actual 0.004s"))
    assert made.marks() == ["the last iteration took 0.004 s of the 2 s aimed at: its rate is no steady one"]
