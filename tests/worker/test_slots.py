"""A slot holds what a worker has done, whatever becomes of the worker."""

import os
import signal

from hypothesis import given
from hypothesis import strategies as st

from pilotage.worker.slots import SIZE, Slot, memory, packed, unpacked

RECORDS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 1e6), st.binary(max_size=300)), max_size=30)


@given(RECORDS)
def test_what_is_added_comes_back(records):
    slot = Slot(memory(2), 1)
    slot.prepare(7, len(records))
    for record in records:
        assert slot.add(*record)
    assert [tuple(one) for one in unpacked(slot.records(0, slot.used))] == records
    assert [tuple(one) for one in unpacked(b"".join(packed(*record) for record in records))] == records
    assert (slot.task, slot.calls, slot.begun) == (7, len(records), 0)
    slot.prepare(0, 0)
    assert slot.used == 0
    assert slot.task == 0


def test_what_has_no_room_is_refused_and_harms_nothing():
    shared = memory(3)
    slots = [Slot(shared, rank) for rank in range(3)]
    for slot in slots:
        slot.prepare(1, 2)
    assert slots[1].add(0, 0.5, b"x" * (SIZE // 2))
    assert not slots[1].add(1, 0.5, b"y" * (SIZE // 2))
    assert [outcome for _, _, outcome in unpacked(slots[1].records(0, slots[1].used))] == [b"x" * (SIZE // 2)]
    for slot in (slots[0], slots[2]):
        assert slot.used == 0
        assert slot.task == 1


def test_a_limit_is_obeyed():
    slot = Slot(memory(1), 0)
    slot.prepare(1, 5)
    assert slot.may_begin(0)
    assert slot.may_begin(1)
    slot.limit(2)
    assert not slot.may_begin(2)
    assert slot.begun == 2


def test_it_outlives_the_process_that_wrote_it():
    shared = memory(1)
    Slot(shared, 0).prepare(9, 3)
    child = os.fork()
    if child == 0:
        slot = Slot(shared, 0)
        slot.may_begin(0)
        slot.add(0, 0.25, b"done")
        slot.may_begin(1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    slot = Slot(shared, 0)
    assert slot.begun == 2
    assert [tuple(one) for one in unpacked(slot.records(0, slot.used))] == [(0, 0.25, b"done")]
