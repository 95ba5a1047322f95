"""The interchange's side of conversations: who speaks so is answered so, and nobody who begins anew is in the way."""

import pytest

from pilotage.engine.conversing import LOOK_EVERY, Conversations
from pilotage.worker.reliable import Conversation, read

END = b"end"


class Place:
    """An interchange, and what it has sent to each name."""

    def __init__(self):
        self.now = 0.0
        self.sent = []
        self.talks = Conversations(self, 100.0, END, lambda: self.now)

    def send_multipart(self, parts):
        self.sent.append(tuple(parts))

    def hear(self, name, manager, message):
        """Let a manager say something; what completes is returned."""
        return [self.talks.hear(name, frame) for frame in manager.say(message)][-1]

    def answer(self, manager):
        """Let a manager hear all that was sent; what completes is returned."""
        sent, self.sent = self.sent, []
        return [message for _, frame in sent if (message := manager.hear(read(frame))[0]) is not None]


@pytest.fixture
def place():
    return Place()


def test_who_speaks_so_is_answered_so(place):
    manager = Conversation(b"manager1")
    assert place.hear(b"m", manager, b"hello") == b"hello"
    place.talks.send_multipart([b"m", b"task"])
    place.talks.send_multipart([b"other", b"plain"])
    assert place.sent.pop() == (b"other", b"plain")
    assert place.answer(manager) == [b"task"]


def test_a_duplicate_is_nothing(place):
    manager = Conversation(b"manager1")
    (frame,) = manager.say(b"hello")
    assert [place.talks.hear(b"m", frame) for _ in range(3)] == [b"hello", None, None]


def test_another_manager_of_the_same_name(place):
    old, new = Conversation(b"manager1"), Conversation(b"manager2")
    place.hear(b"m", old, b"old")
    place.talks.send_multipart([b"m", b"for the old one"])
    place.sent.clear()
    assert place.hear(b"m", new, b"new") == b"new"
    place.talks.send_multipart([b"m", b"task"])
    assert place.answer(new) == [b"task"]


def test_one_of_that_name_that_does_not_speak_so(place):
    place.hear(b"m", Conversation(b"manager1"), b"old")
    place.talks.forget(b"m")
    place.talks.send_multipart([b"m", b"task"])
    assert place.sent == [(b"m", b"task")]


def test_the_first_message_may_get_lost(place):
    manager = Conversation(b"manager1")
    manager.say(b"lost")
    assert place.talks.hear(b"m", *manager.pulse()) is None
    ((_, complaint),) = place.sent
    _, again = manager.hear(read(complaint))
    assert [place.talks.hear(b"m", frame) for frame in again] == [b"lost"]


def test_what_a_connection_left_under_another_name_begins_nothing(place):
    """ZeroMQ gives a connection another name when a new one of its name comes."""
    manager = Conversation(b"manager1")
    (first,) = manager.say(b"hello")
    place.talks.hear(b"m", first)
    assert place.talks.hear(b"\x00abcd", first) is None
    assert len(place.talks) == 1
    assert place.sent == []


def test_who_comes_back_after_it_was_given_up_is_sent_away(place):
    manager = Conversation(b"manager1")
    place.hear(b"m", manager, b"hello")
    place.talks.send_multipart([b"m", b"task"])
    place.answer(manager)
    place.talks.forget(b"m")
    assert place.hear(b"m", manager, b"result") is None
    assert place.sent == [(b"m", END)]


def test_it_asks_for_what_is_not_acknowledged_and_forgets_who_is_gone(place):
    manager = Conversation(b"manager1")
    place.hear(b"m", manager, b"hello")
    place.talks.look({b"m"})
    assert place.sent == []
    place.talks.send_multipart([b"m", b"lost"])
    place.sent.clear()
    place.talks.look({b"m"})  # not yet
    assert place.sent == []
    place.now += 2 * LOOK_EVERY
    place.talks.look({b"m"})
    ((_, pulse),) = place.sent
    (complaint,) = manager.hear(read(pulse))[1]
    place.sent.clear()
    place.talks.hear(b"m", complaint)
    assert place.answer(manager) == [b"lost"]
    place.now += 1000
    place.talks.look({b"m"})
    assert len(place.talks) == 1
    place.now += 1000
    place.talks.look(set())
    assert len(place.talks) == 0
