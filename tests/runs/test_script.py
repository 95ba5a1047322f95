"""Scripts looked at before they run."""

import pytest

from pilotage.errors import ConfigConflictError, ScriptError
from pilotage.runs.script import read_script, refuse_own_config

OWN = [
    "import parsl\nparsl.load(cfg)",
    "import parsl\nparsl.load(config=cfg)",
    "import parsl as p\nwith p.load(cfg):\n    pass",
    "from parsl import load\nx = load(cfg)",
    "from parsl import load as go\nif __name__ == '__main__':\n    go(cfg)",
    "import parsl\nparsl.load(**options)",
]
NOT_OWN = [
    "import parsl\nparsl.load()",
    "import parsl\nparsl.load(None)",
    "import parsl\nif local:\n    parsl.load(cfg)",
    "import parsl\ndef f():\n    parsl.load(cfg)",
    "import json\njson.load(cfg)",
    "from json import load\nload(cfg)",
    "import parsl\nif done:\n    raise SystemExit\nparsl.load(cfg)",
]


def check(tmp_path, text):
    path = tmp_path / "s.py"
    path.write_text(text)
    refuse_own_config(*read_script(str(path)))


@pytest.mark.parametrize("text", OWN)
def test_a_config_of_its_own_is_seen_before_anything_starts(tmp_path, text):
    with pytest.raises(ConfigConflictError) as caught:
        check(tmp_path, text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "load(" in row or "go(" in row)
    assert f"s.py:{line}" in str(caught.value)
    assert "--override" in str(caught.value)
    assert "without --site" in str(caught.value)


@pytest.mark.parametrize("text", NOT_OWN)
def test_what_may_not_be_reached_is_left_to_the_run(tmp_path, text):
    check(tmp_path, text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "there is no such script"),
        (lambda p: p.mkdir(), "the script is a folder"),
        (lambda p: p.write_text("x = (\n"), "does not parse"),
        (lambda p: p.write_text("def f():\nreturn"), ":2"),
        (lambda p: p.write_bytes(b"x = '\xff'"), "does not parse"),
        (lambda p: p.write_bytes(b"x = 1\x00"), "does not parse"),
        (lambda p: p.write_text("return 3"), "outside function"),
    ],
)
def test_bad_scripts(tmp_path, make, words):
    path = tmp_path / "bad.py"
    make(path)
    with pytest.raises(ScriptError, match=words) as caught:
        read_script(str(path))
    assert caught.value.exit_code == 2
    assert "bad.py" in str(caught.value)
