"""What a list in ``sync`` stands for: files, folders and patterns, from the script's folder."""

import os
import subprocess
import sys
import types

import pytest

from pilotage.environments import sources
from pilotage.environments.code import Code
from pilotage.environments.naming import arranged, named
from pilotage.errors import UsageError
from pilotage.perf import within

FILES = [
    "script.py",
    "model.py",
    "other.py",
    ".env",
    ".hidden/key",
    "table[1].csv",
    "own/__init__.py",
    "own/deep/sums.py",
    "own/.secret",
    "own/__pycache__/a.pyc",
    "own/table.csv",
    "own/raw/big.csv",
    "data/a.csv",
    "data/b.csv",
    "data/b.txt",
    "data/sub/c.csv",
    "venv/pyvenv.cfg",
    "venv/lib/x.py",
    "../common/__init__.py",
    "../common/tools.py",
    "../common/.git/config",
    "../lone.py",
]


@pytest.fixture
def work(tmp_path, private_home):
    """The folder of a script, in a project with something beside it."""
    folder = tmp_path / "project" / "work"
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def sent(work, *names, folders=()):
    """What is sent, tree by tree, and where folders are."""
    trees, places = arranged(named(names, work, "here"), work, [str(one) for one in folders], "here")
    for tree in trees:
        assert all(file.is_file() for file in tree.values())
    return [set(tree) for tree in trees], places


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.py"], {"model.py"}),
        (["./model.py", "model.py"], {"model.py"}),
        (["own/"], {"own/__init__.py", "own/deep/sums.py", "own/table.csv", "own/raw/big.csv"}),
        (["own/deep"], {"own/deep/sums.py"}),
        (["data/*.csv"], {"data/a.csv", "data/b.csv"}),
        (["data/**/*.csv"], {"data/a.csv", "data/b.csv", "data/sub/c.csv"}),
        (["data/[ab].txt", "data/?.csv"], {"data/a.csv", "data/b.csv", "data/b.txt"}),
        (["d*"], {"data/a.csv", "data/b.csv", "data/b.txt", "data/sub/c.csv"}),
        (["d*/*/"], {"data/sub/c.csv"}),
        (["*.py"], {"script.py", "model.py", "other.py"}),
        (["**/*.py"], {"script.py", "model.py", "other.py", "own/__init__.py", "own/deep/sums.py"}),
        ([".env", ".hidden"], {".env", ".hidden/key"}),
        (["table[1].csv"], {"table[1].csv"}),
    ],
)
def test_names_in_the_scripts_folder(work, names, found):
    assert sent(work, *names) == ([found], {str(work): "0"})


def test_the_whole_folder_is_without_what_never_travels(work):
    (tree,), _ = sent(work, ".")
    assert tree == {name for name in FILES if not name.startswith((".", "venv")) and "/." not in name} - {
        "own/__pycache__/a.pyc"
    }


def test_what_is_ignored(work):
    (work / ".pilotageignore").write_text("own/raw/\n*.txt\ndata/sub/\n")
    (work / "own" / ".pilotageignore").write_text("deep\n")
    assert sent(work, "own")[0] == [{"own/__init__.py", "own/table.csv"}]
    assert sent(work, "data")[0] == [{"data/a.csv", "data/b.csv"}]
    assert sent(work, "d*")[0] == [{"data/a.csv", "data/b.csv"}]
    assert sent(work, "own/raw", "own/deep/sums.py", "data/b.txt")[0] == [
        {"own/raw/big.csv", "own/deep/sums.py", "data/b.txt"}
    ], "what is named in full goes along"
    with pytest.raises(UsageError, match=r"nothing in .* matches 'data/\*.txt'"):
        sent(work, "data/*.txt")


def test_git_is_asked_within_a_folder_alone(work):
    (work / ".gitignore").write_text("*.csv\ndata/\n")
    subprocess.run(["git", "init", "-q", work], check=True)
    assert sent(work, "own")[0] == [{"own/__init__.py", "own/deep/sums.py"}]
    assert sent(work, "own/table.csv", "data/*.csv")[0] == [{"own/table.csv", "data/a.csv", "data/b.csv"}]
    assert "data/sub/c.csv" in sent(work, "data")[0][0], "a folder that is named is not ignored itself"


def test_what_is_elsewhere_has_its_own_name_for_the_workers(work):
    files = {"common/__init__.py", "common/tools.py"}
    assert sent(work, "../common", "model.py")[0] == [{*files, "model.py"}]
    assert sent(work, str(work.parent / "common"))[0] == [files]
    assert sent(work, "../lone.py", "../common/*.py")[0] == [{"lone.py", "__init__.py", "tools.py"}]


