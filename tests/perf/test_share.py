"""`perf share`: a commit on a branch, and a checkout that does not notice."""

import json
import subprocess
from pathlib import Path

import pytest

from perf.simulated import record
from pilotage.errors import UsageError
from pilotage.perf import folder
from pilotage.perf.share import share

IDENTITY = {f"GIT_{who}_{what}": "a@b.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def git(project, monkeypatch):
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)

    def run(*arguments):
        done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "-q", "-b", "main")
    (project / "code.py").write_text("x = 1\n")
    run("add", "-A")
    run("commit", "-q", "-m", "code")
    return run


@pytest.fixture
def made(project):
    one = record([1.0, 2.0])
    return {folder.write(one, project, "config = None\n"): one}


def state(git, project):
    index = (project / ".git" / "index").read_bytes()
    files = {
        str(p.relative_to(project)): p.read_bytes() for p in project.rglob("*") if p.is_file() and ".git" not in p.parts
    }
    return git("symbolic-ref", "HEAD"), git("rev-parse", "HEAD"), index, files


def test_records_and_configs_are_committed_and_the_checkout_is_untouched(git, made, project):
    (project / "code.py").write_text("x = 2  # not committed\n")
    before = state(git, project)
    done = share(made, project)
    assert state(git, project) == before
    assert git("ls-tree", "-r", "--name-only", "perf-results").splitlines() == [
        "code.py",
        "configs/lab_local_htex_1n2w.py",
        "results/lab/2026-11-21_lab_local_htex_1n2w_101500-k7d2-1.json",
    ]
    assert git("show", "perf-results:code.py") == "x = 1"
    assert git("rev-parse", "perf-results^") == git("rev-parse", "main")
    assert folder.parse(git("show", f"perf-results:{done.files[1]}"), "") == next(iter(made.values()))
    assert "Benchmarks of lab: 1 record" in git("log", "-1", "--format=%B", "perf-results")


def test_a_second_time_adds_to_the_branch_or_changes_nothing(git, made, project):
    first = share(made, project)
    assert share(made, project).commit == first.commit
    other = record([3.0], name="20261122-101500-abcd-1", created="2026-11-22T10:15:00+0000")
    second = share({folder.write(other, project): other}, project)
    assert git("rev-parse", "perf-results^") == first.commit
    assert len(git("ls-tree", "-r", "--name-only", second.commit).splitlines()) == 4
    assert second.replaced == []


def test_what_another_had_there_under_the_same_name_is_told(git, made, project, tmp_path, pilotage):
    share(made, project)
    other = record([3.0], name="20261122-101500-abcd-1", created="2026-11-22T10:15:00+0000")
    folder.write(other, tmp_path / "ben", "config = 'of Ben'\n")
    done = pilotage("perf", "share", tmp_path / "ben", env=IDENTITY)
    assert "it had another form of configs/lab_local_htex_1n2w.py, which is in its history" in done.stdout
    assert git("show", "perf-results:configs/lab_local_htex_1n2w.py") == "config = 'of Ben'"
    assert git("show", "perf-results^:configs/lab_local_htex_1n2w.py") == "config = None"


def test_letters_of_all_languages_come_back(git, project):
    one = record([1.0], site="größe 日本")
    path = folder.write(one, project, "# größe\n")
    done = share({path: one}, project)
    assert folder.parse(git("show", f"perf-results:{done.files[1]}"), "") == one
    assert git("show", f"perf-results:{done.files[0]}") == "# größe"
    assert "Benchmarks of größe 日本" in git("log", "-1", "--format=%B", "perf-results")


def test_a_dirty_index_is_refused(git, made, project):
    (project / "code.py").write_text("x = 2\n")
    git("add", "code.py")
    before = state(git, project)
    with pytest.raises(UsageError, match="the index holds changes that are not committed"):
        share(made, project)
    assert state(git, project) == before
    assert git("branch", "--list", "perf-results") == ""


