"""The script's own modules on a host that does not see its folder, over a real sshd."""

import os
import subprocess
import sys
import threading

import pytest

from pilotage.environments import code as room
from pilotage.environments.code import Code
from pilotage.environments.snapshot import Snapshot
from pilotage.errors import HostError, UsageError
from pilotage.events import Events
from pilotage.hosts.far import FarFolder

POOL = """
[site.pool]
scheduler = "ssh"
hosts = ["far"]
python = "{python}"
run_folder = "{there}"
max_workers_per_node = 1
"""
SCRIPT = """
import parsl
from own.deep.sums import double

@parsl.python_app
def where(number):
    import own.deep.sums
    return double(number), own.deep.sums.__file__

with parsl.load():
    print(*where(21).result())
"""


def package(folder, text="def double(number):\n    return 2 * number\n"):
    (folder / "own" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "own" / "__init__.py").touch()
    (folder / "own" / "deep" / "__init__.py").touch()
    (folder / "own" / "deep" / "sums.py").write_text(text)


@pytest.fixture
def work(tmp_path):
    """A folder with a script and a package of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    package(folder)
    return folder


def run(pilotage, *words):
    return pilotage("run", "--site", "pool", *words)


def sent(private_home):
    """What the newest run has told of the code."""
    newest = sorted((private_home / "state" / "runs").glob("2*"))[-1]
    return [one["detail"] for one in Events(newest / "events.jsonl").read()[0] if one["kind"] == "code"]


@pytest.fixture
def pool(server, user_file, tmp_path):
    there = tmp_path / "there"
    user_file(POOL.format(python=sys.executable, there=there))
    yield there
    assert [path.name for path in there.glob("*")] in ([], ["code"]), "a run's folder is left on the host"


def test_a_pool_imports_the_scripts_package(pool, pilotage, work, private_home):
    done = run(pilotage, work / "script.py")
    assert done.returncode == 0, done.stderr
    number, file = done.stdout.split()
    assert number == "42"
    assert file.startswith(f"{pool}/")
    (first,) = sent(private_home)
    assert first["files"] == 3  # two of the four are alike: empty
    assert first["bytes"] == sum(path.stat().st_size for path in work.rglob("*.py"))

    assert run(pilotage, work / "script.py").stdout.split()[0] == "42"
    (again,) = sent(private_home)
    assert (again["files"], again["bytes"], again["path"]) == (0, 0, first["path"])

    package(work, "def double(number):\n    return 2 * number + 1\n")
    assert run(pilotage, work / "script.py").stdout.split()[0] == "43"
    (changed,) = sent(private_home)
    assert changed["files"] == 1
    assert changed["path"] != first["path"]


@pytest.mark.parametrize("how", [["--no-sync"], ["--set", "sync=false"]])
def test_without_it_workers_look_where_the_script_is(pool, pilotage, work, private_home, how):
    """They find it here, since that host is this one; what becomes of it elsewhere the clusters' tests show."""
    done = run(pilotage, *how, work / "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1].startswith(f"{work}/")
    assert sent(private_home) == []
    assert not (pool / "code").exists()


def test_what_is_large_is_told_and_left_out_by_a_line(pool, pilotage, work, private_home):
    (work / "data").mkdir()
    with (work / "data" / "big.bin").open("wb") as file:
        file.truncate(200 << 20)
    done = run(pilotage, work / "script.py")
    assert done.returncode == 2
    assert "the script's folder is too large" in done.stderr
    assert "largest is data/ (209.7 MB in 1 files)" in done.stderr, done.stderr
    assert "--no-sync" in done.stderr
    assert not (pool / "code").exists()
    (work / ".pilotageignore").write_text("data/\n")
    done = run(pilotage, work / "script.py")
    assert done.returncode == 0, done.stderr
    (told,) = sent(private_home)
    assert told["bytes"] < 10_000
    assert not list(pool.rglob("big.bin"))


NAMED = """
import parsl

@parsl.python_app
def look(name):
    import importlib, os
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return str(error)
    return module.NAME, sorted(set(os.listdir(os.path.dirname(module.__file__))) - {"__pycache__"})

with parsl.load():
    for name in ("model", "other", "common.tools"):
        print(look(name).result())
"""


@pytest.fixture
def beside(tmp_path):
    """A script with modules, of which not all are to travel; one package is beside its folder."""
    folder = tmp_path / "project" / "work"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "project" / "common").mkdir()
    (folder / "script.py").write_text(NAMED)
    for name in ("model.py", "other.py", "../common/tools.py"):
        (folder / name).write_text(f"NAME = {os.path.basename(name)!r}\n")
    (folder / "data" / "a.csv").touch()
    with (folder / "data" / "big.bin").open("wb") as file:
        file.truncate(200 << 20)
    return folder


