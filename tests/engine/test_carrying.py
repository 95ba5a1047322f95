"""Files that go with a call to where this machine's are not seen, and what comes back."""

import os
import pickle
import tempfile
from concurrent.futures import Future

import cloudpickle
import pytest
from parsl.app.bash import remote_side_bash_executor
from parsl.app.errors import BashExitFailure
from parsl.data_provider.files import File

from pilotage.engine import carrying
from pilotage.engine.carrying import TooLargeError, carried, landing
from pilotage.worker.carried import FOLDERS, claim

# Parsl leaves the streams of a command to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def elsewhere(function, *args, **kwargs):
    """Run a call as a worker does that sees none of this machine's files; return its outcome as the driver gets it."""
    there = cloudpickle.dumps(carried(function, args, kwargs))
    hidden = [path for path in os.listdir() if path.startswith("mine")]
    for path in hidden:
        os.rename(path, f"hidden-{path}")
    try:
        call, args, kwargs = pickle.loads(there)
        try:
            back = cloudpickle.dumps((call(*args, **kwargs), None))
        except Exception as error:
            back = cloudpickle.dumps((None, error))
    finally:
        for path in hidden:
            os.rename(f"hidden-{path}", path)
    outcome, error = pickle.loads(back)
    if error is not None:
        raise error
    return outcome


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_call_without_files_stays_as_it_is():
    assert carried(len, ("abc",), {"a": [1, "b"]}) == (len, ("abc",), {"a": [1, "b"]})


@pytest.mark.parametrize(
    ("given", "before"), [("mine.out", "old\n"), (("mine.out", "w"), ""), (("mine.out", "a"), "old\n")]
)
def test_the_output_of_a_command(given, before, folder):
    (folder / "mine.out").write_text("old\n")
    done = elsewhere(
        remote_side_bash_executor, lambda **_: "echo new", stdout=given, stderr=str(folder / "deep" / "er")
    )
    assert done == 0
    assert (folder / "mine.out").read_text() == f"{before}new\n"
    assert "echo new" in (folder / "deep" / "er").read_text()


def test_a_command_that_fails_brings_its_output_too(folder):
    with pytest.raises(BashExitFailure):
        elsewhere(remote_side_bash_executor, lambda **_: "echo why >&2; exit 3", stderr=("mine.err", "w"))
    assert (folder / "mine.err").read_text().endswith("why\n")


def test_inputs_and_outputs(folder):
    (folder / "mine.in").write_bytes(b"\0data")
    (folder / "mine.in").chmod(0o750)

    def copy(inputs=(), outputs=()):
        import os

        assert os.stat(inputs[0].filepath).st_mode & 0o777 == 0o750
        with open(inputs[0].filepath, "rb") as source, open(outputs[0].filepath, "wb") as target:
            target.write(source.read() * 2)
        return "done"

    assert elsewhere(copy, inputs=[File("mine.in")], outputs=[File(str(folder / "out"))]) == "done"
    assert (folder / "out").read_bytes() == b"\0data\0data"


def test_a_file_as_an_argument_and_of_the_same_name(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "x").write_text(name)

    def read(one, two):
        from pathlib import Path

        return Path(one.filepath).read_text() + Path(two.filepath).read_text()

    assert elsewhere(read, File("a/x"), File("b/x")) == "ab"


def test_what_is_not_here_is_left_alone(folder):
    seen = elsewhere(lambda inputs: inputs[0].filepath, inputs=[File("/far/away/data")])
    assert seen == "/far/away/data"
    call, *_ = carried(len, (), {"outputs": [File("/no/such/folder/x")]})
    assert call is len


def test_an_output_that_is_not_made_is_not_there(folder):
    assert elsewhere(lambda outputs: 7, outputs=[File("never")]) == 7
    assert not (folder / "never").exists()


def test_what_is_too_large_is_told(folder, monkeypatch):
    monkeypatch.setattr(carrying, "MOST", 1 << 20)
    (folder / "mine").write_bytes(b"x" * (2 << 20))
    with pytest.raises(TooLargeError, match="2 MiB, and at most 1 MiB"):
        carried(len, (File("mine"),), {})


def test_what_comes_back_and_is_too_large_fails_the_call(folder, monkeypatch):
    """What it has said comes back all the same."""
    monkeypatch.setattr("pilotage.worker.carried.MOST", 1000)
    words = "echo words; head -c 900 /dev/zero >{outputs[0]}; head -c 800 /dev/zero >{outputs[1]}"
    given = {"stdout": ("mine.out", "w"), "outputs": [File("mine.a"), File("mine.b")]}
    with pytest.raises(TooLargeError, match=r"mine\.a: .*at most .* come back with a call; larger ones must"):
        elsewhere(remote_side_bash_executor, lambda outputs, **_: words.format(outputs=outputs), **given)
    assert (folder / "mine.out").read_text().endswith("words\n")
    assert (folder / "mine.a").stat().st_size == 900
    assert not (folder / "mine.b").exists()


