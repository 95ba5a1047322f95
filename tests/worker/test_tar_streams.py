"""Folders as tar's streams: what comes out is what went in, and what would be written elsewhere is refused."""

import io
import os
import tarfile

import pytest

from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data.base import Meter
from pilotage.worker.data.tar_streams import pack, unpack

URL = "ssh://host/folder"


def archive(*members, **settings):
    """Return an archive of (name, content) or of TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **settings) as tar:
        for one in members:
            info = one if isinstance(one, tarfile.TarInfo) else tarfile.TarInfo(one[0])
            data = b"" if isinstance(one, tarfile.TarInfo) else one[1]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def info(name, kind, to=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, to
    return made


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "./../x", "a//x", "a/./x", "a/..", ".."])
def test_names_that_lead_elsewhere(tmp_path, target, name):
    with pytest.raises(DataError, match="would not be below its folder"):
        unpack(io.BytesIO(archive((name, b"bad"))), str(target), Meter(), URL)
    assert everything(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(tmp_path, target, kind):
    with pytest.raises(DataError, match="no file, folder or link"):
        unpack(io.BytesIO(archive(info("dev", kind))), str(target), Meter(), URL)
    assert everything(tmp_path) == ["target"]


@pytest.mark.parametrize("order", [1, -1])
def test_nothing_is_written_through_a_link(tmp_path, target, order):
    (tmp_path / "out").mkdir()
    members = [info("link", tarfile.SYMTYPE, str(tmp_path / "out")), ("link/x", b"bad")][::order]
    with pytest.raises(DataError, match="two things of one name"):
        unpack(io.BytesIO(archive(*members)), str(target), Meter(), URL)
    assert everything(tmp_path / "out") == []


def test_no_file_is_written_through_a_link_of_its_name(tmp_path, target):
    (tmp_path / "out").write_bytes(b"theirs")
    members = [info("link", tarfile.SYMTYPE, str(tmp_path / "out")), ("link", b"bad")]
    with pytest.raises(DataError, match="two things of one name"):
        unpack(io.BytesIO(archive(*members)), str(target), Meter(), URL)
    assert (tmp_path / "out").read_bytes() == b"theirs"


@pytest.mark.parametrize("members", [[("a", b"1"), ("a", b"2")], [("a", b"1"), ("a/b", b"2")]])
def test_two_things_of_one_name(target, members):
    with pytest.raises(DataError, match="two things of one name"):
        unpack(io.BytesIO(archive(*members)), str(target), Meter(), URL)


@pytest.mark.parametrize("to", ["../out", "/etc/passwd", "later"])
def test_second_names_of_what_is_elsewhere(tmp_path, target, to):
    (tmp_path / "out").write_bytes(b"theirs")
    with pytest.raises(DataError):
        unpack(io.BytesIO(archive(info("link", tarfile.LNKTYPE, to), ("later", b""))), str(target), Meter(), URL)
    assert everything(target) == []


def test_second_names(target):
    members = [("a", b"1"), info("s", tarfile.SYMTYPE, "a"), info("b", tarfile.LNKTYPE, "a")]
    unpack(io.BytesIO(archive(*members, info("t", tarfile.LNKTYPE, "s"))), str(target), Meter(), URL)
    assert (target / "b").read_bytes() == b"1"
    assert os.readlink(target / "t") == "a"


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(target, style):
    name = "/".join(["é" * 100] * 5)
    unpack(io.BytesIO(archive((name, b"1"), info("l", tarfile.SYMTYPE, name), format=style)), str(target), Meter(), URL)
    assert (target / "l").read_bytes() == b"1"


def test_modes_are_kept_but_for_what_lets_others_write(target):
    modes = {"a": 0o4777, "b": 0o600, "c": 0o444, "d": 0o100}
    members = []
    for name, mode in modes.items():
        members.append(info(name, tarfile.REGTYPE))
        members[-1].mode = mode
    folder = info("folder", tarfile.DIRTYPE)
    folder.mode = 0o500
    unpack(io.BytesIO(archive(folder, ("folder/x", b""), *members)), str(target), Meter(), URL)
    assert {name: (target / name).stat().st_mode & 0o7777 for name in modes} == {
        "a": 0o755,
        "b": 0o600,
        "c": 0o644,
        "d": 0o700,
    }
    assert (target / "folder").stat().st_mode & 0o7777 == 0o700


def test_a_stream_that_ends_too_early(tmp_path):
    whole = archive(("a", b"x" * 2000), ("b", b"y" * 2000))
    for number, end in enumerate([100, 512, 600, 2000, 3072, 3600]):
        target = tmp_path / str(number)
        target.mkdir()
        try:
            unpack(io.BytesIO(whole[:end]), str(target), Meter(), URL)
        except BrokenTransferError:
            continue
        assert end == 3072, "at the border of two files only tar's exit code tells"


def test_what_goes_in_comes_out(tmp_path, target):
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / ("long " * 40) / ("name " * 40)).mkdir(parents=True)
    (source / ("long " * 40) / ("name " * 40) / "new\nline").write_bytes(b"1")
    (source / os.fsdecode(b"\xff")).write_bytes(b"not utf-8")
    (source / "big").write_bytes(os.urandom(3_000_001))
    (source / "program").write_bytes(b"")
    (source / "program").chmod(0o755)
    (source / "link").symlink_to("/nowhere/at all")
    out, counts = bytearray(), (Meter(), Meter())
    pack(str(source), "it", "whole", out.extend, counts[0])
    unpack(io.BytesIO(out), str(target), counts[1], URL)
    assert everything(target / "it") == everything(source)
    assert (target / "it" / "big").read_bytes() == (source / "big").read_bytes()
    assert os.access(target / "it" / "program", os.X_OK)
    assert os.readlink(target / "it" / "link") == "/nowhere/at all"
    assert (target / "whole").exists()
    assert (counts[0].bytes, counts[0].files) == (3_000_011, 4)
    assert (counts[1].bytes, counts[1].files) == (3_000_011, 5)
