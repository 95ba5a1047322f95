"""`perf check`: a seeded regression is caught, an unchanged build passes, and what cannot be told is said."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

from perf.simulated import rates, record, session
from pilotage.perf import folder, shapes
from pilotage.perf.check import check
from pilotage.perf.record import ColdStart

TODAY, YESTERDAY = "2026-11-22T10:15:00+0000", "2026-11-21T10:15:00+0000"


def builds(seed, factor, count=20, **more):
    """Return the records of yesterday's build and of today's, which is ``factor`` times as fast."""
    old = record(rates(f"old{seed}", count), name="20261121-101500-aaaa-1", created=YESTERDAY, **more)
    new = record(rates(f"new{seed}", count, 10_000 * factor), name="20261122-101500-bbbb-1", created=TODAY, **more)
    return old, new


def judged(seed, factor, count=20, **options):
    old, new = builds(seed, factor, count)
    return check([new], [old], **options)


def test_a_regression_of_ten_percent_is_caught():
    found = [judged(seed, 0.9) for seed in range(20)]
    assert sum(one.outcome == "regression" for one in found) >= 19
    assert found[0].items[0].words.startswith("lab htex: REGRESSION: throughput is 0.9")


def test_an_unchanged_build_passes():
    found = [judged(seed, 1.0) for seed in range(20)]
    assert all(one.outcome != "regression" for one in found)
    assert sum(one.outcome == "passed" for one in found) >= 18
    passed = next(one for one in found if one.outcome == "passed").items[0]
    assert "lab htex: passed: throughput is" in passed.words
    assert "it is no more than" in passed.words


def test_a_faster_build_passes():
    assert judged(1, 1.3).outcome == "passed"


def test_what_is_tolerated_is_no_regression():
    assert judged(1, 0.9).outcome == "regression"
    assert judged(1, 0.9, tolerance=0.25).outcome == "passed"


def test_too_few_sessions_cannot_tell():
    found = judged(1, 0.8, count=4)
    assert found.outcome == "cannot tell"
    assert "cannot tell from 4 sessions" in found.items[0].words


def test_sessions_that_would_not_show_the_regression_are_no_pass():
    """Five noisy sessions exclude nothing: that they show no regression says nothing."""
    old = record([10_000, 8_000, 12_000, 9_000, 11_000], name="a", created=YESTERDAY)
    new = record([9_900, 8_100, 11_500, 9_200, 11_100], name="b", created=TODAY)
    found = check([new], [old])
    assert found.outcome == "cannot tell"
    assert "worse, and 10 % is to be seen: more sessions" in found.items[0].words
    assert check([new], [old], see=5.0).outcome == "passed"


def test_a_configuration_without_a_past_cannot_be_told():
    old, new = builds(1, 1.0)
    elsewhere = old.model_copy(update={"site": "elsewhere"})
    found = check([new], [elsewhere])
    assert found.outcome == "cannot tell"
    assert "nothing of this configuration" in found.items[0].words


def test_a_record_is_not_held_against_itself():
    old, new = builds(1, 0.9)
    assert check([new], [old, new]).outcome == "regression"
    assert check([new], [new]).outcome == "cannot tell"


def test_the_newest_record_with_numbers_is_judged_and_held_against_the_newest():
    older = record(rates(1, 20, 5_000), name="a", created="2026-11-20T10:15:00+0000")
    old, new = builds(1, 0.9)
    broken = record(sessions=[session(1, 1, status="failed", reason="x")], name="z", created="2026-11-23T10:15:00+0000")
    assert check([new, broken], [older, old]).items[0].old == old.id
    assert check([new, broken], [older, old]).items[0].new == new.id


def test_a_build_whose_benchmark_fails_does_not_pass():
    old, new = builds(1, 1.0)
    assert check([new], [old]).outcome == "passed"
    broken = record(sessions=[session(1, 1, status="failed", reason="x")], name="z", created="2026-11-23T10:15:00+0000")
    found = check([new, broken], [old])
    assert found.outcome == "cannot tell"
    assert found.items[-1].words == "lab htex: cannot tell: no session of the newest record, z, has finished: x"
    assert check([broken, new], [old]).outcome == "passed"  # it has finished since


def test_longer_is_worse_for_times():
    def sessions(seconds):
        return [session(n, 10.0, cold_start=ColdStart(total_s=seconds * (1 + n / 1000))) for n in range(1, 21)]

    old = record(sessions=sessions(1.0), name="a", created=YESTERDAY)
    new = record(sessions=sessions(1.2), name="b", created=TODAY)
    found = {item.metric: item.outcome for item in check([new], [old]).items}
    assert found == {"rate": "passed", "cold_start": "regression"}
    found = {item.metric: item.outcome for item in check([old], [new]).items}
    assert found == {"rate": "passed", "cold_start": "passed"}


def test_many_numbers_are_judged_more_strictly():
    pairs = [builds(seed, 1.0) for seed in range(5)]
    new = [new.model_copy(update={"id": f"n{i}", "site": f"s{i}"}) for i, (_, new) in enumerate(pairs)]
    old = [old.model_copy(update={"id": f"o{i}", "site": f"s{i}"}) for i, (old, _) in enumerate(pairs)]
    assert check(new, old).confidence == pytest.approx(0.99)
    assert check(new[:1], old).confidence == pytest.approx(0.95)


# The command


@pytest.fixture
def repository(project):
    """A git repository with yesterday's record at its first commit; today's is written, 10 % slower or not."""

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *arguments], check=True, capture_output=True
        )

    def make(factor, count=20):
        old, new = builds(1, factor, count)
        git("init", "-q", "-b", "main")
        folder.write(old, project)
        git("add", "-A")
        git("commit", "-q", "-m", "yesterday")
        return folder.write(new, project), old

    return make


def test_the_docs_show_what_is_said():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "perf-history.md").read_text()
    shown = re.search(r"<!-- check -->\n```text\n(.*?)```", page, re.DOTALL)[1]
    assert shown.splitlines() == [item.words for factor in (0.9, 1.0) for item in judged(1, factor).items]


@pytest.mark.parametrize(("factor", "code"), [(0.9, 1), (1.0, 0)])
def test_the_command_fails_for_a_regression_against_a_revision(pilotage, repository, project, factor, code):
    repository(factor)
    done = pilotage("perf", "check", "--against", "main", "--json")
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("perf-check"))
    assert found["outcome"] == ("regression" if code else "passed")
    assert found["against"] == "main"


def test_a_reference_is_a_record_or_a_folder_too(pilotage, repository, project):
    new, old = repository(0.9)
    (project / "old").mkdir()
    (project / "old" / "a.json").write_text(old.to_json())
    for reference in ("old", "old/a.json", "main:results"):
        done = pilotage("perf", "check", str(new), "--against", reference)
        assert done.returncode == 1, (reference, done.stderr)
        assert "REGRESSION" in done.stdout


def test_what_cannot_be_told_is_said_and_fails_where_asked(pilotage, repository):
    repository(1.0, count=3)
    done = pilotage("perf", "check", "--against", "main")
    assert done.returncode == 0
    assert "cannot tell from 3 sessions" in done.stdout
    assert "that is no pass" in done.stderr
    assert pilotage("perf", "check", "--against", "main", "--strict").returncode == 1


def test_a_number_that_no_record_has_is_told_of(pilotage, repository):
    repository(1.0)
    done = pilotage("perf", "check", "--against", "main", "--metric", "shutdown")
    assert done.stdout == "cannot tell: no record has such a number\n"


def test_a_reference_that_means_nothing_is_refused(pilotage, repository):
    repository(1.0)
    done = pilotage("perf", "check", "--against", "nowhere")
    assert done.returncode == 2
    assert "'nowhere' is no file, folder or git revision" in done.stderr