def test_a_call_that_fails_brings_what_is_not_too_large(folder, monkeypatch):
    monkeypatch.setattr("pilotage.worker.carried.MOST", 1000)
    words = "echo why >&2; head -c 2000 /dev/zero; exit 3"
    with pytest.raises(BashExitFailure):
        elsewhere(remote_side_bash_executor, lambda **_: words, stdout=("mine.out", "w"), stderr=("mine.err", "w"))
    assert (folder / "mine.err").read_text().endswith("why\n")
    assert not (folder / "mine.out").exists()


def test_nothing_is_left_where_it_ran(folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    (folder / "tmp").mkdir()
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    elsewhere(remote_side_bash_executor, lambda **_: "echo x", stdout=("mine.out", "w"))
    assert not list((folder / "tmp").iterdir())


def test_what_killed_workers_have_left_is_removed_by_whoever_had_them(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv(FOLDERS, "")
    remove = claim()
    own = os.environ[FOLDERS]
    (folder / f"{own}abc").mkdir()
    pid, start, boot = own.removesuffix("-").rsplit("-", 1)[1].split(".")
    killed = folder / f"pilotage-files-{pid}.{int(start) - 1}.{boot}-abc"
    others = [folder / f"pilotage-files-{pid}.{int(start) - 1}.0-abc", folder / "pilotage-files-abc", folder / "mine"]
    for path in (killed, *others):
        path.mkdir()
    claim()
    assert not killed.exists()
    assert (folder / f"{own}abc").exists()
    remove()
    assert not (folder / f"{own}abc").exists()
    assert all(path.exists() for path in others)


def test_a_file_that_is_changed_where_it_is(folder):
    (folder / "mine").write_text("before")

    def change(inputs=(), outputs=()):
        with open(outputs[0].filepath, "a") as file:
            file.write(" after")

    elsewhere(change, inputs=[File("mine")], outputs=[File("mine")])
    assert (folder / "mine").read_text() == "before after"


def test_it_lands_where_it_was_wanted_wherever_the_script_is_by_then(folder, monkeypatch):
    (folder / "deep").mkdir()

    def write(outputs=()):
        with open(outputs[0].filepath, "w") as file:
            file.write("x")

    there = cloudpickle.dumps(carried(write, (), {"outputs": [File("deep/../out")]}))
    monkeypatch.chdir("deep")
    call, args, kwargs = pickle.loads(there)
    pickle.loads(cloudpickle.dumps(call(*args, **kwargs)))
    assert (folder / "out").read_text() == "x"


def test_the_rules_of_an_app_are_found_by_the_call():
    call, *_ = carried(len, (), {"stdout": "x"})
    assert call.__wrapped__ is len


def test_what_cannot_be_written_here_fails_the_call_and_nothing_else(folder):
    (folder / "file").write_text("")
    future = Future()
    landed = landing(future)
    future.set_result(elsewhere(remote_side_bash_executor, lambda **_: "echo x", stdout="file/x", stderr="err"))
    assert isinstance(landed.exception(), NotADirectoryError | FileExistsError)
    assert "echo x" in (folder / "err").read_text()
    future = Future()
    landed = landing(future)
    future.set_result(7)
    assert landed.result() == 7


@pytest.mark.parametrize("more", ["", "coalesce=False", 'serializer="parsl", coalesce=False'])
def test_other_calls_go_on(run, more):
    """Whether or not calls travel together, what one brings that cannot be written is that one's failure, as it is."""
    out = run(f"""
class Nowhere:
    code = None
    def bring(self): pass
    def open(self, port): return "127.0.0.1", port
    def close(self): pass
    @property
    def folder(self): return self
    def begin(self, here): pass
    def end(self): pass
    def path(self, here): return str(here)
    def send(self, here, source=None): return str(here)

@bash_app
def say(words, stdout=None):
    return f"echo {{words}}"

open("file", "w").close()
with load(executor(route=Nowhere(), {more})):
    assert say("first", stdout="first").result() == 0
    failed = say("second", stdout="file/second")
    print(type(failed.exception(60)).__name__)
    assert say("third", stdout="third").result(60) == 0
    print(open("first").read() + open("third").read(), end="")
""")
    assert out.split() in (["FileExistsError", "first", "third"], ["NotADirectoryError", "first", "third"])
