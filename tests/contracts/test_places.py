"""What every place keeps: this machine, and a login host with a store of its own."""

import json
import stat
import time
from pathlib import Path

import pytest

from pilotage.errors import HostError, PilotageError, ScriptError, UsageError
from pilotage.runs.places import kept as keeping
from pilotage.runs.places.asking import cleaned, forget, listed
from pilotage.runs.places.local import LocalPlace
from pilotage.runs.places.ssh import SSHPlace
from pilotage.runs.places.starting import again, settle, start
from runs.away import away as away

SCRIPT = """
import sys
from helper import word
print(word, *sys.argv[1:])
"""


class OwnStore(LocalPlace):
    """This machine with another store than ours."""

    def find_program(self, python=None):
        super().find_program(python)
        self.program = ("env", f"PILOTAGE_STATE={Path.home()}/its", *self.program)


@pytest.fixture(params=["local", "ssh"])
def place(request):
    if request.param == "local":
        it = OwnStore()
    else:
        request.getfixturevalue("away")
        it = SSHPlace("far")
    it.connect()
    it.find_program()
    yield it
    it.leave()


@pytest.fixture
def script(project):
    (project / "helper.py").write_text("word = 'sent'\n")
    (project / "a script.py").write_text(SCRIPT)
    return project / "a script.py"


@pytest.fixture
def begin(place, script):
    return lambda name=None, *options: start(
        place, script, [script.with_name("helper.py")], ["a b", "$x"], ["--site", "threads", *options], name
    )


def over(place, kept):
    end = time.monotonic() + 60
    while not (kept := settle(place, kept, place.ask(["ps"])["runs"])).is_over:
        assert time.monotonic() < end
        time.sleep(0.2)
    return kept


def folders_of(place):
    """Return the folders with scripts that are there; both places are on this machine."""
    home = Path(place.make_folder("~/probe"))
    place.remove(str(home))
    return sorted(path.name for path in (home.parent / ".pilotage").glob("on-*"))


def test_it_answers_and_its_errors_are_told(place):
    assert place.ask(["ps"])["runs"] == []
    with pytest.raises(PilotageError, match="there is no run 'nothing'") as told:
        place.ask(["show", "nothing"])
    assert told.value.exit_code == 2
    with pytest.raises(PilotageError, match=r"gives no answer: .*--nonsense"):
        place.ask(["ps", "--nonsense"])


