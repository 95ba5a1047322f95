"""The ring keeps the newest lines, whatever their sizes, and a reader gets whole lines whenever the writer died."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.worker import ring

ABOUT = {"pid": 1, "name": "x"}


def made(tmp_path, size=256, name="r"):
    return ring.Ring(str(tmp_path / name), size, ABOUT).open()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rings")


def of_lines(folder, lines, size):
    path = folder / "ring"
    path.unlink(missing_ok=True)
    return made(folder, size, "ring")


LINES = st.lists(st.binary(max_size=90).map(lambda text: text.replace(b"\n", b".") + b"\n"), max_size=60)
SIZES = st.integers(min_value=1, max_value=600)


@given(LINES, SIZES)
def test_what_is_read_is_the_newest_whole_lines(folder, lines, size):
    one = of_lines(folder, lines, size)
    for line in lines:
        one.write(line)
    one.close()
    tail = ring.read(one.path)
    written = b"".join(lines)
    if all(len(line) <= size // 4 for line in lines):
        assert written.endswith(tail.text)
        assert tail.missed == (len(written) > size)
        assert tail.text == written or len(tail.text) >= size - size // 4, "no more is lost than one line"
        assert not tail.text or tail.text.endswith(b"\n")
    assert len(tail.text) <= size


@given(LINES, st.integers(min_value=40, max_value=600), st.integers(min_value=0, max_value=59))
def test_reading_goes_on_where_it_was(folder, lines, size, stop):
    one = of_lines(folder, lines, size)
    kept = [line[-(size // 4) :] for line in lines]
    for line in kept[:stop]:
        one.write(line)
    first = ring.read(one.path)
    ring.note_collected(one.path, first.written)
    for line in kept[stop:]:
        one.write(line)
    one.close()
    second = ring.read(one.path)
    later = b"".join(kept[stop:])
    assert later.endswith(second.text)
    assert second.text == later or second.missed
    assert ring.read(one.path, since=second.written).text == b""


@given(LINES.filter(bool), st.integers(min_value=64, max_value=600), st.data())
def test_a_line_torn_by_a_kill_is_left_out_and_spoils_nothing(folder, lines, size, data):
    """The states that a kill can leave: the line counted but not written, written in part, written but not told."""
    one = of_lines(folder, lines, size)
    lines = [line[-(size // 4) :] for line in lines]
    for line in lines[:-1]:
        one.write(line)
    torn = lines[-1]
    begin = one._words[ring.WRITTEN]
    one._words[ring.RESERVED] = begin + len(torn)
    for place, byte in enumerate(torn[: data.draw(st.integers(0, len(torn)))], begin):
        one._map[ring.PAGE + place % size] = byte
    one.close()
    tail = ring.read(one.path)
    before = b"".join(lines[:-1])
    assert before.endswith(tail.text)
    assert tail.text == before or len(tail.text) >= size - 2 * (size // 4)


def test_without_the_word_that_is_written_first_a_torn_line_spoils_the_oldest(tmp_path):
    """The control: what the test above looks for happens where the line is not counted before it is written."""
    one = made(tmp_path, 64)
    for number in range(9):
        one.write(b"line %2d\n" % number)
    one._map[ring.PAGE + 72 % 64 : ring.PAGE + 72 % 64 + 3] = b"XX\n"
    one.close()
    assert ring.read(one.path).text.startswith(b"e  1\n"), "part of a line passes for a whole one"


def test_a_long_line_loses_its_middle_only(tmp_path):
    one = made(tmp_path, 400)
    one.write(b"begin" + b"x" * 5000 + b"end\n")
    one.close()
    text = ring.read(one.path).text
    assert text.startswith(b"begin")
    assert text.endswith(b"end\n")
    assert len(text) <= 100


WRITER = """
import itertools, sys
sys.path.insert(0, {source!r})
from pilotage.worker import ring
one = ring.Ring({path!r}, {size}, {{"pid": 1}}).open()
for number in itertools.count():
    one.write(b"%d %s\\n" % (number, b"x" * (number % 50)))
    if number == 1000:
        print("going", flush=True)
"""


@pytest.mark.parametrize("attempt", range(5))
def test_what_a_killed_process_wrote_is_there(tmp_path, attempt):
    path = str(tmp_path / "ring")
    text = WRITER.format(source=os.path.dirname(os.path.dirname(os.path.dirname(ring.__file__))), path=path, size=4000)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout.readline() == b"going\n"
            for _ in range(attempt * 20):
                check_numbers(ring.read(path).text)  # while it is written, and may all be overwritten meanwhile
        finally:
            writer.send_signal(signal.SIGKILL)
    numbers = check_numbers(ring.read(path).text)
    assert len(numbers) > 50
    assert numbers[-1] >= 1000


def check_numbers(text):
    lines = [line.split(b" ") for line in text.splitlines()]
    numbers = [int(number) for number, _ in lines]
    assert not numbers or numbers == list(range(numbers[0], numbers[-1] + 1)), "a line is missing, or torn"
    assert all(len(rest) == int(number) % 50 for number, rest in lines)
    return numbers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        ring.MAGIC,
        ring.MAGIC + b"\0" * 5000,
        ring.MAGIC.ljust(64, b"\0") + b'{"size": 99999}' + b"\0" * 5000,
    ],
)
def test_what_is_no_ring_is_none(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert ring.read(str(path)) is None
    assert ring.read(str(tmp_path / "nothing")) is None


def test_a_link_is_not_followed(tmp_path):
    one = made(tmp_path)
    one.close()
    (tmp_path / "link").symlink_to(one.path)
    assert ring.read(one.path) is not None
    assert ring.read(str(tmp_path / "link")) is None
    with pytest.raises(FileExistsError):
        ring.Ring(str(tmp_path / "link"), 64, {}).open()


def test_a_full_disk_is_known_before_anything_is_mapped(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="space"):
        made(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_preallocation_is_filled(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    one = made(tmp_path, 1 << 16)
    one.close()
    assert os.stat(one.path).st_blocks * 512 >= 1 << 16
