"""A port that is kept for one interchange, and for no other."""

import socket

import pytest
import zmq

from pilotage import system
from pilotage.engine import ports

HERE = "127.0.0.1"


@pytest.fixture
def kept():
    made = ports.reserve(HERE, (20000, 30000))
    assert made is not None
    yield made
    made.close()


def port_of(made):
    return made.getsockname()[1]


def test_nobody_else_is_given_it(kept):
    port = port_of(kept)
    assert 20000 <= port < 30000
    assert ports.reserve(HERE, (port, port + 1)) is None
    assert ports.reserve(None, (port, port + 1)) is None
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HERE, port))


def test_zeromq_may_listen_there_and_then_nobody_else(kept):
    assert ports.may_listen(HERE, port_of(kept))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listening:
        listening.bind(f"tcp://{HERE}:{port_of(kept)}")
        assert not ports.may_listen(HERE, port_of(kept))
        socket.create_connection((HERE, port_of(kept)), timeout=5).close()


def test_all_addresses():
    with ports.reserve(None, (20000, 30000)) as kept:
        assert kept.getsockname()[0] == "0.0.0.0"
        assert ports.may_listen(None, port_of(kept))


def test_where_it_cannot_be_done(monkeypatch):
    assert ports.reserve(HERE, None) is None
    assert ports.reserve("192.0.2.1", (20000, 30000)) is None  # no address of this machine
    monkeypatch.setattr(system, "linux", lambda: False)
    assert ports.reserve(HERE, (20000, 30000)) is None
