"""What goes into a bug report, and what must not."""

import json
import os
import stat
import string
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import UsageError
from pilotage.journal import Journal
from pilotage.paths import RunFolder
from pilotage.redaction import REMOVED, redact, redact_file
from pilotage.runs import bundle as bundles
from pilotage.runs.bundle import bundle

SECRET = "hunter2-x9Q"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\ntdjEAAAAABG5v+/=\n-----END OPENSSH PRIVATE KEY-----"
# name: (text, what must be gone from it, what must stay)
PLANTED = {
    "shell": ("export API_TOKEN=hunter2-x9Q\nexport B=2\n", SECRET, "export B=2"),
    "environment with spaces": ("HOME=/root\nPASSWORD=correct horse\nLANG=C\n", "horse", "LANG=C"),
    "within a line": ("INFO started with DB_PASSWORD=hunter2-x9Q at 10:00\n", SECRET, "at 10:00"),
    "two of a line": ("run A_SECRET=hunter2-x9Q B_KEY=hunter2-x9Q now\n", SECRET, " now"),
    "csh": ("setenv API_TOKEN hunter2-x9Q\n", SECRET, "setenv API_TOKEN"),
    "upper-case key": ("KEY=abc1\n", "abc1", "KEY="),
    "lower-case key": ("key = 'hunter2-x9Q-hunter2'\n", SECRET, "key ="),
    "camel case": ('{"clientSecret": "hunter2-x9Q", "n": 1}', SECRET, '"n": 1'),
    "one word": ("apikey=hunter2-x9Q", SECRET, "apikey="),
    "TOML": ('[site.x]\npassword = "hunter2-x9Q" # mine\nqueue = "q"\n', SECRET, 'queue = "q"'),
    "TOML of several lines": ('token = """\nhunter2-x9Q\n"""\nqueue = "q"\n', SECRET, 'queue = "q"'),
    "YAML": ("credential: hunter2-x9Q and more\nname: x\n", "and more", "name: x"),
    "YAML of several lines": ("a:\n  passwd: |\n    hunter2-x9Q\n    more\n  b: 1\n", "more", "  b: 1"),
    "variable of a pod": ("- name: API_TOKEN\n  value: hunter2-x9Q\n- name: B\n", SECRET, "- name: B"),
    "JSON": ('{"token": "a \\"hunter2-x9Q\\"", "n": [1]}', SECRET, '"n": [1]'),
    "JSON in JSON": (json.dumps({"m": json.dumps({"token": "hunter2-x9Q", "n": 7})}), SECRET, '\\"n\\": 7'),
    "a list": ('passwords = ["hunter2-x9Q", "b"] and on', SECRET, "passwords ="),
    "a number": ('{"password": 73914682, "n": 1}', "73914682", '"n": 1'),
    "arguments in a list": ('["--api-key", "hunter2-x9Q", "--n", "5"]', SECRET, '"--n", "5"'),
    "arguments": ("tool --password hunter2-x9Q --n 5\n", SECRET, "--n 5"),
    "arguments with an equals sign": ("tool --auth-token=hunter2-x9Q --n 5\n", SECRET, "--n 5"),
    "Python": ("connect(host, token='hunter2-x9Q', n=3)", SECRET, "n=3)"),
    "Python's bytes": ("connect(token=b'hunter2-x9Q', n=3)", SECRET, "n=3)"),
    "a parameter": ("def f(token: str = 'hunter2-x9Q', n=3):", SECRET, "n=3):"),
    "pairs": ("[('API_TOKEN', 'hunter2-x9Q'), ('N', '5')]", SECRET, "('N', '5')"),
    "os.environ": ('os.environ["API_TOKEN"] = "hunter2-x9Q"', SECRET, "os.environ"),
    "header": ("Authorization: Basic aHVudGVyMg==\nAccept: */*\n", "aHVudGVyMg", "Accept: */*"),
    "header of curl": ("curl -H 'Authorization: Bearer abc.def' x\n", "abc.def", "curl -H"),
    "header in JSON": ('{"Authorization": "Bearer abc.def", "n": 1}', "abc.def", '"n": 1'),
    "digest": ('Authorization: Digest username="me", response="6629fae4"\nnext\n', "6629fae4", "next"),
    "bearer": ("sent bearer abcDEF123.-_/ to it", "abcDEF123", "to it"),
    "Amazon's": ("found AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE", "here"),
    "URL": ("git clone https://me:hunter2-x9Q@host.example/repo x\n", SECRET, "@host.example/repo x"),
    "URL with a slash": ("amqp://me:hunter2/x@9Q@host.example/v", "9Q", "@host.example/v"),
    "GitHub's": ("with ghp_16C7e42F292c6912E7710c838347Ae178B4a now", "16C7e42F292c", "now"),
    "OpenAI's": ("with sk-proj-abcdefghijklmnopqrstuvwx now", "abcdefghij", "now"),
    "web token": ("with eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4 now", "SflKxwRJ", "now"),
    "private key": (f"before\n{PEM}\nafter\n", "AAAAABG5v", "after"),
    "private key in JSON": (json.dumps({"m": PEM, "n": 1}), "AAAAABG5v", '"n": 1'),
    "end of a private key": (f"{PEM[45:]}\nafter\n", "AAAAABG5v", "after"),
    "beginning of a private key": (f"before\n{PEM[:-40]}", "b3BlbnNz", "before"),
}
HARMLESS = [
    "KeyError: 'partition'\nkeyword = 3\n",
    "error: unknown key 'queu'; known keys: account, nodes\n",
    "max_tokens = 512\nf(total_tokens=7, n=1)\n",
    "sorted(names, key=len)",
    "turning on the monkey=3, KeyboardInterrupt: stopped",
    "tcp://127.0.0.1:54321 http://localhost:8888/lab/tree?path=a@b",
    "user@host.example:/path 10:00:00 a-task-with-a-very-long-name-indeed-it-is",
    "PASSWORD=\nTOKEN=None\n",
    '{"key": "14149.1.18ea075a1430edfe", "kind": "process"}',
    "InvalidTokenError: no segments",
    "a bearer of news; the task-abcdefghijklmnopqrstuvwxyz",
]