def test_a_branch_that_is_checked_out_is_refused(git, made, project, tmp_path):
    with pytest.raises(UsageError, match="'main' is checked out"):
        share(made, project, branch="main")
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="'other' is checked out"):
        share(made, project, branch="other")


@pytest.mark.parametrize("branch", ["a..b", "-x", "a b"])
def test_a_branch_that_cannot_be_is_refused(git, made, project, branch):
    with pytest.raises(UsageError, match="cannot be a branch's name"):
        share(made, project, branch=branch)


def test_a_folder_outside_of_a_repository_is_refused(made, project):
    with pytest.raises(UsageError, match="in no git repository"):
        share(made, project)


def test_a_folder_inside_of_a_repository_keeps_its_place(git, project):
    inner = project / "team" / "a"
    one = record([1.0])
    done = share({folder.write(one, inner): one}, inner)
    assert done.files == ["team/a/results/lab/2026-11-21_lab_local_htex_1n2w_101500-k7d2-1.json"]
    assert done.files[0] in git("ls-tree", "-r", "--name-only", "perf-results").splitlines()


def test_a_record_named_from_within_its_folder_has_its_config_with_it(git, made, project, monkeypatch):
    ((path, one),) = made.items()
    monkeypatch.chdir(path.parent)
    done = share({Path(path.name): one}, project / "results")
    assert [Path(file).name for file in done.files] == ["lab_local_htex_1n2w.py", path.name]


def test_nothing_is_pushed_unasked(git, made, project, tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    git("remote", "add", "origin", str(remote))
    share(made, project)
    assert not list((remote / "refs" / "heads").iterdir())
    done = share(made, project, push="origin")
    assert (remote / "refs" / "heads" / "perf-results").read_text().strip() == done.commit


def test_a_push_that_fails_leaves_the_commit_and_says_so(git, made, project, tmp_path):
    with pytest.raises(UsageError, match="the records are on perf-results, and git push failed: fatal: ") as caught:
        share(made, project, push=str(tmp_path / "nowhere"))
    assert caught.value.hint == f"git push {tmp_path / 'nowhere'} perf-results"
    assert len(git("ls-tree", "-r", "--name-only", "perf-results").splitlines()) == 3


def test_what_git_says_is_passed_on(git, made, project, monkeypatch):
    (hook := project / ".git" / "hooks" / "reference-transaction").parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(UsageError, match="git update-ref failed: fatal: ref updates aborted by hook"):
        share(made, project)
    hook.unlink()
    for name in IDENTITY:
        monkeypatch.delenv(name)
    git("config", "user.useConfigOnly", "true")
    with pytest.raises(UsageError, match="git commit-tree failed: fatal: ") as caught:
        share(made, project)
    assert caught.value.hint == "git config user.name NAME, git config user.email ADDRESS"
    (project / ".git" / "index").write_text("garbage")
    with pytest.raises(UsageError, match="git cannot read the index: "):
        share(made, project)
    assert git("branch", "--list", "perf-results") == ""


def test_on_a_detached_head_the_branch_begins_there(git, made, project):
    git("checkout", "-q", "--detach")
    share(made, project)
    assert git("rev-parse", "perf-results^") == git("rev-parse", "HEAD")


def test_a_repository_without_a_commit_gets_its_first(project, monkeypatch, made):
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    subprocess.run(["git", "init", "-q", "-b", "main", str(project)], check=True)
    done = share(made, project)
    assert len(done.files) == 2


def test_the_command_says_what_is_left_to_do(git, made, project, pilotage):
    done = pilotage("perf", "share", "results", "--branch", "numbers", env=IDENTITY)
    assert done.returncode == 0, done.stderr
    assert "nothing was pushed: git show numbers" in done.stdout
    told = json.loads(pilotage("perf", "share", "--branch", "numbers", "--json", env=IDENTITY).stdout)
    assert told["commit"] == git("rev-parse", "numbers")
    assert told["pushed"] is None