def test_just_what_is_named_travels(pool, pilotage, beside, private_home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(beside.parent.parent))  # there it is project.common
    names = 'sync=["model.py", "../common/", "data/*.csv"]'
    done = run(pilotage, "--set", names, beside / "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "('model.py', ['common', 'data', 'model.py'])",
        "No module named 'other'",
        "('tools.py', ['tools.py'])",
    ]
    (told,) = sent(private_home)
    assert told["files"] == 3
    assert not list(pool.rglob("big.bin"))


def test_names_of_a_command_are_from_its_folder_and_stay_for_a_resume(pool, pilotage, beside, monkeypatch):
    monkeypatch.chdir(beside.parent)
    done = run(pilotage, "--sync", "work/model.py", "--sync", "work/d*/*.csv", "--sync", "common", "work/script.py")
    assert done.returncode == 0, done.stderr
    expected = ["('model.py', ['common', 'data', 'model.py'])", "No module named 'other'", "('tools.py', ['tools.py'])"]
    assert done.stdout.splitlines() == expected
    (beside / "model.py").write_text("NAME = 'changed'\n")
    done = pilotage("resume", "@last", "--ignore-changes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected, "its results are reused"
    (beside / "model.py").unlink()
    done = pilotage("resume", "@last")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no {beside}/model.py" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", 'sync=["modle.py"]'], "--set: site.pool.sync: there is no {work}/modle.py\n\nhint: did you mean"),
        (["--sync", "{work}/modle.py"], "--sync: there is no {work}/modle.py\n\nhint: did you mean 'model.py'?"),
        (["--sync", "{work}/*.json"], "--sync: nothing in {work} matches"),
        (["--sync", "{work}/data"], "--sync: what is named is too large"),
        (["--set", "sync=model.py"], "expected true, false, or a list of paths such as [\"model.py\"], got 'model.py'"),
        (["--set", "sync=[]"], "the list names nothing: sync = false sends nothing"),
        (["--sync", "{work}/model.py", "--no-sync"], "--sync names what is sent, and --no-sync sends nothing"),
    ],
)
def test_what_cannot_be_sent_is_said_before_anything_is(pool, pilotage, beside, private_home, words, said):
    done = run(pilotage, *(word.format(work=beside) for word in words), beside / "script.py")
    assert done.returncode == 2
    assert said.format(work=beside) in done.stderr
    assert not pool.exists()
    assert not (private_home / "state" / "runs").exists() or not list((private_home / "state" / "runs").glob("2*"))


def test_a_site_file_says_where_the_name_is(pool, pilotage, user_file, beside):
    place = user_file(POOL.format(python=sys.executable, there=pool) + 'sync = ["model.py", "nothing"]\n')
    done = run(pilotage, beside / "script.py")
    assert done.returncode == 2
    assert "8: site.pool.sync: there is no" in done.stderr, (place, done.stderr)


@pytest.mark.slow
def test_a_check_has_no_script_that_names_are_from(pool, pilotage, user_file):
    user_file(POOL.format(python=sys.executable, there=pool) + 'sync = ["model.py"]\n')
    done = pilotage("check", "pool", "--submit", timeout=200)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "model.py" not in done.stdout + done.stderr
    assert not (pool / "code").exists()


def test_names_are_for_sites_that_are_elsewhere(pilotage, beside):
    done = pilotage("run", "--site", "threads", "--sync", beside / "model.py", beside / "script.py")
    assert done.returncode == 2
    assert "--sync is for sites reached by SSH" in done.stderr


@pytest.fixture
def folder_there(server, tmp_path, private_home):
    """Make folders of runs on the host; each is removed in the end."""
    made = []

    def make(base=tmp_path / "there"):
        host = room_host()
        folder = FarFolder(host, str(base), f"number{len(made)}")
        folder.begin(tmp_path / "here")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        folder.end()


def room_host():
    from pilotage.hosts import openssh

    return openssh.host("far")


