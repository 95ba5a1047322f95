"""``pilotage cp``, with real files, real interrupts and a disk that is really full."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import jsonschema
import pytest

from pilotage.runs import shapes
from pilotage.worker.data import base
from pilotage.worker.data.files import Files
from program import PROGRAM
from stores.keeper import HARD_NAMES
from terminals import Terminal

MB = 1_000_000


def tree(folder):
    """Return what is below a folder: bytes, a link's target, or None for a folder."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(at, name)
            short = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[short] = os.readlink(path)
            elif os.path.isdir(path):
                found[short] = None
            else:
                with open(path, "rb") as file:
                    found[short] = file.read()
    return found


@pytest.fixture
def cp(pilotage, project):
    """Copy in this process; returns what was said."""

    def copy(*arguments, code=0, **more):
        done = pilotage.ask("cp", *arguments, **more)
        assert code is None or done.returncode == code, done
        return done

    return copy


@pytest.fixture
def far(monkeypatch):
    """Let ``far:`` and ``bare:`` be remote places, whose files are here; bare: keeps no links and no empty folders."""

    class Bare(Files):
        keeps_links = False

        def make_folder(self, path):
            pass

    monkeypatch.setattr("stores.files.Bare", Bare, raising=False)
    monkeypatch.setitem(base.STORES, "far", "pilotage.worker.data.files:Files")
    monkeypatch.setitem(base.STORES, "bare", "stores.files:Bare")
    monkeypatch.setattr("pilotage.worker.data.places.PATHS", frozenset({"file", "driver", "far", "bare"}))


def make_tree(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "file").write_bytes(b"1")
    (folder / "a" / "b" / "deep").write_bytes(b"22")
    (folder / "a" / "program").write_bytes(b"#!/bin/sh\n")
    (folder / "a" / "program").chmod(0o755)
    (folder / "a" / "link").symlink_to("../file")
    (folder / "out").symlink_to("/nowhere")
    return tree(folder)


# where a copy goes


def test_a_file(cp, project):
    (project / "one").write_bytes(b"x" * 100)
    done = cp("one", "new/er/two")
    assert (done.stdout, done.stderr) == ("", "")
    assert (project / "new/er/two").read_bytes() == b"x" * 100
    assert os.listdir("new/er") == ["two"]


def test_a_file_in_the_place_of_another(cp, project):
    (project / "one").write_bytes(b"new")
    (project / "two").write_bytes(b"old and longer")
    cp("one", "two")
    assert tree(project) == {"one": b"new", "two": b"new"}


@pytest.mark.parametrize("destination", ["there", "there/", "file:there", "file:///{}/there/", "new/"])
def test_a_file_into_a_folder(cp, project, destination):
    (project / "one").write_bytes(b"x")
    (project / "there").mkdir()
    cp("one", destination.format(project))
    assert (project / ("new" if "new" in destination else "there") / "one").read_bytes() == b"x"


def test_a_folder(cp, project):
    wanted = make_tree(project / "in")
    cp("in", "out")
    assert tree("out") == wanted
    assert os.access("out/a/program", os.X_OK)
    assert sorted(os.listdir()) == ["in", "out"]


@pytest.mark.parametrize("destination", ["there", "there/", "new/"])
def test_a_folder_into_a_folder(cp, project, destination):
    wanted = make_tree(project / "in")
    (project / "there").mkdir()
    cp("in/", destination)
    assert tree(project / destination / "in") == wanted


def test_a_folder_over_one_that_is_there(cp, project):
    wanted = make_tree(project / "in")
    (project / "to/in/a").mkdir(parents=True)
    (project / "to/in/file").write_bytes(b"old")
    (project / "to/in/a/other").write_bytes(b"stays")
    cp("in", "to")
    assert tree("to/in") == {**wanted, "a/other": b"stays"}
    assert os.listdir("to") == ["in"]


def test_what_is_in_a_folder(cp, project):
    wanted = make_tree(project / "in")
    (project / "to").mkdir()
    cp("in/.", "to")
    assert tree("to") == wanted