def test_folders_and_files(place, tmp_path):
    folder = Path(place.make_folder("~/some where/it"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").write_text("x")
    place.send(tmp_path / "file", str(folder / "a b"))
    assert (folder / "a b").read_text() == "x"
    with pytest.raises(HostError, match="cannot be made"):
        place.make_folder("~/some where/it")
    for _ in range(2):
        place.remove("~/some where/it")
    assert not folder.exists()


def test_a_run_is_started_looked_at_and_removed(place, begin, capfd):
    kept = begin("first")
    assert keeping.elsewhere("first") == keeping.elsewhere(kept.run[:-1]) == keeping.elsewhere(kept.run) == kept
    kept = over(place, kept)
    assert (kept.values["state"], kept.shown()["name"]) == ("finished", "first")
    assert place.hand_over(["logs", kept.run], terminal=False) == 0
    assert capfd.readouterr().out == "sent a b $x\n"
    assert folders_of(place) == [f"on-{kept.token}"]
    place.ask(["rm", kept.run])
    forget(place, kept)
    assert folders_of(place) == []
    assert keeping.all_kept() == []


def test_one_that_is_resumed_has_the_script_as_it_is_now(place, begin, script, capfd):
    kept = over(place, begin())
    place.remove(kept.folder)
    script.with_name("helper.py").write_text("word = 'again'\n")
    second = over(place, again(place, kept, [], "second"))
    assert second.values["resumes"] == kept.run
    assert place.hand_over(["logs", second.run], terminal=False) == 0
    assert capfd.readouterr().out == "again a b $x\n"
    assert folders_of(place) == [f"on-{kept.token}"]


class Breaks:
    """A place whose connection breaks when a run is started: before it hears of that, or before we hear of the run."""

    def __init__(self, place, when):
        self._place, self._when = place, when

    def __getattr__(self, name):
        return getattr(self._place, name)

    def ask(self, arguments, **options):
        if arguments[0] == "run":
            if self._when == "after":
                self._place.ask(arguments, **options)
            raise HostError("the connection has ended")
        return self._place.ask(arguments, **options)

    def send(self, source, target):
        if self._when == "sending":
            raise HostError("the connection has ended")
        self._place.send(source, target)


def test_a_run_whose_start_was_not_heard_of_is_found_again(place, begin, script):
    with pytest.raises(HostError, match="whether the run has started is not known"):
        start(Breaks(place, "after"), script, [script.with_name("helper.py")], [], ["--site", "threads"], "lost")
    (kept,) = keeping.all_kept()
    assert kept.run is None
    assert kept.shown()["state"] == "starting"
    found = settle(place, kept, place.ask(["ps"])["runs"])
    assert found.run is not None
    assert keeping.elsewhere("lost") == found
    over(place, found)


def test_of_one_that_never_started_nothing_is_left(place, begin, script, monkeypatch):
    with pytest.raises(HostError):
        start(Breaks(place, "before"), script, [], [], [], None)
    (kept,) = keeping.all_kept()
    assert settle(place, kept, []) == kept  # we may be at it still
    monkeypatch.setattr(keeping.Kept, "is_starting", False)
    assert folders_of(place) == [f"on-{kept.token}"]
    assert settle(place, kept, place.ask(["ps"])["runs"]) is None
    assert (folders_of(place), keeping.all_kept()) == ([], [])
    with pytest.raises(HostError):
        start(Breaks(place, "sending"), script, [], [], [], None)
    assert (folders_of(place), keeping.all_kept()) == ([], [])


def test_what_is_refused_leaves_nothing(place, begin, script):
    with pytest.raises(PilotageError, match="nowhere"):
        start(place, script, [], [], ["--site", "nowhere"], None)
    with pytest.raises(ScriptError, match="no such file"):
        start(place, script, [script.with_name("none")], [], [], None)
    with pytest.raises(UsageError, match="two of the files"):
        start(place, script, [script], [], [], None)
    with pytest.raises(UsageError, match="too long"):
        begin("n" * 60)
    assert (folders_of(place), keeping.all_kept()) == ([], [])


def test_cleaning_removes_the_folders_of_runs_that_are_over(place, begin):
    kept = over(place, begin())
    kept = kept.but(host="far")

    assert cleaned([kept], lambda *_: place, dry_run=True) == ([], [])
    assert folders_of(place) == [f"on-{kept.token}"]
    assert cleaned([kept], lambda *_: place, dry_run=False) == ([], [])
    assert folders_of(place) == []
    assert keeping.all_kept() == [kept]  # its output is there still
    place.connect()
    place.ask(["rm", kept.run])
    assert cleaned([kept], lambda *_: place, dry_run=False) == ([], [])
    assert keeping.all_kept() == []


def test_what_cannot_be_asked_is_unreachable():
    class Away(LocalPlace):
        def connect(self):
            raise HostError("no answer", where="far")

    kept = keeping.new("far", "it", "s.py", [], [], run="20261127-101500-aaaa", values={"state": "running"})
    (row,), problems = listed([kept], lambda *_: Away())
    assert (row["state"], row["reason"], row["host"], row["name"]) == ("unreachable", "no answer", "far", "it")
    assert problems == ["far: no answer"]
    assert json.dumps(row)
    assert cleaned([kept], lambda *_: Away(), dry_run=False) == ([], ["far: no answer"])
    assert keeping.all_kept() == [kept]


def test_what_is_no_record_of_ours_is_passed_over(private_home):
    kept = keeping.new("far", None, "s.py", [], [])
    folder = private_home / "state" / "elsewhere"
    whole = json.loads((folder / f"{kept.token}.json").read_text())
    for number, text in enumerate(
        ("", "[]", "{}", json.dumps({**whole, "name": 3}), json.dumps({**whole, "at": None}))
    ):
        (folder / f"{number}.json").write_text(text)
    assert keeping.all_kept() == [kept]