def taken(work):
    code = Code()
    assert code.take([str(work)]) == {str(work): "code/0"}
    return code


def trees(base):
    return sorted(path.name for path in (base / "code").iterdir() if path.name != "files")


def test_ten_at_once_leave_one_copy(folder_there, work, tmp_path, monkeypatch):
    folders = [folder_there() for _ in range(10)]
    made = []
    monkeypatch.setattr(room, "_make", lambda *words, really=room._make: (made.append(1), really(*words))[1])
    threads = [threading.Thread(target=taken(work).send, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(trees(tmp_path / "there")) == 1
    for folder in folders:
        link = tmp_path / "there" / os.path.basename(folder.there) / "code"
        assert (link / "0" / "own" / "deep" / "sums.py").read_text().startswith("def double")


def test_nobody_else_may_read_it_and_nobody_may_write_to_what_is_shared(folder_there, work, tmp_path):
    (work / "tool.sh").write_text("#!/bin/sh\n")
    (work / "tool.sh").chmod(0o755)
    folder = folder_there()
    taken(work).send(folder)
    top = tmp_path / "there" / "code"
    assert top.stat().st_mode & 0o777 == 0o700
    (tree,) = trees(tmp_path / "there")
    assert (top / tree / "0" / "script.py").stat().st_mode & 0o777 == 0o400
    assert (top / tree / "0" / "tool.sh").stat().st_mode & 0o777 == 0o500


def test_one_that_was_cut_off_is_not_used_and_the_next_makes_it_whole(folder_there, work, tmp_path, monkeypatch):
    folder, code = folder_there(), taken(work)
    really = Snapshot.archive
    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "archive", lambda *words: really(*words)[:3000])
        with pytest.raises(HostError, match="cannot be written"):
            code.send(folder)
    assert trees(tmp_path / "there") == []
    assert not os.path.lexists(f"{folder.there}/code")
    code.send(folder)
    assert len(trees(tmp_path / "there")) == 1
    assert os.path.exists(f"{folder.there}/code/0/own/deep/sums.py")


@pytest.fixture
def small(tmp_path):
    """A small file system, which must be there before the sshd is: that has its own mounts."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system needs a mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_and_leaves_nothing_half_made(small, folder_there, work):
    (work / "own" / "large.bin").write_bytes(os.urandom(1 << 20))
    folder = folder_there(small)
    with pytest.raises(HostError, match="No space left on device") as caught:
        taken(work).send(folder)
    assert "run_folder" in caught.value.hint
    assert trees(small) == []
    assert list((small / "code" / "files").iterdir()) == []
    (work / "own" / "large.bin").unlink()
    taken(work).send(folder)
    assert len(trees(small)) == 1


def test_what_no_run_uses_goes_after_days(folder_there, work, tmp_path):
    one, other = folder_there(), folder_there()
    taken(work).send(one)
    (old,) = trees(tmp_path / "there")
    package(work, "def double(number):\n    return 0\n")
    code = tmp_path / "there" / "code"
    for path in (code / old, *(code / "files").iterdir()):
        os.utime(path, (1, 1))
    taken(work).send(other)
    assert old in trees(tmp_path / "there"), "a run that goes on uses it"
    one.end()
    os.utime(code / old, (1, 1))
    third = folder_there()
    taken(work).send(third)
    assert old not in trees(tmp_path / "there")
    for path in (code / "files").iterdir():
        assert path.stat().st_nlink > 1 or path.stat().st_mtime > 1


def test_a_file_that_is_gone_there_is_sent_again(folder_there, work, tmp_path, monkeypatch):
    """It is removed by another machine's run, between our question and what we send."""
    folder = folder_there()
    taken(work).send(folder)
    package(work, "def double(number):\n    return 0\n")
    files = tmp_path / "there" / "code" / "files"
    made = []

    def make(*words, really=room._make):
        if not made:
            for path in files.iterdir():
                path.unlink()
        made.append(list(words[-1]))
        return really(*words)

    monkeypatch.setattr(room, "_make", make)
    taken(work).send(folder)
    assert [len(names) for names in made] == [1, 3]
    assert os.path.exists(f"{folder.there}/code/0/own/__init__.py")


def test_only_what_a_worker_may_need_is_taken(tmp_path, private_home):
    from pilotage.environments.sources import sources

    top = tmp_path / "top"
    package(top)
    for name in (
        ".env",
        ".ssh/id",
        "venv/pyvenv.cfg",
        "venv/lib/a.py",
        "own/__pycache__/a.pyc",
        "own/table.csv",
        "x/y/z",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("1")
    (top / "loop").symlink_to(top)
    (top / "nowhere").symlink_to(top / "missing")
    (top / "linked").symlink_to(top / "x")
    (top / ".pilotageignore").write_text("# none\nx/y/*\n*.log\n")
    (top / "a.log").touch()
    always = {"own/__init__.py", "own/deep/__init__.py", "own/deep/sums.py", "own/table.csv"}
    assert set(sources(top)) == always | {"linked/y/z"}
    (top / ".gitignore").write_text("*.csv\nlinked\n")
    subprocess.run(["git", "init", "-q", top], check=True)
    assert set(sources(top)) == always - {"own/table.csv"}
    assert set(sources(top / "own")) == {"__init__.py", "deep/__init__.py", "deep/sums.py"}


def test_a_script_without_modules_sends_nothing(tmp_path, private_home):
    from pilotage.environments.sources import sources

    (tmp_path / "script.py").touch()
    (tmp_path / "data.csv").touch()
    assert sources(tmp_path, tmp_path / "script.py") == {}
    assert set(sources(tmp_path)) == {"script.py", "data.csv"}


def test_a_pattern_that_is_not_known(tmp_path):
    from pilotage.environments.ignoring import Ignored

    with pytest.raises(UsageError, match="takes back"):
        Ignored(["*.csv", "!a.csv"])


def installed(folder, source, name="thing", link=None):
    """Make what an installer leaves of an editable install in a folder."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "RECORD").write_text(f"_{name}.pth,,\n{name}-1.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}')
    (folder / f"_{name}.pth").write_text(f"{link or source}\n")


THING = """
import parsl

@parsl.python_app
def where():
    import thing
    return thing.__file__

with parsl.load():
    print(where().result())
"""


@pytest.mark.parametrize("way", ["path", "finder"])
def test_an_editable_install_is_carried(pool, pilotage, work, tmp_path, monkeypatch, way):
    """On PYTHONPATH its .pth is not read: without what is sent nobody can import it."""
    source, packages = tmp_path / "project" / "src", tmp_path / "packages"
    (source / "thing").mkdir(parents=True)
    (source / "thing" / "__init__.py").touch()
    if way == "path":
        installed(packages, source)
    else:
        name = "__editable___thing_1_finder"
        installed(packages, source, link=f"import {name}; {name}.install()")
        (packages / f"{name}.py").write_text(f"MAPPING = {{'thing': '{source}/thing'}}\n")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    (work / "script.py").write_text(THING)
    done = run(pilotage, work / "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{pool}/")
    assert done.stdout.endswith("/thing/__init__.py\n")
    assert "ModuleNotFoundError" in run(pilotage, "--no-sync", work / "script.py").stderr


def test_a_large_editable_install_is_told(tmp_path, monkeypatch, private_home):
    source, packages = tmp_path / "src", tmp_path / "packages"
    source.mkdir()
    (source / "thing.py").touch()
    with (source / "big.bin").open("wb") as file:
        file.truncate(200 << 20)
    installed(packages, source)
    monkeypatch.syspath_prepend(packages)
    told = []
    monkeypatch.setattr("pilotage.events.tell", lambda kind, words, *_, **more: told.append((kind, more)))
    assert Code().take([]) == {}
    assert told == [("code-left", {"package": "thing"})]


def test_a_run_says_that_the_disk_there_is_full(small, server, user_file, pilotage, work):
    user_file(POOL.format(python=sys.executable, there=small))
    (work / "own" / "large.bin").write_bytes(os.urandom(1 << 20))
    done = run(pilotage, work / "script.py")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr, done.stderr
    assert trees(small) == []


def test_a_home_with_more_files_than_are_looked_at(tmp_path, private_home, monkeypatch):
    from pilotage.environments import sources

    monkeypatch.setattr(sources, "MOST", 10)
    for number in range(40):
        (tmp_path / f"{number}.txt").touch()
    assert sources.sources(tmp_path) == {}
    (tmp_path / "script.py").touch()
    assert sources.sources(tmp_path, tmp_path / "script.py") == {}
    (tmp_path / "zz.py").touch()
    with pytest.raises(UsageError, match="too large"):
        sources.sources(tmp_path)
