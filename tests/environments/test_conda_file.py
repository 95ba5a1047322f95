"""The YAML file of a conda environment: what is read, and that an error names the file, the line and the way out."""

import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pilotage.environments import conda_pip
from pilotage.environments.conda_file import hide, parse, read
from pilotage.errors import PilotageError, UsageError

FORGE = "https://conda.anaconda.org/conda-forge"
HEAD = "channels: [conda-forge]\n"
BAD = [
    ("", "e.yml: is empty", "channels: and dependencies:"),
    ("- numpy\n", "e.yml:1: the file is not a table", ""),
    ("numpy", "e.yml:1: the file is not a table", ""),
    (HEAD, "e.yml:1: has no dependencies", "list of packages"),
    ("dependencies: [numpy]\n", "e.yml:1: names no channel", "conda-forge"),
    ("channels: [nodefaults]\ndependencies: [numpy]\n", "e.yml:1: names no channel", "conda-forge"),
    ("channels:\ndependencies: [numpy]\n", "e.yml:1: names no channel", "conda-forge"),
    (HEAD + "dependencies: numpy\n", "e.yml:2: dependencies is not a list", "'- '"),
    (HEAD + "dependencies: {numpy: 1}\n", "e.yml:2: dependencies is not a list", "'- '"),
    (HEAD + "dependencis: [numpy]\n", "e.yml:2: 'dependencis' is not a key", "did you mean 'dependencies'?"),
    (HEAD + "dependencies:\n  - numpy\n  - [a]\n", "e.yml:4: a dependency is not a text", ""),
    (HEAD + "dependencies:\n  - numpy\n  -\n", "e.yml:4: a dependency is not a text", ""),
    (HEAD + "dependencies:\n  - ''\n", "e.yml:3: a dependency is empty", ""),
    (HEAD + "dependencies:\n  - numpy: 1.26\n", "e.yml:3: 'numpy' is no list of packages", "quotes"),
    (HEAD + "dependencies:\n  - pip: requests\n", "e.yml:3: pip is not a list", "'- '"),
    (HEAD + "dependencies:\n  - pip:\n    - {a: b}\n", "e.yml:4: a requirement for pip is not a text", "quotes"),
    (HEAD + HEAD + "dependencies: [numpy]\n", "e.yml:2: 'channels' stands there twice", ""),
    (HEAD + "dependencies: [numpy\n", "e.yml:3: is not YAML", "spaces"),
    (HEAD + "dependencies:\n\t- numpy\n", "e.yml:3: is not YAML", "spaces"),
    (HEAD + "dependencies: *a\n", "e.yml:2: is not YAML", "spaces"),
    (HEAD + "dependencies: &a [*a]\n", "e.yml:2: a dependency is not a text", ""),
    (HEAD + "dependencies: [a]\n---\nb: c\n", "e.yml:3: is not YAML", "spaces"),
    (HEAD + "dependencies: [a]\nvariables: [A]\n", "e.yml:3: variables is not a table", ""),
    (HEAD + "dependencies: [a]\nvariables:\n  A-B: 1\n", "e.yml:4: 'A-B' cannot be the name", ""),
    (HEAD + "dependencies: [a]\nvariables:\n  A: [1]\n", "e.yml:4: the variable A is not a text", ""),
    ("channels:\n  - conda forge\ndependencies: [a]\n", "e.yml:2: 'conda forge' names no channel", "a URL or a folder"),
    ("channels:\n  - ftp://a/b\ndependencies: [a]\n", "e.yml:2: the URL of a channel", "https://"),
    ("channels:\n  - https:///b\ndependencies: [a]\n", "e.yml:2: the URL of a channel", "https://"),
    ("channels:\n  - https://h:x/b\ndependencies: [a]\n", "e.yml:2: the URL of a channel", "https://"),
    ("channels:\n  - https://h/b?token=x\ndependencies: [a]\n", "e.yml:2: the URL of a channel", "https://"),
    ("channels:\n  - https://$NOT@h/b\ndependencies: [a]\n", "e.yml:2: a channel needs the variable NOT", "export"),
    ("channels:\n  - {a: b}\ndependencies: [a]\n", "e.yml:2: a channel is not a text", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[message for _, message, _ in BAD])
def test_what_is_wrong_is_named_with_its_line(text, message, hint):
    with pytest.raises(UsageError) as caught:
        parse(text, Path("e.yml"))
    said = f"{caught.value.where}: {caught.value.message}"
    assert said.startswith(message)
    assert hint in (caught.value.hint or "")


def test_what_conda_reads_is_read():
    file = parse(
        """
name: mine
prefix: /opt/elsewhere
channels:
  - conda-forge   # the first one counts most
  - nodefaults
  - bioconda
  - conda-forge
dependencies:
  - python=3.11
  - numpy >=1.26,<2
  - conda-forge::scipy
  - pip
  - pip:
      - requests[socks]>=2
      - -r more.txt
variables:
  OMP_NUM_THREADS: 1
  EMPTY:
  TEXT: "a 'b' $c"
""",
        Path("e.yml"),
    )
    assert [channel.url for channel in file.channels] == [FORGE, "https://conda.anaconda.org/bioconda"]
    found = [(entry.text, entry.line) for entry in file.dependencies]
    assert found == [("python=3.11", 10), ("numpy >=1.26,<2", 11), ("conda-forge::scipy", 12), ("pip", 13)]
    assert [(entry.text, entry.line) for entry in file.pip] == [("requests[socks]>=2", 15), ("-r more.txt", 16)]
    assert file.variables == {"OMP_NUM_THREADS": "1", "EMPTY": "", "TEXT": "a 'b' $c"}
    assert file.where(file.pip[0]) == "e.yml:15"


def test_channels_by_name_url_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "tk-123")
    text = """
dependencies: []
channels: [defaults, a/label/dev, ./here there, "https://me:secret@h.org:8443/x/", "https://h.org/t/$TOKEN/y",
  "https://h.org/t/${TOKEN}/y"]
"""
    file = parse(text, tmp_path / "e.yml")
    assert [channel.url for channel in file.channels] == [
        "https://repo.anaconda.com/pkgs/main",
        "https://repo.anaconda.com/pkgs/r",
        "https://conda.anaconda.org/a/label/dev",
        f"file://{tmp_path}/here%20there",
        "https://h.org:8443/x",
        "https://h.org/y",
    ]
    assert file.channels[4].private == "https://me:secret@h.org:8443/x"
    assert file.channels[5].private == "https://h.org/t/tk-123/y"
    assert "secret" not in repr(file)
    assert "tk-123" not in repr(file)


