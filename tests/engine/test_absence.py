"""Who is given up because others are heard: one that is gone, and never one that a broken way keeps silent."""

from hypothesis import given
from hypothesis import strategies as st

from pilotage.engine.absence import BREAK, CARRIES, SILENT, WITNESSES, Absences
from pilotage.engine.conversing import Conversations
from pilotage.worker.reliable import Conversation, read

PERIOD = 5.0


class Site:
    """Managers that answer when they are asked and send heartbeats, each as long as it is alive and reached."""

    def __init__(self, names, start=0.0):
        self.absences = Absences(PERIOD)
        self.now = start
        self.heard = dict.fromkeys(names, start)
        self.gone = []

    def goes_on(self, seconds, reached, step=1.0):
        """Let time pass; ``reached`` tells who is heard at a time."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            found = self.absences.look(self.heard, self.now)
            for name in self.heard:
                if reached(name, self.now) and (name in found.ask or self.now % PERIOD < step):
                    self.heard[name] = self.now
            for name in found.gone:
                self.gone.append((name, self.now))
                del self.heard[name]
        return self.gone


def test_one_that_is_silent_while_others_answer_is_given_up():
    site = Site(["a", "b"])
    ((name, at),) = site.goes_on(300, lambda name, _: name == "b")
    assert name == "a"
    assert SILENT <= at <= SILENT + 10


def test_all_are_silent_and_none_is_given_up():
    assert Site(["a", "b"]).goes_on(900, lambda *_: False) == []
    assert Site(["a"]).goes_on(900, lambda *_: False) == []


def test_after_a_long_break_all_have_time_to_come_back():
    site = Site(["a", "b"])
    site.goes_on(600, lambda *_: False)
    site.goes_on(60, lambda name, now: name == "b" or now > 600 + CARRIES - 5)
    assert site.goes_on(300, lambda *_: True) == []


def test_a_way_that_carries_now_and_then_is_no_witness():
    site = Site(["a", "b"])
    assert site.goes_on(900, lambda name, now: name == "b" and now % 30 < 20) == []


def test_whoever_was_stopped_has_heard_nobody():
    """A laptop that was asleep: what is said to it meanwhile it hears afterwards."""
    site = Site(["a", "b"])
    site.goes_on(70, lambda name, _: name == "b")
    site.now += 600
    site.heard["b"] = site.now
    assert site.goes_on(CARRIES - 5, lambda name, _: name == "b") == []


@given(st.lists(st.tuples(st.floats(0.5, 200), st.booleans()), max_size=20), st.floats(0, 12))
def test_no_live_manager_is_given_up_whatever_the_way_does(spans, reconnects):
    """The way is up and down at will; of those that are there, each takes a while of its own to come back."""
    site = Site(["a", "b", "c"])
    up_since = 0.0
    for seconds, up in spans:
        up_since = site.now if up else float("inf")
        late = {"a": 0.0, "b": reconnects / 2, "c": reconnects}
        since = up_since
        assert site.goes_on(seconds, lambda name, now, since=since, late=late: now >= since + late[name]) == []


def test_not_all_of_many_are_asked():
    site = Absences(PERIOD)
    heard = {f"m{number}": 100.0 for number in range(1000)} | {"gone": 0.0}
    ask = site.look(heard, 101.0).ask
    assert ask[0] == "gone"
    assert len(ask) == 1 + WITNESSES


def test_nobody_is_asked_where_nobody_is_silent():
    assert Absences(PERIOD).look({"a": 95.0, "b": 99.0}, 100.0) == ([], [])


def test_an_interchange_asks_over_its_conversations_and_gives_up_who_does_not_answer():
    now, managers, sent = [0.0], {}, []

    class Socket:
        @staticmethod
        def send_multipart(parts):
            sent.append(parts)

    talks = Conversations(Socket, 900.0, b"end", lambda: now[0], Absences(PERIOD))
    for name in (b"a", b"b"):
        managers[name] = Conversation(name * 8)
        for frame in managers[name].say(b"hello"):
            talks.hear(name, frame)
    gone = []
    while not gone:
        now[0] += 1.1
        assert now[0] < SILENT + 2 * BREAK + 10
        if int(now[0]) % 5 == 0:
            for frame in managers[b"b"].say(b"heartbeat"):
                talks.hear(b"b", frame)
        sent.clear()
        gone = talks.look(managers)
        for name, frame in sent:
            if name == b"b":
                _, answers = managers[b"b"].hear(read(frame))
                for answer in answers:
                    talks.hear(b"b", answer)
    assert gone == [b"a"]
