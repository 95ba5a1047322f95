"""The program of transfers, with small files, and what it says where not all has come."""

import os
import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def transfers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS / "programs"))
    import transfers

    monkeypatch.setattr(os, "environ", os.environ.copy())
    yield transfers
    for name in ("transfers", "copiers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("peer", ["pilotage", "cp"])
def test_a_measurement(transfers, tmp_path, peer):
    found = transfers.measure("file", peer, 3 * transfers.MB, 150, tmp_path)
    assert set(found) == {"put_large", "put_small"}
    assert all(value > 0 for value in found.values())
    assert list(tmp_path.iterdir()) == []


def test_values_are_those_that_the_report_shows(transfers, monkeypatch):
    from measures import MEASURES
    from summary import METRICS

    for scheme, (_, directions) in transfers.SCHEMES.items():
        shown = {metric.value for metric in METRICS if metric.measure == f"staging_{scheme}"}
        assert shown == {f"{direction}_{kind}" for direction in directions for kind in ("large", "small")}
        assert f"staging_{scheme}" in MEASURES


def test_sources(transfers, tmp_path):
    transfers.make(tmp_path, 10 * transfers.MB, 250)
    assert transfers.weight(tmp_path / transfers.NAME) == (10 * transfers.MB, 1)
    assert transfers.weight(tmp_path / transfers.FOLDER) == (250 * transfers.SMALL, 250)
    assert len(list((tmp_path / transfers.FOLDER).iterdir())) == 3
    files = [each.read_bytes() for each in (tmp_path / transfers.FOLDER).rglob("*") if each.is_file()]
    assert len(set(files)) == 250


def test_a_copy_that_is_not_whole_is_no_sample(transfers, tmp_path):
    transfers.make(tmp_path, 1000, 3)
    source, target = str(tmp_path / transfers.FOLDER), tmp_path / "out"

    def copy(source, target):
        shutil.copytree(source, target)
        (Path(target) / "0" / "1").unlink()

    with pytest.raises(RuntimeError, match=r"\(2000, 2\) have come of \(3000, 3\)"):
        transfers.timed(copy, source, str(target), target, (3000, 3))


def test_how_each_command_is_called(transfers):
    import copiers

    class Far:
        folder, host, url, root, rsync = "many", "far", "ssh://far/r", "/r", "/bin/rsync"
        options = {"s3": {"endpoint_url": "http://127.0.0.1:1"}}

    far = Far()
    calls = {
        ("cp", "/in/many", "/out/many", True): ["cp", "-r", "/in/many", "/out/many"],
        ("rsync", "/in/many", "ssh://far/r/many", True): [
            "/bin/rsync",
            "-a",
            "--rsync-path=/bin/rsync",
            "/in/many/",
            "far:/r/many",
        ],
        ("rsync", "ssh://far/r/a", "/out/a", False): [
            "/bin/rsync",
            "-a",
            "--rsync-path=/bin/rsync",
            "far:/r/a",
            "/out/a",
        ],
        ("rclone", "/in/a", "s3://bucket/a", False): ["rclone", "copyto", "--quiet", "/in/a", "far:bucket/a"],
        ("rclone", "s3://bucket/many", "/many", True): ["rclone", "copy", "--quiet", "far:bucket/many", "/many"],
        ("awscli", "/in/many", "s3://bucket/many", True): [
            "aws",
            "s3",
            "cp",
            "--only-show-errors",
            "--recursive",
            "/in/many",
            "s3://bucket/many",
        ],
        ("pilotage-cp", "/in/a", "s3://bucket/a", False): [
            "pilotage",
            "cp",
            "-q",
            "--option=s3.endpoint_url=http://127.0.0.1:1",
            "/in/a",
            "s3://bucket/a",
        ],
    }
    for (peer, source, target, folder), wanted in calls.items():
        argv = list(map(str, copiers.COPIERS[peer](far).argv(source, target, folder)))
        assert [argv[0].rpartition("/")[2], *argv[1:]] == [wanted[0].rpartition("/")[2], *wanted[1:]], peer