def test_what_is_in_a_folder_that_is_imported_from_is_there(work):
    project, deep = work.parent, work / "own" / "deep"
    trees, places = sent(work, "../common", "own/deep/sums.py", folders=[work, project, deep])
    assert trees == [{"own/deep/sums.py"}, {"common/__init__.py", "common/tools.py", "work/own/deep/sums.py"}]
    assert places == {str(work): "0", str(project): "1", str(deep): "0/own/deep"}
    trees, places = sent(work, "../common", "../lone.py", folders=[work, project / "common", project / "none"])
    assert trees == [{"lone.py"}, {"__init__.py", "tools.py"}]
    assert places == {str(work): "0", str(project / "common"): "1"}
    trees, places = sent(work, "../common", folders=[work, project.parent])
    assert trees == [
        {"common/__init__.py", "common/tools.py"},
        {"project/common/__init__.py", "project/common/tools.py"},
    ]


@pytest.mark.parametrize("name", ["lib.zip", "../lib.zip"])
def test_an_archive_that_is_imported_from(work, name):
    (work / name).touch()
    archive = os.path.normpath(work / name)
    assert sent(work, name, folders=[work, archive])[1] == {str(work): "0", archive: "0/lib.zip"}


def test_two_of_one_name_are_refused(work):
    (work / "common").mkdir()
    with pytest.raises(UsageError, match=r"would both be common/__init__.py for the workers"):
        sent(work, "../common")
    sent(work, "../common", folders=[work.parent])
    (work.parent / "more").mkdir()
    (work.parent / "more" / "lone.py").touch()
    with pytest.raises(UsageError, match=r"would both be lone.py"):
        sent(work, "../lone.py", "../more/lone.py")


def test_links_are_followed_once(work):
    (work / "linked").symlink_to(work.parent / "common")
    (work / "own" / "loop").symlink_to(work)
    (work / "link.py").symlink_to(work / "model.py")
    assert sent(work, "linked", "link.py")[0] == [{"linked/__init__.py", "linked/tools.py", "link.py"}]
    assert "own/loop/model.py" in sent(work, "own")[0][0]
    assert not any("loop/own" in name for name in sent(work, "own")[0][0])
    here = work.parent / "short"
    here.symlink_to(work)
    assert sent(here, "model.py", folders=[work])[0] == [{"model.py"}]


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("modle.py", "there is no {work}/modle.py", "did you mean 'model.py'?"),
        ("nothing/at/all", "there is no {work}/nothing/at/all", "names are from the script's folder: {work}"),
        ("*.json", "nothing in {work} matches '*.json'", "finds nothing hidden"),
        (".e*", "nothing in {work} matches '.e*'", "finds nothing hidden"),
        ("venv/*.json", "nothing in {work} matches", ""),
        ("empty", "'empty' has no file to be sent", "it is {work}/empty"),
        ("model.py/", "'model.py/' is no folder", ""),
        ("pipe", "'pipe' is no file", ""),
        ("nowhere", "'nowhere' is a link to what is not there", ""),
        ("a**", "'a**' is no pattern", ""),
    ],
)
def test_a_name_that_stands_for_nothing(work, name, words, hint):
    (work / "empty").mkdir()
    (work / "nowhere").symlink_to("missing")
    os.mkfifo(work / "pipe")
    with pytest.raises(UsageError) as caught:
        named(["model.py", name], work, "file.toml:3: site.x.sync")
    assert words.format(work=work) in caught.value.message
    assert hint.format(work=work) in (caught.value.hint or "")
    assert caught.value.where == "file.toml:3: site.x.sync"


def test_the_limits_hold(work, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", 5)
    with pytest.raises(UsageError, match="too large to be sent") as caught:
        named(["model.py"], work, "here")
    assert "largest is model.py (0.0 MB in 1 files)" in caught.value.hint
    monkeypatch.setattr(sources, "LARGEST", 1 << 20)
    monkeypatch.setattr(sources, "MOST", 3)
    named(["data/*.*"], work, "here")
    with pytest.raises(UsageError, match="4 files, and at most 1 MiB and 3 files are"):
        named(["data"], work, "here")


def test_a_benchmark_has_no_script_that_names_are_from(work, monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    main.__file__ = str(work / "script.py")
    assert Code(["model.py"]).take([]) == {str(work): "code/0"}
    main.__file__ = within.__file__
    assert Code(["model.py"]).take([]) == {}
