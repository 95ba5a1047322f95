"""Comparisons of simulated sessions: what is said, how often it is right, and what is shown beside it."""

import jsonschema
import pytest

from perf.simulated import Simulated, rates, record, session
from pilotage.perf import shapes, text
from pilotage.perf.compare import compare, differences, names_of, percent
from pilotage.perf.record import ColdStart, Latency, Node, Ran


@pytest.fixture
def unwritten(monkeypatch):
    """Records are made, and not written after each of thousands of sessions."""
    monkeypatch.setattr("pilotage.perf.campaign.Campaign.write", lambda self, place: None)


def simulated_pair(campaign, seed, factor=1.0):
    """Run `perf compare laptop laptop` with simulated sessions; return its comparison."""
    series = {"laptop": rates(f"a{seed}", 20, 10_000 * factor), "laptop-2": rates(f"b{seed}", 20)}
    made = campaign(list(series), Simulated(lambda label, number: series[label][number - 1]), seed=seed)
    made.run()
    records = {one.title: made.record(one) for one in made.configurations}
    return compare(records, run=made.folder.id, seed=seed)


def test_a_site_compared_with_itself_is_no_different_in_19_of_20_repeats(campaign, unwritten):
    verdicts = [simulated_pair(campaign, seed).verdicts[0] for seed in range(20)]
    assert sum(verdict.outcome == "no difference" for verdict in verdicts) >= 19
    assert all(verdict.paired and verdict.ratio.count == 20 for verdict in verdicts)


@pytest.mark.slow
def test_a_false_difference_is_told_once_in_a_hundred_repeats():
    def outcome(seed):
        a = record(rates(f"a{seed}", 20), name="a", options={"interleaved_with": ["b"]})
        b = record(rates(f"b{seed}", 20), name="b", options={"interleaved_with": ["a"]})
        return compare({"A": a, "B": b}).verdicts[0].outcome

    outcomes = [outcome(seed) for seed in range(500)]
    assert outcomes.count("different") <= 15  # 5 expected, and the bad moments of a machine


def test_a_difference_is_told_with_its_ratio(campaign):
    found = simulated_pair(campaign, 3, factor=1.8)
    verdict = found.verdicts[0]
    assert verdict.outcome == "different"
    assert verdict.ratio.low < 1.8 < verdict.ratio.high
    assert verdict.words.startswith("throughput: laptop is 1.8")
    assert " times laptop-2 (1.7" in verdict.words
    assert verdict.effect == 1
    assert verdict.effect_words == "large"
    assert found.interleaved
    assert not any("turn" in caution for caution in found.cautions)


def test_no_difference_says_what_would_have_been_seen(campaign, unwritten):
    verdict = simulated_pair(campaign, 1).verdicts[0]
    assert f"no difference larger than {percent(verdict.resolution)} would have gone unseen" in verdict.words
    assert 0.01 < verdict.resolution < 0.12
    # What it says is true: a difference of that size is told nearly always.
    told = [simulated_pair(campaign, seed, 1 + verdict.resolution).verdicts[0].outcome for seed in range(100, 110)]
    assert told.count("different") >= 9


def test_few_sessions_are_told_to_be_too_few():
    def judged(count):
        one, other = record(rates(1, count)), record(rates(2, count), name="other")
        return compare({"A": one, "B": other}).verdicts[0]

    assert judged(4).outcome == "cannot tell"
    assert "cannot tell from 4 sessions (at least 5, better 20)" in judged(4).words
    assert judged(4).resolution is None
    assert any("too narrow" in caution for caution in judged(9).cautions)
    assert not any("too narrow" in caution for caution in judged(10).cautions)


def test_records_that_were_not_measured_in_turn_are_not_paired():
    found = compare({"A": record(rates(1, 20)), "B": record(rates(2, 20), name="other")})
    assert not found.verdicts[0].paired
    assert not found.interleaved
    assert any("not measured in turn" in caution for caution in found.cautions)


def test_pairs_are_those_of_one_repeat():
    """A session that failed takes its partner with it; the machine's slow half falls on both sides of a pair."""
    slow = [1.0 if number % 2 else 0.5 for number in range(1, 21)]
    ours = [session(n, 1000 * slow[n - 1]) for n in range(1, 21)]
    theirs = [session(n, 900 * slow[n - 1]) for n in range(1, 21)]
    theirs[4] = session(5, 1, status="failed", reason="broken")
    a = record(sessions=ours, options={"interleaved_with": ["b"]}, name="a")
    b = record(sessions=theirs, options={"interleaved_with": ["a"]}, name="b")
    found = compare({"A": a, "B": b})
    assert found.verdicts[0].ratio.count == 19
    assert found.verdicts[0].ratio.value == pytest.approx(10 / 9)
    assert found.verdicts[0].ratio.high == pytest.approx(10 / 9)
    assert "B: 1 of 20 sessions failed" in found.cautions