@pytest.mark.parametrize("name", PLANTED)
def test_a_secret_goes_and_what_is_beside_it_stays(name):
    text, secret, kept = PLANTED[name]
    made, count = redact(text)
    assert secret not in made
    assert kept in made
    assert REMOVED in made
    assert count >= 1
    assert redact(made) == (made, 0), "and a second time changes nothing"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
    assert redact(text) == (text, 0)


# Long enough that it is in no other word.
PASSWORDS = st.text(string.ascii_letters + string.digits + "!#$%*+-./:;<=?@^_|~", min_size=12, max_size=40)
ANY = st.text(min_size=12, max_size=40).filter(lambda text: len(set(text)) > 5)
NAMES = st.sampled_from(
    [
        "API_KEY",
        "aws_secret_access_key",
        "Token",
        "db.password",
        "PASSWD",
        "my-credential",
        "clientSecret",
        "PASSPHRASE",
    ]
)
SURROUNDINGS = st.text(max_size=60)
WAYS = {
    "env": lambda name, secret: f"\n{name}={secret}\n",
    "spaced": lambda name, secret: f"\n{name} = {secret}\n",
    "colon": lambda name, secret: f"\n  {name}: {secret}\n",
    "inline": lambda name, secret: f" {name}={secret} ",
    "option": lambda name, secret: f" --{name} {secret} ",
    "JSON": lambda name, secret: json.dumps({name: secret}),
    "Python": lambda name, secret: repr({name: secret}),
    "URL": lambda name, secret: f" x://{name}:{secret.lstrip(string.digits)}z@host ",
}


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(list(WAYS)), NAMES, PASSWORDS, SURROUNDINGS, SURROUNDINGS)
def test_a_planted_secret_never_survives(way, name, secret, before, after):
    secret = secret.lstrip("[{\"'|>")
    planted = WAYS[way](name, secret)
    made, _ = redact(f"{before} {planted} {after}")
    for at in range(len(secret) - 7):
        part = secret[at : at + 8]
        assert part not in made or part in before or part in after or part in name, (planted, made)


@settings(deadline=None, max_examples=200)
@given(NAMES, ANY, SURROUNDINGS)
def test_json_stays_json(name, secret, other):
    value = {"other": other, "inner": [{name: secret}, ["--" + name, secret]], "n": 1}
    made, count = redact_file("x.json", json.dumps(value))
    found = json.loads(made)
    assert count >= 2
    assert (found["inner"][0][name], found["inner"][1][1], found["n"]) == (REMOVED, REMOVED, 1)
    if redact(other)[1] == 0:
        assert found["other"] == other
    lines, _ = redact_file("x.jsonl", json.dumps(value) + "\n{torn\n\n")
    assert json.loads(lines.splitlines()[0]) == found
    assert lines.endswith("\n{torn\n\n")


@settings(deadline=None, max_examples=300)
@given(st.text(string.printable, max_size=200))
def test_text_without_secrets_is_unchanged(text):
    words = ["key", "token", "secret", "passw", "passphrase", "credential", "authorization", "cookie", "bearer", "://"]
    for word in words:
        text = text.replace(word, "")
    if not any(word in text.lower() for word in words):
        assert redact(text) == (text, 0)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(NAMES, st.sampled_from([*list("=:\"'[]{},\n\\ -("), "--", "value", '"""', PEM]), PASSWORDS)))
def test_odd_pieces_are_no_error(pieces):
    made, count = redact("".join(pieces))
    assert isinstance(made, str)
    assert count >= 0


def test_a_long_line_takes_no_time_that_grows_with_its_square():
    """Would take minutes if it did, and the test's limit would end it."""
    for text in (
        "a" * 3_000_000,
        "key" * 1_000_000,
        "token=" * 300_000,
        "://" * 100_000,
        "A" * 3_000_000 + "\n-----END",
    ):
        redact(text)


