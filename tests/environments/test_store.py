"""The environments of one host, here and over a real sshd, with a recipe that builds nearly nothing."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from hosts.sshd import Sshd, reason
from pilotage.environments import scripts
from pilotage.environments.recipe import Recipe
from pilotage.environments.store import PART, Store
from pilotage.errors import BuildError, StorageError
from pilotage.hosts.local import LocalHost
from pilotage.hosts.openssh import OpenSSHHost

BUILD = f"""
set -e; mkdir bin; echo one >> "$2/../builds"; cp -- "$2/word" word
printf '#!/bin/sh\\nexec %s "$@"\\n' {shlex.quote(sys.executable)} > bin/python; chmod +x bin/python
"""


@pytest.fixture(scope="module")
def far_host(tmp_path_factory):
    if why := reason():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("sshd")
    server = Sshd(folder / "it")
    server.start()
    sockets = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    host = OpenSSHHost("far", server.options, sockets)
    yield host
    host.close()
    server.stop()
    sockets.rmdir()


@pytest.fixture(params=["here", "far"])
def store(request, tmp_path, private_home):
    host = LocalHost() if request.param == "here" else request.getfixturevalue("far_host")
    made = Store(host, f"{tmp_path}/an 'odd' place/environments", f"{tmp_path}/runs")
    yield made
    made.release()


@pytest.fixture
def recipe(tmp_path):
    word = tmp_path / "word of mine"
    word.write_text("a word")
    expected = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "parsl": metadata.version("parsl")}
    return Recipe("toy", "a toy", {"word": "a word"}, {"word": word}, BUILD, expected=expected)


def builds(store):
    try:
        return len((Path(store.base) / "builds").read_text().split())
    except FileNotFoundError:
        return 0


def test_it_is_built_once_and_found_again(store, recipe, tmp_path):
    said = []
    assert not store.has(recipe)
    path = store.ensure(recipe, say=said.append)
    assert path == f"{store.base}/{recipe.digest}"
    assert (Path(path) / "word").read_text() == "a word"
    assert said == ["sending 1 files, 0 of 0 MB", "building a toy"]
    assert store.has(recipe)
    said.clear()
    assert store.ensure(recipe, say=said.append) == path
    assert (said, builds(store)) == ([], 1)
    assert subprocess.check_output([*recipe.start(path), "-c", "print(3)"], text=True) == "3\n"
    mark = json.loads((Path(path) / ".pilotage.json").read_text())
    assert (mark["kind"], mark["title"], mark["expected"]) == ("toy", "a toy", recipe.expected)
    assert (Path(path).stat().st_mode & 0o777, Path(store.base).stat().st_mode & 0o777) == (0o700, 0o700)


def test_what_decides_is_the_content(recipe, tmp_path):
    assert replace(recipe, title="other words").digest == recipe.digest
    assert replace(recipe, content={"word": "another"}).digest != recipe.digest
    assert replace(recipe, build=BUILD + ":\n").digest != recipe.digest


def test_a_large_file_is_sent_in_parts(store, recipe, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(2 * PART + 17))
    said = []
    whole = replace(recipe, files={**recipe.files, "large": large}, build=BUILD + 'cp -- "$2/large" large\n')
    path = store.ensure(whole, say=said.append)
    assert (Path(path) / "large").read_bytes() == large.read_bytes()
    assert [words for words in said if words.startswith("sending")][-1] == "sending 2 files, 34 of 34 MB"
    store.ensure(replace(whole, content={"word": "another"}), say=said.append)  # nothing is sent again
    assert len([words for words in said if words.startswith("sending")]) == 4


def test_a_build_may_be_longer_than_an_argument(store, recipe):
    """One with 850 URLs of conda's packages is: 128 KiB is what Linux takes."""
    lines = "".join(
        f"https://conda.example/channel/noarch/package-{number}-1.0-py_0.conda#é\n" for number in range(5000)
    )
    long = replace(recipe, build=f"{BUILD}cat > lines <<'END'\n{lines}END\n")
    assert len(long.build.encode()) > 256 << 10
    path = store.ensure(long)
    assert (Path(path) / "lines").read_text() == lines
    assert [one.name for one in Path(store.base).glob(".*.files")] == []


def test_a_build_that_has_not_come_whole_is_not_begun(store, recipe, monkeypatch):
    run = store.host.run

    def cut_off(argv, **options):
        stdin = options.get("stdin", b"")
        return run(argv, **{**options, "stdin": stdin[:-9] if stdin.endswith(BUILD.encode()) else stdin})

    monkeypatch.setattr(store.host, "run", cut_off)
    with pytest.raises(BuildError, match="what was sent has not come whole"):
        store.ensure(recipe)
    assert (builds(store), store.kept()) == (0, [])