def test_several(cp, project):
    wanted = make_tree(project / "in")
    for name in HARD_NAMES:
        (project / name).write_bytes(name.encode())
    cp(*[f"./{name}" for name in HARD_NAMES], "in", "to/")
    names = {name: name.encode() for name in HARD_NAMES}
    assert tree("to") == {"in": None, **names, **{f"in/{name}": data for name, data in wanted.items()}}


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_are_taken_as_they_are(cp, project, name):
    (project / "in").mkdir()
    (project / "in" / name).write_bytes(b"x")
    cp(f"in/{name}", f"out/{name}/{name}")
    assert tree("out") == {name: None, f"{name}/{name}": b"x"}


def test_what_a_link_leads_to(cp, project):
    """As cp does: what is named is followed; the link stays, and what it leads to is replaced."""
    (project / "one").write_bytes(b"new")
    (project / "two").write_bytes(b"old")
    (project / "from").symlink_to("one")
    (project / "to").symlink_to("two")
    cp("from", "to")
    assert tree(project) == {"one": b"new", "two": b"new", "from": "one", "to": "two"}


def test_who_may_read_a_copy(cp, project):
    (project / "in").mkdir(mode=0o700)
    (project / "in/key").write_bytes(b"secret")
    (project / "in/key").chmod(0o600)
    cp("in", "out")
    assert [os.stat(one).st_mode & 0o777 for one in ("out", "out/key")] == [0o700, 0o600]


# from one remote place to another


def test_from_far_to_far(cp, project, far):
    wanted = make_tree(project / "in")
    cp(f"far:{project}/in", f"far:{project}/out")
    assert tree("out") == wanted
    assert os.access("out/a/program", os.X_OK)
    cp(f"far:{project}/in/file", f"far:{project}/new/")
    assert tree("new") == {"file": b"1"}


def test_from_far_to_what_keeps_no_links(cp, project, far):
    wanted = make_tree(project / "in")
    (project / "in/out").unlink()
    (project / "in/again").symlink_to("a/link")
    cp(f"far:{project}/in", f"bare:{project}/out")
    files = {name: data for name, data in wanted.items() if name not in ("out", "empty")}
    assert tree("out") == {**files, "a/link": b"1", "again": b"1"}


@pytest.mark.parametrize("link", ["/etc/passwd", "../secret", "nowhere", "a", "self"])
def test_no_link_is_followed_out_of_its_folder(cp, project, far, link):
    (project / "in/a").mkdir(parents=True)
    (project / "secret").write_bytes(b"secret")
    (project / "in/self").symlink_to(link)
    done = cp(f"far:{project}/in", f"bare:{project}/out", code=1)
    assert "self is a link to no file within the folder" in done.stderr
    assert not (project / "out").exists()


def test_nothing_is_left_on_the_disk_between(cp, project, far, tmp_path, monkeypatch):
    make_tree(project / "in")
    between = tmp_path / "between"
    between.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(between))
    seen = []
    put = Files.put

    def watched(self, source, path, entry, meter):
        seen.append(source)
        assert len([name for _, _, files in os.walk(between) for name in files]) <= Files.at_once
        put(self, source, path, entry, meter)

    monkeypatch.setattr(Files, "put", watched)
    cp(f"far:{project}/in", f"far:{project}/out")
    assert len(seen) == 3
    assert all(path.startswith(str(between)) for path in seen)
    assert os.listdir(between) == []


def test_what_has_no_room_on_the_disk_between(cp, project, far, monkeypatch):
    (project / "in").write_bytes(b"x" * 1000)
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=999))
    done = cp(f"far:{project}/in", f"far:{project}/out", code=1)
    assert "its 1,000 bytes have no room in" in done.stderr
    assert "TMPDIR=" in done.stderr
    assert sorted(os.listdir()) == ["in"]


