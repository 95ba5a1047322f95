"""A function is serialized again exactly when something that travels with it has changed."""

import functools
import math
import pickle
import types

import pytest

from pilotage.engine.functions import Functions

PROGRAM = """
import functools, math, os.path
NUMBER, WORD, TUPLE, LIST, TABLE = 1, "a", (1, "b"), [1, 2], {"a": 1}
LONG = list(range(100))
class Thing:
    size = 1
THING = Thing()
def helper(x): return x + NUMBER
def twice(x): return helper(helper(x))
def plain(x): return x
def number(x): return x + NUMBER
def deep(x): return twice(x)
def module(x): return math.sqrt(x)
def package(x): return os.path.join("a", x)
def listed(x): return LIST[0]
def tabled(x): return TABLE["a"]
def long(x): return LONG[x]
def thing(x): return THING.size
def kind(x): return Thing.size
def missing(x): return NOT_YET
look = TABLE.get
def looked(x): return look("a")
def default(x, y=[], *, z={}): return y, z
def outer(value):
    def inner(x): return value
    def change(new):
        nonlocal value
        value = new
    return inner, change
inner, change = outer(1)
part = functools.partial(number, 1)
"""


@pytest.fixture
def names():
    module = types.ModuleType("__main__")
    exec(PROGRAM, vars(module))
    return module


@pytest.fixture
def functions():
    made = Functions()
    made.count = 0
    original = made._plugin.serialize_and_keep

    def counting(*arguments):
        made.count += 1
        return original(*arguments)

    made._plugin.serialize_and_keep = counting
    return made


def again(functions, function):
    """Return whether ``function`` is serialized again."""
    before = functions.count
    functions.serialized(function, [])
    return functions.count > before


@pytest.mark.parametrize(
    "name",
    ["plain", "number", "deep", "module", "package", "listed", "tabled", "missing", "default", "inner", "part"],
)
def test_as_long_as_nothing_changes_it_is_serialized_once(functions, names, name):
    function = getattr(names, name)
    first = functions.serialized(function, []).message
    assert functions.serialized(function, []).message is first
    assert functions.count == 1


@pytest.mark.parametrize("name", ["long", "thing", "kind"])
def test_what_cannot_be_watched_is_serialized_each_time(functions, names, name):
    function = getattr(names, name)
    assert again(functions, function)
    assert again(functions, function)


CHANGES = {
    "a global": ("number", lambda names: setattr(names, "NUMBER", 2)),
    "a helper's global": ("deep", lambda names: setattr(names, "NUMBER", 2)),
    "a helper": ("deep", lambda names: setattr(names, "helper", lambda x: x)),
    "a helper's code": ("deep", lambda names: setattr(names.helper, "__code__", (lambda x: x).__code__)),
    "its own code": ("plain", lambda names: setattr(names.plain, "__code__", (lambda x: 2).__code__)),
    "its defaults": ("default", lambda names: setattr(names.default, "__defaults__", (1,))),
    "what is in a default": ("default", lambda names: names.default.__defaults__[0].append(1)),
    "what is in a default by name": ("default", lambda names: names.default.__kwdefaults__["z"].update(a=1)),
    "a keyword's default": ("default", lambda names: names.default.__kwdefaults__.update(z=3)),
    "an attribute": ("plain", lambda names: setattr(names.plain, "note", 1)),
    "an item": ("listed", lambda names: names.LIST.__setitem__(0, 5)),
    "one item more": ("listed", lambda names: names.LIST.append(5)),
    "a value": ("tabled", lambda names: names.TABLE.update(a=2)),
    "what a method is of": ("looked", lambda names: names.TABLE.update(a=7)),
    "a key": ("tabled", lambda names: names.TABLE.update(b=2)),
    "a name that was not there": ("missing", lambda names: setattr(names, "NOT_YET", 1)),
    "a name that is gone": ("number", lambda names: delattr(names, "NUMBER")),
    "what it has closed over": ("inner", lambda names: names.change(2)),
    "a partial's function's global": ("part", lambda names: setattr(names, "NUMBER", 2)),
    "a partial's keywords": ("part", lambda names: names.part.keywords.update(y=1)),
    "a module": ("module", lambda names: setattr(names, "math", functools)),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(functions, names, name, change):
    function = getattr(names, name)
    functions.serialized(function, [])
    assert not again(functions, function)
    change(names)
    assert again(functions, function)
    assert again(functions, function) == (not functions._kept)


def test_what_comes_out_is_the_function(functions, names):
    assert pickle.loads(functions.serialized(names.deep, []).message)(1) == 3
    names.NUMBER = 10
    assert pickle.loads(functions.serialized(names.deep, []).message)(1) == 21


def test_a_function_that_can_be_imported_is_sent_by_name(functions):
    assert pickle.loads(functions.serialized(math.sqrt, []).message) is math.sqrt
    assert len(functions.serialized(functools.wraps, []).message) < 60


def test_the_least_used_are_forgotten(functions, monkeypatch):
    monkeypatch.setattr("pilotage.engine.functions.KEPT", 3)
    made = [eval(f"lambda x: {n}") for n in range(5)]
    for function in made:
        functions.serialized(function, [])
    assert len(functions._kept) == 3
    assert not again(functions, made[4])
    assert again(functions, made[0])


def test_what_changes_while_it_is_serialized_is_seen_the_next_time(functions, names):
    original = functions._plugin.serialize_and_keep

    def changing(*arguments):
        message = original(*arguments)
        names.NUMBER += 1
        return message

    functions._plugin.serialize_and_keep = changing
    functions.serialized(names.number, [])
    functions._plugin.serialize_and_keep = original
    assert pickle.loads(functions.serialized(names.number, []).message)(0) == 2


def test_large_functions_are_not_kept_for_ever(functions, monkeypatch):
    monkeypatch.setattr("pilotage.engine.functions.KEPT_BYTES", 100_000)
    made = [eval("lambda x, much=much: x", {"much": bytes(60_000)}) for _ in range(4)]
    for function in made:
        functions.serialized(function, [])
    assert len(functions._kept) == 1
    assert functions._bytes < 100_000