def test_ten_that_ask_at_once_are_one_build(store, recipe):
    slow = replace(recipe, build="sleep 1\n" + BUILD)
    stores = [Store(store.host, store.base, store.runs) for _ in range(10)]
    found = []
    threads = [threading.Thread(target=lambda one=one: found.append(one.ensure(slow))) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in stores:
        one.release()
    assert (set(found), len(found), builds(store)) == ({store.path(slow)}, 10, 1)


def test_those_of_other_machines_wait_for_the_lock_there(store, recipe, monkeypatch, tmp_path):
    slow = replace(recipe, build="sleep 1\n" + BUILD)
    store.ensure(recipe)  # its file is there
    found = []

    def ask(number):
        own = Store(store.host, store.base)
        own._build(slow, {"word": store_digest(store)}, "")
        found.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), builds(store)) == (3, 2)


def store_digest(store):
    return next(path.name for path in (Path(store.base) / "files").iterdir())


@pytest.mark.parametrize("who", ["the script", "its shell"])
def test_a_builder_killed_half_way_is_begun_anew(store, recipe, who, tmp_path):
    pidfile = tmp_path / "pid"
    first = f"if [ ! -e {pidfile} ]; then mkdir bin; echo half > bin/python; echo $$ $PPID > {pidfile}; sleep 60; fi\n"
    slow = replace(recipe, build=first + "rmdir bin 2>/dev/null; " + BUILD)
    errors = []

    def ensure():
        try:
            store.ensure(slow)
        except BuildError as error:
            errors.append(error)

    thread = threading.Thread(target=ensure)
    thread.start()
    while not (pidfile.exists() and pidfile.read_text().strip()):
        time.sleep(0.05)
    own, above = map(int, pidfile.read_text().split())
    children = [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]
    for pid in [above, own, *children] if who == "its shell" else [own, *children]:
        os.kill(pid, signal.SIGKILL)
    thread.join()
    assert errors
    assert not store.has(slow)
    path = store.ensure(slow)
    assert (Path(path) / "bin" / "python").read_text().startswith("#!")
    assert store.verify(slow) is None


def test_a_build_that_fails_leaves_nothing_and_says_why(store, recipe):
    broken = replace(recipe, build=BUILD + "echo a long story; echo the last word of it >&2; exit 3\n")
    with pytest.raises(BuildError, match="a toy cannot be built: the last word of it") as caught:
        store.ensure(broken)
    assert caught.value.hint == f"its log is there: {store.base}/.{broken.digest}.log"
    assert not Path(store.path(broken)).exists()
    assert "a long story" in (Path(store.base) / f".{broken.digest}.log").read_text()


def test_a_file_that_was_damaged_there_is_told_and_sent_again(store, recipe):
    broken = replace(recipe, build='grep -q "^a word$" "$2/word" || { echo "no word" >&2; exit 1; }\n' + BUILD)
    other = replace(recipe, content={"word": "another"})
    store.ensure(other)
    (file,) = (Path(store.base) / "files").iterdir()
    file.chmod(0o600)
    file.write_text("a w")
    with pytest.raises(BuildError, match="files were damaged there after they were sent, and are removed: try again"):
        store.ensure(broken)
    assert not list((Path(store.base) / "files").iterdir())
    store.ensure(broken)


def test_files_are_copied_where_none_can_be_linked(store, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts, "BUILD", "ln() { return 1; }\n" + scripts.BUILD)
    assert (Path(store.ensure(recipe)) / "word").read_text() == "a word"


@pytest.mark.parametrize("mark", [b"", b"[1]", b"[", b"\x0b\x85\xff\r\x1c 1 2\n{", b'{"kind": 3}'])
def test_a_mark_that_says_nothing_is_no_error(store, recipe, mark):
    (Path(store.ensure(recipe)) / ".pilotage.json").write_bytes(mark)
    (one,) = store.kept()
    assert one.digest == recipe.digest
    store.release()
    assert store.remove(one.digest) == "removed"


@pytest.mark.parametrize("link", [False, True], ids=["gone", "a link to nothing"])
def test_one_whose_python_is_gone_is_made_again(store, recipe, link):
    python = Path(store.ensure(recipe)) / "bin" / "python"
    python.unlink()
    if link:  # as a virtual environment's whose Python the system has replaced
        python.symlink_to("/nowhere/python3.11")
    assert not store.has(recipe)
    store.ensure(recipe)
    assert (store.has(recipe), builds(store), store.verify(recipe)) == (True, 2, None)


def test_what_is_not_as_expected_is_not_used(store, recipe):
    other = replace(recipe, expected={**recipe.expected, "parsl": "1.2.3", "nothing-of-it": "4"})
    with pytest.raises(BuildError, match=r"nothing-of-it is not there and not 4; parsl is \S+ and not 1.2.3"):
        store.ensure(other)
    assert not Path(store.path(other)).exists()


