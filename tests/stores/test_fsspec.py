"""Protocols that nobody here knows, and those of which fsspec lacks the library."""

import pytest

from pilotage.errors import BrokenTransferError, DeniedError, MissingExtraError, UsageError
from pilotage.worker.data import copying
from pilotage.worker.data.base import open_store
from pilotage.worker.data.copying import fetch
from pilotage.worker.data.places import place_of
from stores import ftp


def test_a_scheme_that_nobody_knows():
    with pytest.raises(UsageError, match="knows the scheme 'ftpp'") as caught:
        open_store(place_of("ftpp://host/x"))
    assert caught.value.hint == "did you mean 'ftp'?"


def test_a_protocol_whose_library_is_missing():
    with pytest.raises(MissingExtraError, match=r"oss: .*ossfs"):
        open_store(place_of("oss://bucket/x"))


def test_a_star_is_a_name_as_any_other(tmp_path):
    with ftp.serve(tmp_path) as make:
        keeper = make("place")
        for name in ("*", "other", "in/*/x", "in/other/x"):
            keeper.write(name, b"")
        store = open_store(place_of(keeper.url), keeper.options)
        store.remove("place/*")
        store.remove("place/in/*")
        assert keeper.names() == {"other", "in/", "in/other/", "in/other/x"}


def test_who_may_not_come_in(tmp_path, monkeypatch):
    """Who is refused, and where nobody listens."""
    monkeypatch.setattr(copying, "PAUSE", 0)
    with ftp.serve(tmp_path) as make:
        keeper = make("place")
        keeper.write("file", b"x")
        place = place_of(keeper.at("file"))
        with pytest.raises(DeniedError, match="530") as caught:
            open_store(place, {"username": "anna", "password": "other-secret"})
        assert "other-secret" not in str(caught.value)
        user = place_of(f"ftp://anna:secret@{place.host}/place/file")
        fetch(open_store(user), user, str(tmp_path / "file"))
        assert (tmp_path / "file").read_bytes() == b"x"
    with pytest.raises(BrokenTransferError) as caught:
        open_store(user)
    assert "secret" not in str(caught.value)