# what is refused


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing", "to"], 1, "nothing: there is no such file or folder"),
        (["file", "nothing", "to/"], 1, "nothing: there is no such file or folder"),
        (["file", "file"], 2, "source and destination are the same"),
        (["file", "./folder/../file"], 2, "source and destination are the same"),
        (["file", "hard"], 2, "source and destination are the same"),
        (["file", "soft"], 2, "source and destination are the same"),
        (["file", "."], 2, "source and destination are the same"),
        (["folder", "."], 2, "source and destination are the same"),
        (["folder", "folder/new"], 2, "copied into itself"),
        (["folder", "folder"], 2, "copied into itself"),
        (["folder", "alias/new"], 2, "copied into itself"),
        ([".", "folder/new"], 2, "copied into itself"),
        (["file", "folder/file", "to/"], 2, "would both be to/file"),
        (["file", "folder", "new"], 2, "new is no folder"),
        (["file", "folder", "file"], 2, "file is no folder"),
        (["file", "full"], 1, "a folder is there"),
        (["folder", "file"], 1, "a file is there"),
        (["file", "file/new"], 1, "Not a directory"),
        (["file", "/dev/null"], 1, "it is no file and no folder"),
        (["/dev/null", "new"], 1, "it is no file and no folder"),
        (["file", ""], 2, "names no file"),
        (["", "file"], 2, "names no file"),
        (["s3:bucket/key", "new"], 2, "no // after its scheme"),
        (["s3://", "new"], 2, "names no host or bucket"),
        (["file", "--option", "s3", "new"], 2, "cannot read 's3'"),
        (["file", "--option", "s3.secret", "new"], 2, "cannot read 's3.secret'"),
        (["file", "--site", "nowhere", "new"], 2, "nowhere"),
        (["file"], 2, "Missing argument"),
    ],
)
def test_what_is_refused(cp, project, arguments, code, words):
    (project / "file").write_bytes(b"x")
    (project / "folder").mkdir()
    (project / "folder" / "file").write_bytes(b"y")
    (project / "full" / "file").mkdir(parents=True)
    os.link("file", "hard")
    os.symlink("file", "soft")
    os.symlink("folder", "alias")
    before = tree(project)
    done = cp(*arguments, code=code)
    assert words in done.stderr
    assert tree(project) == before, "nothing is changed"
    if code != 2 or "Missing" not in words:
        found = json.loads(cp(*arguments, "--json", code=code).stdout)
        assert found["exit_code"] == code


@pytest.mark.parametrize("folder", [False, True])
def test_a_destination_that_may_not_be_written(cp, project, folder):
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    make_tree(project / "in")
    (project / "locked").mkdir(mode=0o555)
    done = cp("in" if folder else "in/file", "locked/new", code=1)
    assert "it is not allowed" in done.stderr
    assert os.listdir("locked") == []


def test_a_destination_on_a_filesystem_that_is_not_written(cp, project):
    (project / "in").write_bytes(b"x")
    assert cp("in", "/proc/new", code=1).stderr.startswith("error: /proc/")


def test_a_link_that_is_there_is_not_written_through(cp, project, far):
    """A listing that first has a link and later a folder of its name would else write anywhere."""
    (project / "theirs").mkdir()
    (project / "to/in").mkdir(parents=True)
    (project / "to/in/a").symlink_to("../../theirs")
    (project / "in/a").mkdir(parents=True)
    (project / "in/a/key").write_bytes(b"x")
    done = cp(f"far:{project}/in", "to", code=1)
    assert "Not a directory" in done.stderr
    assert tree("theirs") == {}
    assert os.listdir("to") == ["in"], "nothing is left beside it"


# what is said


def test_json(cp, project):
    make_tree(project / "in")
    found = json.loads(cp("in", "in/file", "to/", "--json").stdout)
    jsonschema.validate(found, shapes.schema("cp"))
    assert found["copies"] == [
        {"source": "in", "destination": "to/in", "kind": "folder"},
        {"source": "in/file", "destination": "to/file", "kind": "file"},
    ]
    assert (found["bytes"], found["files"]) == (14, 4)
    assert found["rate"] > 0


