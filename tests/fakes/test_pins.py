"""Every behaviour of a fake scheduler is one that the real one was seen to have: see ``recorded/README.md``."""

from pathlib import Path

import pytest

from fakes import transcript
from fakes.lab import Lab
from fakes.machine import SWITCHES

RECORDED = Path(__file__).with_name("recorded")
SCHEDULERS = {"pbs": "pbspro", "flux": "flux"}
TRANSCRIPTS = sorted(RECORDED.glob("*/*.txt"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder of the user of the transcripts."""
    folder = tmp_path / "ada"
    (folder / "work").mkdir(parents=True)
    for name, value in {"HOME": str(folder), "LANG": "C.UTF-8", "LOGNAME": "ada", "SHELL": "/bin/bash"}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def lab(request, tmp_path):
    made = Lab(request.param, tmp_path / "lab")
    yield made
    assert made.close() == [], "processes of jobs are left"


@pytest.mark.parametrize(
    ("path", "lab"),
    [pytest.param(path, SCHEDULERS[path.parent.name], id=f"{path.parent.name}-{path.stem}") for path in TRANSCRIPTS],
    indirect=["lab"],
)
def test_a_fake_answers_as_recorded(path, lab, home):
    transcript.replay(path, lab, home / "work", {str(home): "/home/ada"})


@pytest.mark.parametrize("lab", ["pbspro"], indirect=True)
def test_the_comparison_can_fail(lab, home, tmp_path, monkeypatch):
    monkeypatch.setattr(transcript, "PATIENCE", 0.2)
    text = (RECORDED / "pbs" / "queues.txt").read_text()
    for recorded, wrong in (("23.06.06", "23.06.07"), ("? 170", "? 171"), ("nowhere\n{", "here\n{")):
        assert recorded in text
        (tmp_path / "wrong.txt").write_text(text.replace(recorded, wrong))
        with pytest.raises(AssertionError, match=r"wrong\.txt"):
            transcript.replay(tmp_path / "wrong.txt", lab, home / "work", {str(home): "/home/ada"})


@pytest.mark.parametrize(
    ("lab", "argv"),
    [
        ("pbspro", ["qstat", "-a"]),
        ("pbspro", ["qsub", "-J", "0-2", "x"]),
        ("pbspro", ["qdel", "-W", "force", "7"]),
        ("pbspro", ["pbsnodes", "-l"]),
        ("flux", ["flux", "jobs"]),
        ("flux", ["flux", "submit", "true"]),
        ("flux", ["flux", "queue", "list"]),
    ],
    indirect=["lab"],
)
def test_what_is_not_recorded_is_not_answered(lab, argv):
    answer = lab.run(argv, given="")
    assert answer.exit_code == 99
    assert "no recording tells the answer" in answer.stderr


def test_every_switch_is_in_a_transcript():
    """But those that make a command wait."""
    used = {step.words.split()[1] for path in TRANSCRIPTS for step in transcript.read(path)[2] if step.words[0] == "~"}
    assert set(SWITCHES) - used == {"frozen", "slow"}
