"""The plug-ins in Parsl's hands: who sends with what, what is kept, what fails alone."""

import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import parsl.serialize
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl.app.errors import RemoteExceptionWrapper, wrap_error
from parsl.serialize import facade
from parsl.serialize.errors import DeserializationError

from pilotage.worker import serializer
from pilotage.worker.serializer import FunctionToWorker, ToDriver, ToWorker

OURS = (b"pilotage.worker.serializer ToWorker", b"pilotage.worker.serializer ToDriver")

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashable = scalars | st.tuples(scalars, scalars) | st.frozensets(scalars)
data = st.recursive(
    hashable,
    lambda inner: st.lists(inner) | st.dictionaries(hashable, inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(data)
def test_built_in_data_travels_both_ways(value):
    for plugin in (ToWorker(), ToDriver()):
        assert pickle.loads(plugin.serialize(value)) == value


def test_sending_does_not_change_parsl():
    before = dict(facade.methods_for_code), dict(facade.methods_for_data)
    ToWorker().serialize((1, 2))
    FunctionToWorker().serialize(lambda: 1)
    assert (facade.methods_for_code, facade.methods_for_data) == before


def test_reading_results_does_not_change_parsl(elsewhere):
    before = dict(facade.methods_for_code), dict(facade.methods_for_data)
    assert elsewhere(lambda: 3) == 3
    assert (facade.methods_for_code, facade.methods_for_data) == before
    assert not facade.serialize(3).startswith(OURS)


def test_a_process_that_reads_a_call_answers_with_our_plugin():
    """Loaded by Parsl from the name in the message, as on a stock worker."""
    message = OURS[0] + b"\n" + ToWorker().serialize((1,))
    others = list(facade.methods_for_data)
    assert parsl.serialize.deserialize(message) == (1,)
    parsl.serialize.deserialize(message)
    assert list(facade.methods_for_data) == [OURS[1], *others]
    assert next(iter(facade.methods_for_code)) == OURS[1]
    assert parsl.serialize.serialize(5).startswith(OURS[1])


def test_a_parsl_in_a_task_is_parsls_own():
    """Its calls are made by threads of its own; what they send is no answer to ours."""
    parsl.serialize.deserialize(OURS[0] + b"\n" + ToWorker().serialize((1,)))
    with ThreadPoolExecutor(1) as other_thread:
        assert not other_thread.submit(parsl.serialize.serialize, 5).result().startswith(OURS[1])
    assert parsl.serialize.serialize(5).startswith(OURS[1])


class Node:
    def __init__(self, rest):
        self.rest = rest


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later Pythons have a limit of their own, which is fixed")
def test_long_chains():
    chain = None
    for _ in range(5000):
        chain = Node(chain)
    limit, size = sys.getrecursionlimit(), threading.stack_size()
    with pytest.raises(pickle.PicklingError, match="deep"):
        cloudpickle.dumps(chain)
    for plugin in (ToWorker(), ToDriver()):
        read = plugin.deserialize(plugin.serialize(chain))
        for _ in range(5000):
            read = read.rest
        assert read is None
    assert (sys.getrecursionlimit(), threading.stack_size()) == (limit, size)


def test_what_has_no_end():
    class Endless:
        def __reduce__(self):
            return Endless, (Endless(),)

    with pytest.raises(pickle.PicklingError, match="deep"):
        ToWorker().serialize(Endless())


def test_a_global_is_sent_as_it_is_now(script, elsewhere):
    main = script("mode = 'a'\nstate = {'n': 1}\ndef f(): return mode, state['n']\n")
    assert elsewhere(main.f) == ("a", 1)
    main.mode, main.state["n"] = "b", 2
    assert elsewhere(main.f) == ("b", 2)


def test_a_function_keeps_its_globals_between_calls(script, elsewhere):
    main = script("seen = []\ndef f(x):\n    seen.append(x)\n    return seen\n")
    assert elsewhere(main.f, 1) == [1]
    assert elsewhere(main.f, 2) == [1, 2]
    assert main.seen == []


def test_functions_are_kept_by_number_and_by_size(monkeypatch):
    plugin = FunctionToWorker()
    monkeypatch.setattr(plugin, "_functions", plugin._functions.copy())
    plugin._functions.clear()
    monkeypatch.setattr(serializer, "CACHED_FUNCTIONS", 3)

    def payload(n, size=0):
        filling = b"x" * size
        return plugin.serialize(lambda: (n, filling))

    payloads = [payload(n) for n in range(4)]
    functions = [plugin.deserialize(part) for part in payloads]
    assert [plugin.deserialize(payloads[n]) is functions[n] for n in (1, 2, 3)] == [True] * 3
    assert plugin.deserialize(payloads[0]) is not functions[0]
    assert len(plugin._functions) == 3
    monkeypatch.setattr(serializer, "CACHED_BYTES", 10_000)
    large = payload(9, 20_000)
    assert plugin.deserialize(large) is plugin.deserialize(large), "the newest is kept, whatever its size"
    assert len(plugin._functions) == 1


def test_a_result_that_cannot_be_pickled_fails_its_own_call(elsewhere):
    with pytest.raises(TypeError, match="cannot pickle"):
        elsewhere(lambda: (n for n in "abc"))
    assert elsewhere(lambda: 4) == 4


@pytest.mark.parametrize("raised", [False, True])
def test_a_result_that_cannot_be_read_fails_its_own_call(script, elsewhere, raised):
    main = script(
        "class Bad(Exception):\n    def __reduce__(self): return refuse, ()\n"
        "def refuse(): raise ValueError('not here')\n"
        "def f(raised):\n    if raised: raise Bad()\n    return Bad()\n"
    )
    with pytest.raises(DeserializationError, match="not here") as caught:
        elsewhere(wrap_error(main.f), raised)
    assert type(caught.value.__cause__) is ValueError
    assert elsewhere(lambda: 4) == 4


def test_an_exception_is_always_sent():
    """Else Parsl's worker would end with it."""

    class Horror(Exception):
        def __reduce__(self):
            raise RuntimeError("no")

        def __str__(self):
            raise RuntimeError("no")

    read = ToDriver().deserialize(ToDriver().serialize(RemoteExceptionWrapper(Horror, Horror(), None)))
    assert type(read.get_exception()) is RuntimeError
    assert "Horror" in str(read.get_exception())