@pytest.fixture
def folder(private_home):
    """A run's folder with all that may be in one."""
    made = RunFolder.create()
    record = {"id": made.id, "folder": str(made.path), "state": "finished", "script": "/s.py", "sites": {}}
    record |= {"owner": {"host": "x"}, "arguments": ["--token", SECRET]}
    made.record.write_text(json.dumps(record))
    Journal(made.journal).create()
    made.output.write_text(f"begun\nAPI_TOKEN={SECRET}\n")
    for name in ("checkpoint/own.results", "parsl/000/htex/certificates/server.key_secret", "cookie.txt"):
        path = made.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    scripts = made.parsl / "000" / "submit_scripts"
    scripts.mkdir()
    (scripts / "parsl.htex.block-0.123.45.sh").write_text(f"export X_SECRET='{SECRET}'\nsrun worker\n")
    (made.parsl / "000" / "htex" / "interchange.log").write_text("listening\n")
    worker = made.parsl / "000" / "htex" / "block-0" / "abc"
    worker.mkdir(parents=True)
    (worker / "manager.log").write_text("manager\n")
    (worker / "worker_0.log").write_bytes(b"worker \xff\n")
    return made


def members(file):
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def test_what_is_in_it(folder, project):
    made = bundle(folder)
    assert made.file == project / f"pilotage-{folder.id}.tar.gz"
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    assert made.size == made.file.stat().st_size
    found = members(made.file)
    assert len(found) == made.files
    prefix = f"pilotage-{folder.id}/"
    assert {name.removeprefix(prefix) for name in found} == {
        "run.json",
        "journal.jsonl",
        "driver.log",
        "parsl/000/submit_scripts/parsl.htex.block-0.123.45.sh",
        "parsl/000/htex/interchange.log",
        "parsl/000/htex/block-0/abc/manager.log",
        "parsl/000/htex/block-0/abc/worker_0.log",
        "about.txt",
    }
    assert all(SECRET.encode() not in content for content in found.values())
    assert made.secrets == 4, "of the record, the script's output, the block's script and what show says"
    assert found[prefix + "parsl/000/htex/block-0/abc/worker_0.log"] == b"worker \xff\n", "bytes that are no text, too"
    assert b"srun worker" in found[prefix + "parsl/000/submit_scripts/parsl.htex.block-0.123.45.sh"]
    about = found[prefix + "about.txt"].decode()
    assert f"run        {folder.id}\nstate      finished\nscript     /s.py --token {REMOVED}\n" in about
    assert "installed packages\n" in about
    assert "  parsl 20" in about
    assert not list(project.glob(".*")), "nothing is left beside it"


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda r: {}, "cannot be read"), (lambda r: {**r, "arguments": 5}, "the run cannot be shown")],
)
def test_a_broken_record_is_worth_a_report_too(change, words, folder, project):
    folder.record.write_text(json.dumps(change(json.loads(folder.record.read_text()))))
    about = members(bundle(folder).file)[f"pilotage-{folder.id}/about.txt"].decode()
    assert words in about
    assert "installed packages\n" in about


def test_nothing_is_replaced_unless_it_is_said(folder, project):
    target = project / "mine.tar.gz"
    target.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        bundle(folder, target)
    assert target.read_text() == "mine"
    assert bundle(folder, target, force=True).file == target
    assert members(target)
    link = project / "link.tar.gz"
    link.symlink_to("nowhere")
    with pytest.raises(UsageError):
        bundle(folder, link)
    assert bundle(folder, project / "new.tar.gz").file.exists()
    assert sorted(path.name for path in project.iterdir()) == ["link.tar.gz", "mine.tar.gz", "new.tar.gz"]


def test_a_folder_is_where_it_goes(folder, project):
    (project / "reports").mkdir()
    assert bundle(folder, project / "reports").file == project / "reports" / f"pilotage-{folder.id}.tar.gz"


def test_the_tail_of_a_long_log_begins_with_a_line(folder, project, monkeypatch):
    monkeypatch.setattr(bundles, "TAIL", 100)
    folder.output.write_text("x" * 500 + f"TOKEN={SECRET}{'y' * 60}\n" + "the last line\n")
    found = members(bundle(folder).file)
    assert found[f"pilotage-{folder.id}/driver.log"] == b"the last line\n"


def test_what_is_too_much_is_named(folder, project, monkeypatch):
    monkeypatch.setattr(bundles, "MOST", 2000)
    folder.output.write_text("long\n" * 1000)
    found = members(bundle(folder).file)
    assert f"pilotage-{folder.id}/driver.log" not in found
    assert "left out, to stay below 0 MiB\n  driver.log\n" in found[f"pilotage-{folder.id}/about.txt"].decode()


def test_only_files_are_read(folder, project, tmp_path):
    (tmp_path / "elsewhere").write_text("not the run's")
    folder.output.unlink()
    folder.output.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder.supervisor_log)  # nobody writes to it: opening it must not wait
    names = {name.rpartition("/")[2] for name in members(bundle(folder).file)}
    assert not names & {"driver.log", "supervisor.log"}