def test_what_somebody_removes_from_it_is_seen_and_it_is_made_anew(store, recipe, tmp_path):
    packages = "mkdir -p lib/python3.11/site-packages/__pycache__; touch lib/python3.11/site-packages/far_thing.py; "
    whole = replace(recipe, build=packages + "mkdir conda-meta; touch 'conda-meta/a package.json'; " + BUILD)
    path = Path(store.ensure(whole))
    assert store.gone(whole) == ""
    (path / "lib/python3.11/site-packages/__pycache__").rmdir()
    assert store.ensure(whole) == str(path)
    assert builds(store) == 1
    (path / "lib/python3.11/site-packages/far_thing.py").unlink()
    (path / "conda-meta/a package.json").unlink()
    assert store.verify(whole) == "it has no a package.json, far_thing.py any more"
    run = tmp_path / "runs" / "a-run"
    run.mkdir(parents=True)
    (run / "environment").symlink_to(path)
    with pytest.raises(BuildError, match=r"a toy has no a package.json, far_thing.py any more, and used by a-run"):
        store.ensure(whole)
    (run / "environment").unlink()
    said = []
    assert store.ensure(whole, say=said.append) == str(path)
    assert said[0] == "the environment of a toy has no a package.json, far_thing.py any more: it is made anew"
    assert (builds(store), store.gone(whole), store.verify(whole)) == (2, "", None)


def test_what_a_run_links_to_stays(store, recipe, tmp_path):
    run = tmp_path / "runs" / "a-run"
    run.mkdir(parents=True)
    link = run / "environment"
    path = store.ensure(recipe, str(link))
    assert os.readlink(link) == path
    store.release()
    assert [(one.digest, list(one.runs)) for one in store.kept()] == [(recipe.digest, ["a-run"])]
    assert store.remove(recipe.digest) == "used by a-run"
    link.unlink()
    assert store.remove(recipe.digest) == "removed"
    assert not Path(path).exists()
    assert store.kept() == []
    assert store.remove(recipe.digest) == "it is not there"


def test_who_links_while_it_is_being_removed_has_it_built_anew_or_keeps_it(store, recipe, tmp_path, monkeypatch):
    run = tmp_path / "runs" / "a-run"
    run.mkdir(parents=True)
    path = Path(store.ensure(recipe))
    store.release()
    asks = f'sh -c {shlex.quote(scripts.ASK)} sh "$1" "$2" {shlex.quote(str(run / "environment"))} </dev/null\n'
    before_it_looks, after = (scripts.REMOVE.replace(at, asks + at, 1) for at in ("for link in", "rm -rf"))
    monkeypatch.setattr(scripts, "REMOVE", before_it_looks)
    assert store.remove(recipe.digest) == "used by a-run"
    assert store.verify(recipe) is None
    (run / "environment").unlink()
    monkeypatch.setattr(scripts, "REMOVE", after)
    assert store.remove(recipe.digest) == "removed"  # and it was not told to be whole
    assert not path.exists()


def test_what_was_in_the_folder_before_stays(store, recipe):
    base = Path(store.base)
    base.mkdir(parents=True, mode=0o750)
    mine = [base / name for name in (".tmux.conf", ".config.lock", "config/x", "files/thesis.tex", "files/.part-time")]
    for one in mine:
        one.parent.mkdir(exist_ok=True)
        one.write_text("mine")
        os.utime(one, (0, 0))
    store.ensure(recipe)
    store.release()
    store.sweep(0)
    assert [one.read_text() for one in mine] == ["mine"] * len(mine)
    assert base.stat().st_mode & 0o777 == 0o750


def test_a_folder_that_anybody_may_write_to_is_refused(store, recipe):
    base = Path(store.base)
    base.mkdir(parents=True)
    base.chmod(0o1777)
    with pytest.raises(BuildError, match="others may write to the folder"):
        store.ensure(recipe)


def test_a_large_file_that_has_not_come_whole_is_not_taken(store, recipe, tmp_path, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(PART + 17))
    whole = replace(recipe, files={"word": large})
    run = type(store.host).run

    def cut(host, argv, *, timeout=30, stdin=b""):
        return run(host, argv, timeout=timeout, stdin=stdin[:5] if len(stdin) == 17 else stdin)

    with monkeypatch.context() as patched:
        patched.setattr(type(store.host), "run", cut)
        with pytest.raises(BuildError, match="it has not come whole"):
            store.ensure(whole)
    assert list((Path(store.base) / "files").iterdir()) == []
    assert (Path(store.ensure(whole)) / "word").read_bytes() == large.read_bytes()


