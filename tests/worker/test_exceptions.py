"""Exceptions arrive as they left."""

import builtins
import pickle
import socket
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl.app.errors import RemoteExceptionWrapper, wrap_error

from pilotage.worker.serializer import ToDriver

SPECIAL = {
    "UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "bad"),
    "UnicodeEncodeError": ("ascii", "é", 0, 1, "bad"),
    "UnicodeTranslateError": ("é", 0, 1, "bad"),
    "BaseExceptionGroup": ("g", [KeyError("k")]),
    "ExceptionGroup": ("g", [KeyError("k")]),
}
BUILT_IN = sorted(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
)
words = st.text(max_size=5) | st.integers() | st.none() | st.binary(max_size=5)
ATTRIBUTES = {
    "OSError": ("errno", "strerror", "filename", "filename2"),
    "ImportError": ("name", "path", "msg"),
    "StopIteration": ("value",),
    "SystemExit": ("code",),
    "UnicodeDecodeError": ("encoding", "object", "start", "end", "reason"),
    "SyntaxError": ("msg", "filename", "lineno", "offset", "text"),
    "NameError": ("name",),
    "AttributeError": ("name",),
}


def back(error):
    """Return ``error`` as the driver gets it, from Parsl's envelope."""
    plugin = ToDriver()
    envelope = RemoteExceptionWrapper(type(error), error, error.__traceback__)
    return plugin.deserialize(plugin.serialize(envelope)).get_exception()


def said(error):
    return type(error), repr(error.args), str(error), repr(vars(error))


def attributes(error):
    names = {name for kind in type(error).__mro__ for name in ATTRIBUTES.get(kind.__name__, ())}
    return {name: getattr(error, name) for name in names}


@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=25)  # of each of some seventy
@given(args=st.lists(words, max_size=4), extra=st.dictionaries(st.sampled_from("abc"), words))
def test_built_in_exceptions(name, args, extra):
    kind = getattr(builtins, name)
    try:
        error = kind(*SPECIAL.get(name, args))
    except (TypeError, ValueError):  # SyntaxError wants certain details
        return
    vars(error).update(extra)
    returned = back(error)
    assert said(returned) == said(error)
    assert attributes(returned) == attributes(error)


@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=25)  # of each of some seventy
@given(args=st.lists(words, max_size=3))
def test_subclasses_with_an_init_of_their_own(name, args):
    base = getattr(builtins, name)

    class Mine(base):
        def __new__(cls, *, given):
            return base.__new__(cls, *given)

        def __init__(self, *, given):
            base.__init__(self, *given)
            self.given = given

    try:
        error = Mine(given=SPECIAL.get(name, args))
    except (TypeError, ValueError):
        return
    returned = back(error)
    assert said(returned) == said(error)
    assert attributes(returned) == attributes(error)


def test_attributes_set_later():
    error = ImportError("m", name="n", path="p")
    error.args = ("other",)
    returned = back(error)
    assert (returned.args, returned.name, returned.path, returned.msg) == (("other",), "n", "p", "m")


def raised(function):
    try:
        function()
    except BaseException as error:
        return error


def test_cause_context_notes_and_tracebacks():
    def low():
        raise KeyError("low")

    def high():
        try:
            low()
        except KeyError as error:
            raise ValueError("high") from error

    def highest():
        try:
            high()
        except ValueError:
            error = OSError(2, "top")
            error.add_note("a note")
            raise error  # noqa: B904  the context is what is tested

    error = raised(highest)
    returned = back(error)
    assert "".join(traceback.format_exception(returned)).count("in low") == 1
    assert traceback.format_exception_only(returned) == traceback.format_exception_only(error)
    assert returned.__cause__ is None
    assert not returned.__suppress_context__
    assert type(returned.__context__.__cause__) is KeyError
    assert returned.__context__.__cause__ is returned.__context__.__context__


def test_raise_from_none():
    def hide():
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    returned = back(raised(hide))
    assert returned.__suppress_context__
    assert "hidden" not in "".join(traceback.format_exception(returned))


def test_causes_in_a_circle():
    first, second = ValueError("1"), ValueError("2")
    first.__context__, second.__context__ = second, first
    returned = back(first)
    assert returned.__context__.__context__ is returned


def test_a_deep_traceback():
    def deep(n):
        return 1 / 0 if n == 0 else deep(n - 1)

    error = raised(lambda: deep(600))
    assert len(traceback.extract_tb(back(error).__traceback__)) == len(traceback.extract_tb(error.__traceback__))


def test_a_class_with_its_own_reduce_keeps_cause_and_notes():
    returned = back(raised(own_with_cause))
    assert (returned.a, returned.b, str(returned.__cause__)) == (1, 2, "'k'")
    assert returned.__notes__ == ["n"]
    assert returned.__traceback__ is not None


class Own(Exception):
    def __init__(self, a, b):
        self.a, self.b = a, b

    def __reduce__(self):
        return Own, (self.a, self.b)


def own_with_cause():
    error = Own(1, 2)
    error.add_note("n")
    raise error from KeyError("k")


class Plain(Exception):
    __slots__ = ("slot",)


def test_parts_that_cannot_be_sent_arrive_as_words():
    with socket.socket() as unsendable:
        error = Plain("text", unsendable, [unsendable])
        error.held, error.kept, error.slot = unsendable, 4, unsendable
        error.__cause__ = KeyError(unsendable)
        error.__context__ = error.__cause__
        returned = back(error)
        assert type(returned) is Plain
        assert returned.args == ("text", repr(unsendable), repr([unsendable]))
        assert (returned.held, returned.kept, returned.slot) == (repr(unsendable), 4, repr(unsendable))
        assert returned.__cause__.args == (repr(unsendable),)
        assert returned.__context__ is returned.__cause__


def test_a_class_that_cannot_be_sent_is_named():
    with socket.socket() as unsendable:

        class Local(Exception):
            held = unsendable

        returned = back(Local("message"))
    assert type(returned) is RuntimeError
    assert str(returned) == f"{Local.__qualname__}: message"


def test_an_object_that_cannot_even_be_shown():
    class Shy:
        def __reduce__(self):
            raise ValueError

        def __repr__(self):
            raise ValueError

    assert "whose repr() raised ValueError" in back(ValueError(Shy())).args[0]


def test_an_exception_as_a_value_keeps_its_traceback():
    error = raised(lambda: 1 / 0)
    returned = pickle.loads(ToDriver().serialize([error]))[0]
    assert traceback.format_exception(returned)[1:-1] == traceback.format_exception(error)[1:-1]


@pytest.mark.parametrize("wrapped", [True, False])
def test_from_a_worker_caught_by_its_class(script, elsewhere, wrapped):
    """Both as Parsl's apps return them, and as its worker catches them itself."""
    main = script(
        "class Mine(Exception):\n    def __init__(self, a, b):\n"
        "        super().__init__(f'{a} {b}')\n        self.a = a\n"
        "class Low(Mine): pass\n"
        "def f():\n    try: raise Low(1, 2)\n    except Low as low: raise Mine(3, 4) from low\n"
    )
    with pytest.raises(main.Mine, match=r"\A3 4\Z") as caught:
        elsewhere(wrap_error(main.f) if wrapped else main.f)
    assert caught.value.a == 3
    assert type(caught.value.__cause__) is main.Low
    assert caught.value.__cause__.a == 1
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert ("/somewhere/script.py", "f") in {(frame.filename, frame.name) for frame in frames}