@pytest.mark.parametrize(
    "text",
    [
        "channels:\n  - 'https://me:secret@h.org/a b?'\ndependencies: [a]\n",
        "channels:\n  - https://me:secret@h:x/a\ndependencies: [a]\n",
        "channels:\n  - https://me:secret@h.org/a: b: c\ndependencies: [a]\n",
        "channels:\n  - me:secret@h.org\ndependencies: [a]\n",
        "channels: [https://me:secret@h.org/a\ndependencies: [a]\n",
    ],
)
def test_an_error_shows_no_password(text):
    with pytest.raises(UsageError) as caught:
        parse(text, Path("e.yml"))
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"e\.yml: cannot be read: No such file"):
        read(tmp_path / "e.yml")
    (tmp_path / "e.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read(tmp_path / "e.yml")


def test_the_home_of_somebody_who_is_not_known_is_a_folder_like_any_other(tmp_path):
    text = "channels: [~nobody-here/channel]\ndependencies: [numpy]\n"
    (channel,) = parse(text, tmp_path / "e.yml").channels
    assert channel.url.rstrip("/") == f"{(tmp_path / '~nobody-here/channel').as_uri()}"
    file = parse(HEAD + "dependencies:\n  - numpy\n", tmp_path / "e.yml")
    assert conda_pip._absolute(file, "~nobody-here/x[y]") == f"{tmp_path}/~nobody-here/x[y]"


def test_without_a_yaml_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(PilotageError, match=r"pilotage\[conda\]"):
        parse(HEAD, Path("e.yml"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("get https://a:b@h/x now", "get https://***@h/x now"),
        ("https://h/t/tk-1/x/y", "https://h/t/***/x/y"),
        ("https://h/t/tk-1", "https://h/t/***"),
        ("https://h/x", "https://h/x"),
    ],
)
def test_passwords_and_tokens_are_hidden(text, shown):
    assert hide(text) == shown


@given(st.text(alphabet=string.printable + "é\u2028\x00", max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        parse(text, Path("e.yml"))
    except UsageError as caught:
        error = caught
    else:
        return
    name, _, line = error.where.partition(":")
    assert name == "e.yml"
    assert line == "" or 1 <= int(line) <= sum(map(text.count, "\n\r\u2028")) + 1


WORDS = st.text(alphabet=string.ascii_letters + string.digits + "-_.=<>*:' #\"", min_size=1, max_size=20).map(str.strip)
TEXTS = WORDS.filter(bool)
VALUES = st.text(alphabet=string.printable, max_size=20)
NAMES = st.from_regex(r"[A-Z_][A-Za-z0-9_]*", fullmatch=True)


@given(
    st.lists(TEXTS, max_size=5),
    st.lists(TEXTS, max_size=5),
    st.dictionaries(NAMES, VALUES),
)
def test_what_yaml_writes_is_what_is_read(specs, pip, variables):
    dependencies = [*specs, {"pip": pip}]
    text = yaml.safe_dump({"channels": ["conda-forge"], "dependencies": dependencies, "variables": variables})
    file = parse(text, Path("e.yml"))
    assert [entry.text for entry in file.dependencies] == specs
    assert [entry.text for entry in file.pip] == pip
    assert file.variables == variables