def test_outliers_and_warm_up_are_shown_and_used():
    values = [4000.0, *[10_000.0 + 40 * number for number in range(18)], 5000.0]
    found = compare({"A": record(values), "B": record(rates(2, 20), name="other")})
    group = found.groups[0]
    assert group.values == values
    assert (group.warm_up, group.outliers) == (1, [0, 19])
    assert group.typical.count == 20
    shown = text.comparison(found)
    assert "4,000w" in shown
    assert "5,000*" in shown
    assert "[w: warm-up; *: far from the others]" in shown
    assert any("far from the others: shown, and used" in caution for caution in found.verdicts[0].cautions)


def test_differences_of_configuration_are_listed():
    more = Ran(blocks=2, managers=2, workers=8, nodes=[Node(cores=4), Node(cores=4)])
    a = record(sessions=[session(1, 5.0)], parameters={"cores_per_worker": 1, "provider.class": "LocalProvider"})
    b = record(
        sessions=[session(1, 5.0, ran=more)], parameters={"cores_per_worker": 2, "provider.class": "LocalProvider"}
    )
    found = {one.name: one.values for one in differences({"A": a, "B": b})}
    assert found == {
        "cores_per_worker": {"A": "1", "B": "2"},
        "ran: blocks": {"A": "1", "B": "2"},
        "ran: managers": {"A": "1", "B": "2"},
        "ran: nodes": {"A": "1", "B": "2"},
        "ran: workers": {"A": "2", "B": "8"},
    }
    assert "cores_per_worker: A: 1; B: 2" in text.comparison(compare({"A": a, "B": b}))


def test_every_metric_that_both_have_is_judged():
    def sessions(seconds):
        start = ColdStart(driver_s=seconds, total_s=seconds)
        latency = Latency(samples=[9.0, *[seconds / 1000] * 20], warm_up=1)
        return [session(n, 10.0, cold_start=start, latency=latency, shutdown_s=0.1) for n in range(1, 13)]

    a, b = record(sessions=sessions(1.0)), record(sessions=sessions(2.0), name="other")
    found = {verdict.metric: verdict for verdict in compare({"A": a, "B": b}).verdicts}
    assert set(found) == {"rate", "latency_p50", "latency_p99", "cold_start", "shutdown"}
    assert found["cold_start"].ratio.value == pytest.approx(0.5)
    assert found["latency_p50"].words == "latency of one call, median: A is 0.5 times B (0.5 to 0.5)"
    assert found["rate"].outcome == "no difference"


def test_what_one_side_lacks_cannot_be_told():
    a = record(sessions=[session(n, 10.0, shutdown_s=1.0) for n in range(1, 7)])
    b = record(sessions=[session(n, 10.0) for n in range(1, 7)], name="other")
    found = {verdict.metric: verdict for verdict in compare({"A": a, "B": b}).verdicts}
    assert found["shutdown"].outcome == "cannot tell"
    assert "B has no session with this number" in found["shutdown"].words


def test_the_shape_is_the_published_one(campaign):
    found = simulated_pair(campaign, 1).model_dump(mode="json")
    jsonschema.validate(found, shapes.schema("perf-compare"))


def test_a_parameter_gives_a_terminal_no_orders():
    sides = {"A": record([1.0], parameters={"x": "a\x1b[2Jb\nc"}), "B": record([1.0], name="b", parameters={"x": "y"})}
    shown = text.comparison(compare(sides))
    assert "    x: A: a [2Jb c; B: y" in shown


def test_a_difference_of_thousands_of_per_cents_has_no_size():
    assert percent(0.042) == "4.2 %"
    assert percent(12) == "1,200 %"
    assert percent(1e300) == percent(float("inf")) == percent(float("nan")) == "any size"


def test_sides_of_one_name_get_numbers():
    one = record([1.0])
    assert list(names_of([("lab", one), ("lab", one), ("x", one), ("lab", one)])) == ["lab", "lab-2", "x", "lab-3"]


def test_a_mark_of_a_session_is_told():
    marked = [session(1, 5.0, marks=["too short"]), session(2, 5.0)]
    found = compare({"A": record(sessions=marked), "B": record([5.0, 5.0], name="b")})
    assert "A: 1 of 2 sessions have marks, such as: too short" in found.cautions