def test_a_dry_run(cp, project):
    make_tree(project / "in")
    done = cp("-n", "in", "in/file", "to/")
    assert done.stdout == "in -> to/in\nin/file -> to/file\n"
    found = json.loads(cp("-n", "in", "to/", "--json").stdout)
    jsonschema.validate(found, shapes.schema("cp"))
    assert (found["bytes"], found["files"]) == (0, 0)
    assert not (project / "to").exists()


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://someone:hunter2@127.0.0.1:1/data.bin", "hunter2"),
        ("https://127.0.0.1:1/data.bin?X-Amz-Signature=hunter2", "hunter2"),
        ("ssh://someone:hunter2@127.0.0.1:1/data.bin", "hunter2"),
        ("nothing-like-it://someone:hunter2@somewhere/data.bin", "hunter2"),
    ],
)
def test_no_secret_of_a_url_is_shown(cp, project, url, secret, monkeypatch):
    monkeypatch.setattr("pilotage.worker.data.copying.PAUSE", 0)
    if not _has(url.partition(":")[0]):
        pytest.skip("there is no such store yet")
    for arguments in ((url, "new"), ("--json", url, "new"), (url, url, "new/")):
        done = cp(*arguments, code=None)
        assert done.returncode in (1, 2)
        assert secret not in done.stdout + done.stderr
        assert "127.0.0.1" in done.stderr or "somewhere" in done.stderr
    assert os.listdir() == []


def _has(scheme):
    import importlib.util

    return importlib.util.find_spec(base.STORES.get(scheme, base.OTHERS).partition(":")[0]) is not None


def test_what_a_site_says_reaches_the_store(cp, project, user_file, monkeypatch):
    """The option of the command line is the stronger one."""
    seen = []

    class Told(Files):
        def __init__(self, place, options):
            seen.append((place.scheme, dict(options)))

    monkeypatch.setattr("stores.files.Told", Told, raising=False)
    monkeypatch.setitem(base.STORES, "s3", "stores.files:Told")
    user_file('[site.lab]\nextends = "slurm"\n[site.lab.staging.s3]\nprofile = "lab"\nregion = "here"\n')
    cp("--site", "lab", "--option", "s3.region=there", "--option", "s3a.silence=5", "s3://bucket/key", "new", code=1)
    assert seen == [("s3", {"profile": "lab", "region": "there", "silence": 5})]


def test_completion(pilotage):
    def ask(line):
        words = line.split(" ")
        env = {"_PILOTAGE_COMPLETE": "bash_complete", "COMP_WORDS": f"pilotage {line}", "COMP_CWORD": str(len(words))}
        return pilotage(env=env).stdout.split()

    assert ask("cp da") == ["file,da"]
    assert ask("cp one s3://bu") == []
    assert "plain,--dry-run" in ask("cp --d")


def test_a_bar_on_a_terminal(pilotage, project):
    (project / "in").write_bytes(b"x" * (3 * MB))
    terminal = Terminal([PROGRAM, "cp", "in", "out"], pilotage.env(TERM="xterm", COLUMNS="100"))
    assert terminal.finish() == 0
    assert "3.0/3.0 MB" in terminal.text()
    assert "1/1 files" in terminal.text()
    terminal = Terminal([PROGRAM, "cp", "-q", "in", "again"], pilotage.env(TERM="xterm"))
    assert (terminal.finish(), terminal.text()) == (0, "")


# what breaks off


