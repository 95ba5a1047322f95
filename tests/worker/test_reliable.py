"""A conversation over a connection that breaks: all arrives, once, in order, and nothing is kept for longer."""

from collections import deque

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from pilotage.worker import reliable
from pilotage.worker.reliable import Conversation, read

SESSION = b"together"
QUIET = 50
"""Pulses of both sides after which a connection that holds must have carried everything."""


class Plain:
    """What speaks without the layer."""

    waits, kept = False, 0

    def say(self, message):
        return [message]

    def hear(self, frame):
        return frame, []

    def pulse(self):
        return []


class Numbered(Conversation):
    def __init__(self):
        super().__init__(SESSION)

    def hear(self, frame):
        return super().hear(read(frame))


class Side:
    def __init__(self, talk):
        self.talk = talk
        self.said, self.heard = [], []
        self.on_the_way = deque()  # frames that this side has sent


class Wire:
    """Two sides and a connection, which loses what is on its way when it breaks, and what is sent while it is down."""

    def __init__(self, kind=Numbered):
        self.sides = [Side(kind()), Side(kind())]
        self.is_up = True

    def send(self, side, frames):
        if self.is_up:
            side.on_the_way.extend(frames)

    def say(self, who, message):
        side = self.sides[who]
        side.said.append(message)
        self.send(side, side.talk.say(message))

    def pulse(self, who):
        self.send(self.sides[who], self.sides[who].talk.pulse())

    def deliver(self, who):
        """Let the oldest frame of a side arrive."""
        side, other = self.sides[who], self.sides[1 - who]
        if side.on_the_way:
            message, replies = other.talk.hear(side.on_the_way.popleft())
            if message is not None:
                other.heard.append(message)
            self.send(other, replies)

    def lose(self, arriving):
        """Break: the first frames of each side, ``arriving`` of them, still get through; the answers do not."""
        self.is_up = False
        for who, count in enumerate(arriving):
            for _ in range(min(count, len(self.sides[who].on_the_way))):
                self.deliver(who)
            self.sides[who].on_the_way.clear()

    def settle(self):
        self.is_up = True
        for _ in range(QUIET):
            while any(side.on_the_way for side in self.sides):
                self.deliver(0)
                self.deliver(1)
            self.pulse(0)
            self.pulse(1)

    def lost(self):
        """Return whether what one side heard is not what the other said."""
        one, other = self.sides
        return one.heard != other.said or other.heard != one.said


who = st.integers(0, 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), who, st.integers(0, 40)),
        st.tuples(st.just("deliver"), who, st.integers(1, 12)),
        st.tuples(st.just("pulse"), who),
        st.tuples(st.just("break"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
        st.tuples(st.just("mend")),
    ),
    max_size=120,
)


def play(wire, script):
    for count, (what, *rest) in enumerate(script):
        if what == "say":
            wire.say(rest[0], count.to_bytes(2, "little") * rest[1])
        elif what == "deliver":
            for _ in range(rest[1]):
                wire.deliver(rest[0])
        elif what == "pulse":
            wire.pulse(rest[0])
        elif what == "break":
            wire.lose(rest[0])
        else:
            wire.is_up = True
        for side, other in (wire.sides, reversed(wire.sides)):
            assert side.heard == other.said[: len(side.heard)]  # in order, once, none left out: at every moment
    wire.settle()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_all_arrives_once_and_in_order_whatever_breaks(monkeypatch, script):
    monkeypatch.setattr(reliable, "PIECE", 7)
    monkeypatch.setattr(reliable, "OWED", 50)
    wire = Wire()
    play(wire, script)
    assert not wire.lost()
    assert [(side.talk.waits, side.talk.kept) for side in wire.sides] == [(False, 0)] * 2


def test_without_it_messages_are_lost():
    """The control: the same connections lose plain messages, and so the test above can fail."""

    def fails(script):
        wire = Wire(Plain)
        try:
            play(wire, script)
        except AssertionError:
            return True
        return wire.lost()

    example = find(steps, fails, settings=settings(max_examples=2000, database=None))
    assert {step[0] for step in example} >= {"say", "break"}
    calm = steps.map(lambda script: [step for step in script if step[0] != "break"])
    with pytest.raises(NoSuchExample):  # and where nothing breaks they are not
        find(calm, fails, settings=settings(max_examples=200, database=None))


def test_what_is_acknowledged_is_kept_no_more():
    wire = Wire()
    for _ in range(100):
        wire.say(0, b"x" * 1000)
        wire.deliver(0)
        wire.say(1, b"y")  # an answer tells how far the other is
        wire.deliver(1)
        assert wire.sides[0].talk.kept == 0
    assert wire.sides[1].talk.kept == 1


def test_one_who_only_listens_says_how_far_it_is_now_and_then():
    wire = Wire()
    most = 0
    for _ in range(100):
        wire.say(0, b"x" * 100_000)
        wire.deliver(0)
        wire.deliver(1)
        most = max(most, wire.sides[0].talk.kept)
    assert most <= reliable.OWED + 100_000


def test_one_loss_is_made_good_once():
    """Whatever arrives of a round that is over, nothing is sent a third time."""
    wire = Wire()
    wire.say(0, b"lost")
    wire.lose((0, 0))
    wire.is_up = True
    for text in (b"a", b"b", b"c"):
        wire.say(0, text)
        wire.pulse(0)
    frames = 0
    while any(side.on_the_way for side in wire.sides):
        frames += bool(wire.sides[0].on_the_way)
        wire.deliver(0)
        wire.deliver(1)
    assert wire.sides[1].heard == [b"lost", b"a", b"b", b"c"]
    assert frames == 6 + 4


def test_a_slow_connection_is_given_nothing_twice():
    """Pulses wait behind what is being carried; that it takes long is no reason to send it again."""
    wire = Wire()
    wire.say(0, b"x" * 20 * reliable.PIECE)
    for _ in range(20):
        wire.pulse(0)
        wire.pulse(1)
        wire.deliver(0)
        wire.deliver(1)
    data = [frame for frame in wire.sides[0].on_the_way if len(frame) > reliable.PIECE]
    assert not data
    wire.settle()
    assert not wire.lost()


def test_what_has_arrived_of_a_long_message_does_not_come_again():
    wire = Wire()
    wire.say(0, b"x" * 20 * reliable.PIECE)
    wire.lose((15, 0))
    wire.is_up = True
    wire.pulse(0)
    wire.deliver(0)
    wire.deliver(1)
    assert len(wire.sides[0].on_the_way) == 5


def test_what_is_no_frame():
    assert read(b"") is None
    assert read(b"\x80\x04\x95") is None
    assert read(reliable.NUMBERED + b"\x00") is None


def test_a_side_is_fresh_until_something_is_acknowledged():
    one, other = Conversation(SESSION), Conversation(SESSION)
    (frame,) = one.say(b"first")
    assert read(frame).is_fresh
    message, _ = other.hear(read(frame))
    assert message == b"first"
    one.hear(read(other.say(b"thanks")[0]))
    assert not read(one.say(b"more")[0]).is_fresh
