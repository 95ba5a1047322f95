"""Questions to an interchange that answers, does not, or is not there."""

import threading

import pytest
import zmq
from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.zmq_pipes import CommandClient

from pilotage.engine.asking import CarefulCommandClient

PORTS = (55000, 56000)


@pytest.fixture
def gone():
    return threading.Event()


@pytest.fixture
def client(gone):
    made = CarefulCommandClient(CommandClient("127.0.0.1", PORTS), gone.is_set)
    yield made
    made.close()


@pytest.fixture
def interchange(client):
    """The other end, which answers ``count`` questions with what was asked."""
    context = zmq.Context()
    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.connect(f"tcp://127.0.0.1:{client.port}")

    def answer(count):
        def serve():
            for _ in range(count):
                socket.send_pyobj(["asked", socket.recv_pyobj()])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return thread

    yield answer
    socket.close()
    context.term()


def test_answers(client, interchange):
    thread = interchange(3)
    assert client.run("A") == ["asked", "A"]
    assert client.run(["B", 1], timeout_s=30) == ["asked", ["B", 1]]
    assert client.run("C", max_retries=1) == ["asked", "C"]
    thread.join()


def test_nobody_is_there(client, gone):
    gone.set()
    with pytest.raises(CommandClientTimeoutError):
        client.run("A")
    with pytest.raises(CommandClientBadError):
        client.run("A")


def test_it_ends_while_it_is_asked(client, interchange, gone):
    """The question arrives and no answer comes; Parsl's own would wait for ever."""
    interchange(1).join(0)
    assert client.run("A") == ["asked", "A"]
    threading.Timer(0.5, gone.set).start()
    with pytest.raises(CommandClientTimeoutError, match="has ended"):
        client.run("B")


def test_a_time_limit(client):
    with pytest.raises(CommandClientTimeoutError):
        client.run("A", timeout_s=0.3)