@pytest.fixture
def slow(pilotage, project):
    """Start a copy that takes minutes; it waits between two pieces."""
    script = project / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pilotage.cli import main\n"
        "from pilotage.worker.data import files\n"
        "files.PIECE = 1 << 20\n"
        "add = files.Meter.add\n"
        "def slowly(self, count, files=0):\n"
        "    add(self, count, files)\n"
        "    if count > 0:\n"
        "        time.sleep(0.05)\n"
        "files.Meter.add = slowly\n"
        "sys.argv[0] = 'pilotage'\n"
        "main()\n"
    )

    def start(*arguments, **more):
        return subprocess.Popen(
            [sys.executable, script, "cp", *arguments],
            env=pilotage.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    return start


def large(path):
    """Make a file of 100 MB."""
    path.touch()
    os.truncate(path, 100 * MB)


def begun(folder):
    """Wait until something has come under a name that nobody looks for."""
    end = time.monotonic() + 30
    while not any(".part" in at + name for at, _, files in os.walk(folder) for name in files):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("folder", [False, True])
def test_what_breaks_off_leaves_nothing(slow, project, folder, number):
    (project / "in").mkdir()
    for name in "abcdef":
        large(project / "in" / name)
    (project / "to").mkdir()
    copying = slow("in" if folder else "in/a", "to")
    try:
        begun("to")
        copying.send_signal(number)
        said = copying.communicate(timeout=30)
    finally:
        copying.kill()
        copying.wait()
    assert copying.returncode == 128 + number
    assert said == ("", "")
    assert os.listdir("to") == []


def test_an_impatient_ctrl_c_breaks_off_no_tidying(slow, project):
    (project / "in").mkdir()
    for number in range(2000):
        (project / "in" / f"a{number}").write_bytes(b"")
    large(project / "in/z")
    (project / "to").mkdir()
    copying = slow("in", "to")
    try:
        begun("to")
        while len([name for _, _, files in os.walk("to") for name in files]) < 1000:
            time.sleep(0.01)
        for _ in range(5):
            copying.send_signal(signal.SIGINT)
            time.sleep(0.005)
        copying.communicate(timeout=30)
    finally:
        copying.kill()
        copying.wait()
    assert copying.returncode in (130, -signal.SIGINT), "the latter where Python itself was ending already"
    assert os.listdir("to") == []


def test_what_nohup_runs_goes_on(slow, project):
    (project / "in").write_bytes(b"x" * (20 * MB))
    (project / "to").mkdir()
    copying = slow("in", "to", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    begun("to")
    copying.send_signal(signal.SIGHUP)
    copying.communicate(timeout=60)
    assert copying.returncode == 0
    assert os.path.getsize("to/in") == 20 * MB


def full(folder, *arguments, env):
    """Copy with a disk of 8 MB at ``folder``; returns what was done, and what is there afterwards."""
    script = f'mount -t tmpfs -o size=8m tmpfs "{folder}" && {{ "$@"; code=$?; ls -A "{folder}"; exit $code; }}'
    argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *arguments]
    return subprocess.run([str(one) for one in argv], env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("folder", [False, True])
def test_a_full_disk(pilotage, project, folder):
    (project / "in").mkdir()
    (project / "in/small").write_bytes(b"x" * MB)
    (project / "in/large").write_bytes(b"x" * (20 * MB))
    (project / "disk").mkdir()
    if full(project / "disk", "true", env=pilotage.env()).returncode:
        pytest.skip("no filesystem may be mounted here")
    done = full(project / "disk", PROGRAM, "cp", "in" if folder else "in/large", "disk", env=pilotage.env())
    assert (done.returncode, done.stdout) == (1, ""), "nothing is there"
    assert "No space left on device" in done.stderr
    assert "disk/" in done.stderr


def test_a_file_that_may_not_be_so_large(pilotage, project):
    (project / "in").write_bytes(b"x" * (5 * MB))
    limit = (2 * MB, 2 * MB)
    done = subprocess.run(
        [PROGRAM, "cp", "in", "out"],
        env=pilotage.env(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert os.listdir() == ["in"]


def test_two_at_once_to_one_place(cp, project):
    """Whoever is last is there, whole; of two folders all is."""
    for name in "ab":
        (project / name / "sub").mkdir(parents=True)
        (project / name / "file").write_bytes(name.encode() * (5 * MB))
        (project / name / "sub" / name).write_bytes(b"")

    from pilotage.staging.copying import planned

    for what, where in (("/file", "file"), ("", "all")):
        barrier, errors = threading.Barrier(2), []

        def copy(name, what=what, where=where, barrier=barrier, errors=errors):
            try:
                with planned([f"{name}{what}"], where) as job:
                    barrier.wait(20)
                    job.run()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=copy, args=name) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
    found = tree("all")
    wanted = (b"a" * (5 * MB), b"b" * (5 * MB))
    with open("file", "rb") as file:
        assert file.read() in wanted
    assert found.pop("file") in wanted
    assert found == {"sub": None, "sub/a": b"", "sub/b": b""}
    assert sorted(os.listdir()) == ["a", "all", "b", "file"]