def test_two_machines_send_the_same_file_at_once(store, recipe, tmp_path, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(2 * PART + 17))
    store.ensure(recipe)
    barrier = threading.Barrier(2, timeout=60)
    errors = []

    def send():
        try:
            store._send_large("the digest", large, large.stat().st_size, lambda _: barrier.wait())
        except BuildError as error:
            errors.append(error)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (Path(store.base) / "files" / "the digest").read_bytes() == large.read_bytes()


def test_a_disk_without_locks_or_links_will_do(tmp_path, recipe, private_home, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in (
        ("flock", "echo 'flock: 9: Function not implemented' >&2; exit 65"),
        ("ln", "case $* in *-s*) exec /bin/ln \"$@\";; esac; echo 'Operation not permitted' >&2; exit 1"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{words}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    store = Store(LocalHost(), f"{tmp_path}/environments")
    path = Path(store.ensure(recipe))
    store.release()
    half = path.parent / (2 * "0123456789abcdef")
    half.mkdir()
    (path.parent / f".{half.name}.lock").touch()
    assert (path / "word").read_text() == "a word"
    store.sweep(60)
    assert half.exists()  # somebody may be building it
    assert store.remove(recipe.digest) == "removed"


def test_what_is_looked_after_behind_a_build_is_no_reason_to_fail(store, recipe, monkeypatch):
    monkeypatch.setattr(scripts, "CLEAR", "echo it is slow >&2; exit 1")
    assert store.ensure(recipe) == store.path(recipe)


def test_one_that_goes_while_it_is_listed_is_left_out(store, recipe, tmp_path, monkeypatch):
    paths = [store.ensure(replace(recipe, content={"word": str(number)})) for number in range(2)]
    gone = f"rm -rf -- {shlex.quote(paths[0])}\n  used="
    monkeypatch.setattr(scripts, "LIST", scripts.LIST.replace("used=", gone))
    assert [f"{store.base}/{one.digest}" for one in store.kept()] == [paths[1]]


@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null/nothing"])
def test_a_folder_that_cannot_be_made_is_told(recipe, private_home, folder):
    with pytest.raises(StorageError, match=folder):
        Store(LocalHost(), folder).ensure(recipe)


def test_what_a_process_here_uses_stays(tmp_path, recipe, private_home):
    first, second = (Store(LocalHost(), f"{tmp_path}/environments") for _ in range(2))
    first.ensure(recipe)
    assert second.remove(recipe.digest) == "a run uses it"
    first.release()
    assert second.remove(recipe.digest) == "removed"


def test_the_old_and_the_half_made_are_swept(store, recipe):
    old = store.ensure(recipe)
    new = store.ensure(replace(recipe, content={"word": "another"}))
    store.release()
    long_ago = time.time() - 61 * 86400
    os.utime(f"{old}/.pilotage.json", (long_ago, long_ago))
    half = Path(store.base) / (2 * "0123456789abcdef")
    half.mkdir()
    Path(f"{store.base}/.{half.name}.lock").touch()
    assert store.sweep(60) == [recipe.digest]
    assert (Path(old).exists(), Path(new).exists(), half.exists()) == (False, True, False)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 512 kB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_told_and_nothing_half_made_is_used(small_disk, recipe):
    store = Store(LocalHost(), f"{small_disk}/environments")
    large = replace(recipe, build=BUILD + "head -c 2000000 /dev/zero > large\n")
    with pytest.raises(BuildError, match="No space left on device") as caught:
        store.ensure(large)
    assert "environment.folder" in caught.value.hint
    assert not Path(store.path(large)).exists()
    store.release()


def test_a_host_tells_what_it_has(store):
    facts = store.facts()
    assert facts.platform == f"{sys.platform}-{os.uname().machine}"
    assert (facts.home, facts.programs["python3"][:1]) == (store.host.identity().home, "/")


@pytest.mark.parametrize(
    ("gone", "glibc"),
    [([], True), (["getconf"], True), (["getconf", "libc"], True), (["getconf", "libc", "ldd"], False)],
)
def test_glibc_is_told_from_musl_without_getconf_too(tmp_path, private_home, monkeypatch, gone, glibc):
    for name in ("getconf", "ldd"):
        if name in gone:
            (tmp_path / name).write_text("#!/bin/sh\necho musl libc >&2; exit 1\n")
            (tmp_path / name).chmod(0o755)
    if "libc" in gone:
        monkeypatch.setattr(scripts, "FACTS", scripts.FACTS.replace("libc.so.6", "libc.musl.so.1"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    facts = Store(LocalHost(), str(tmp_path / "environments")).facts()
    assert facts.libc == (os.confstr("CS_GNU_LIBC_VERSION").removeprefix("glibc ") if glibc else "")
    assert facts.home == str(Path.home())
