"""``[site.NAME.staging]``: what is taken, what is refused, and what comes of it."""

import pytest

from pilotage.assembly.data import data_of
from pilotage.errors import SiteError
from pilotage.sites.catalogue import Catalogue, Layer

LAB = """
[site.lab]
scheduler = "slurm"
partition = "compute"
walltime = "01:00:00"
{more}
[site.lab.staging]
{staging}
"""


def lab(staging, more=""):
    return Catalogue([Layer.parse("pilotage.toml", LAB.format(staging=staging, more=more))]).resolve("lab").site


@pytest.mark.parametrize(
    ("staging", "words"),
    [
        ('cache = "relative"', "cache"),
        ('cache_size = "20"', "size"),
        ('s3 = { secret = "x" }', "secret"),
        ('s3 = { copied_by = "manager" }', "copied_by"),
        ("s3 = { silence = 0 }", "silence"),
        ('fsspec = { dropbox = { token = "x" } }', "no secret belongs into a site file"),
        ('fsspec = { abfs = { account_key = "x" } }', "no secret"),
        ('fsspec = { abfs = { copied_by = "me" } }', "'worker' or 'driver'"),
        ('shared = "yes"', "shared"),
    ],
)
def test_what_is_wrong_is_told(staging, words):
    with pytest.raises(SiteError) as error:
        lab(staging)
    assert words in str(error.value)
    assert "pilotage.toml" in str(error.value.where)


def test_what_each_scheme_is_told():
    text = """
cache_size = "1GB"
s3 = { endpoint_url = "http://127.0.0.1:9", profile = "2024", anonymous = true, copied_by = "driver" }
http = { silence = 5, copied_by = "driver" }
fsspec = { abfs = { account_name = "a", key_filename = "/k", copied_by = "driver" }, ftp = { port = 2121 } }
"""
    data = data_of(lab(text))
    assert data.copies == {"s3": "driver", "http": "driver", "https": "driver", "abfs": "driver"}
    assert data.context.cache_size == 10**9
    assert data.context.options == {
        "s3": {"endpoint_url": "http://127.0.0.1:9", "profile": "2024", "anonymous": True},
        "http": {"silence": 5},
        "https": {"silence": 5},
        "abfs": {"account_name": "a", "key_filename": "/k"},
        "ftp": {"port": 2121},
    }
    ours = data.storage()[0]
    assert ours.copy == data.copies


@pytest.mark.parametrize(
    ("staging", "more", "shared"),
    [
        ("", "", True),
        ("", 'login = "me@cluster"', False),
        ("shared_filesystem = true", 'login = "me@cluster"', True),
        ("shared_filesystem = false", "", False),
    ],
)
def test_whether_workers_see_the_drivers_files(staging, more, shared):
    data = data_of(lab(staging, more))
    assert data.context.shared is shared
    assert ("shared=no" in data.lines()) is not shared
