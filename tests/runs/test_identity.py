"""Digests of values and functions: equal where they must be, different where they must be, in every process."""

import collections
import dataclasses
import datetime
import enum
import functools
import importlib
import itertools
import os
import subprocess
import sys
import threading
import types
from concurrent.futures import Future
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl.app.bash import BashApp
from parsl.app.python import PythonApp, timeout
from parsl.data_provider.files import File

from pilotage.runs.identity import Encoder, NotDigestibleError, identity, is_plain, label, unwrapped

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE),
    max_leaves=12,
)


def encoded(value):
    return Encoder(identity).encode(value)


def shape(value):
    """Return ``value`` with its types and signs, so that comparing is as strict as the digest is."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [shape(x) for x in value]
    if kind in (set, frozenset):
        return kind, collections.Counter(repr(shape(x)) for x in value)
    if kind is dict:
        return kind, collections.Counter(repr((shape(k), shape(v))) for k, v in value.items())
    return kind, repr(value)


def reordered(value):
    """Return an equal value: no object shared, dicts and sets filled the other way round."""
    kind = type(value)
    if kind in (list, tuple):
        return kind(reordered(x) for x in value)
    if kind in (set, frozenset):
        return kind(reordered(x) for x in reversed(list(value)))
    if kind is dict:
        return {reordered(k): reordered(v) for k, v in reversed(value.items())}
    if kind is str:
        return "".join(list(value))
    return value


@given(VALUES)
def test_equal_values_have_one_digest(value):
    assert encoded(value) == encoded(reordered(value))


@given(VALUES, VALUES)
def test_different_values_have_different_digests(one, other):
    assert (encoded(one) == encoded(other)) == (shape(one) == shape(other))


@given(VALUES)
def test_sharing_does_not_count(value):
    assert encoded([value, value]) == encoded([value, reordered(value)])


@dataclasses.dataclass
class Point:
    x: int
    y: list


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


Pair = collections.namedtuple("Pair", "a b")


class Words(set):
    pass


def double(x):
    return 2 * x


def _subarray():
    return numpy.arange(20).reshape(4, 5)[::2, 1:4]


DIFFERENT = {
    "true": True,
    "one": 1,
    "float": 1.0,
    "text": "1",
    "bytes": b"1",
    "bytearray": bytearray(b"1"),
    "list": [1],
    "tuple": (1,),
    "nested": [[1], []],
    "nested otherwise": [[], [1]],
    "set": {1},
    "frozenset": frozenset({1}),
    "set subclass": Words("abc"),
    "dict": {1: None},
    "ordered": collections.OrderedDict([(1, 2), (3, 4)]),
    "ordered otherwise": collections.OrderedDict([(3, 4), (1, 2)]),
    "defaultdict": collections.defaultdict(list, {1: [2]}),
    "defaultdict of sets": collections.defaultdict(set, {1: [2]}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1]),
    "point": Point(1, [2]),
    "other point": Point(1, [3]),
    "namedtuple": Pair(1, 2),
    "enum": Colour.RED,
    "other enum": Colour.BLUE,
    "path": Path("a"),
    "file": File("a"),
    "other file": File("b"),
    "date": datetime.date(2000, 1, 1),
    "timedelta": datetime.timedelta(1),
    "range": range(3),
    "slice": slice(1, 2),
    "ellipsis": ...,
    "array": numpy.array([1, 2]),
    "array of int8": numpy.array([1, 2], "i1"),
    "column": numpy.array([[1], [2]]),
    "view": _subarray(),
    "objects": numpy.array([1, "a"], object),
    "times": numpy.array(["2000-01-01"], "M8[D]"),
    "scalar array": numpy.float64(1.0),
    "masked": numpy.ma.masked_array([1, 2], [True, False]),
    "function": double,
    "lambda": lambda x: 2 * x + 1,
    "partial": functools.partial(double, 1),
    "other partial": functools.partial(double, 2),
    "class": Point,
    "builtin": len,
    "method": [1].append,
    "type": int,
    "module": os,
    "method descriptor": str.upper,
}


def test_these_are_all_different():
    digests = {name: encoded(value) for name, value in DIFFERENT.items()}
    assert len(set(digests.values())) == len(digests)


def test_arrays_count_by_their_values():
    assert encoded(_subarray()) == encoded(numpy.asfortranarray(_subarray().copy()))
    assert encoded(Words("abc")) == encoded(Words("cba"))


def test_a_file_counts_by_its_url():
    file = File("data.txt")
    file.local_path = "/elsewhere/data.txt"
    assert encoded(file) == encoded(File("data.txt"))


def test_values_that_contain_themselves():
    def loop(last):
        made = {"name": "a"}
        made["self"] = [made, last]
        return made

    assert encoded(loop(1)) == encoded(loop(1)) != encoded(loop(2))
    point = Point(1, [])
    point.y.append(point)
    other = Point(1, [])
    other.y.append(other)
    assert encoded(point) == encoded(other)


@pytest.mark.parametrize("make", [threading.Lock, lambda: (x for x in ()), sys._getframe, Future, itertools.count])
def test_what_no_other_process_could_recognise(make):
    with pytest.raises((NotDigestibleError, TypeError)):
        encoded([make()])


def test_an_open_file_is_not_recognised():
    with open(os.devnull) as file, pytest.raises((NotDigestibleError, TypeError)):
        encoded([file])


def test_plain_is_exact():
    assert is_plain([1, (2.0, "a", None)])
    assert not is_plain(numpy.float64(1))  # a subclass of float that marshal would take for a buffer
    assert not is_plain(Pair(1, 2))


SEEDED = """
import collections, dataclasses, enum, functools
from pilotage.runs.identity import Encoder, NotDigestibleError, identity, label
WORDS = {"alpha", "beta", "gamma"}
class Colour(enum.Enum):
    RED = "r"; BLUE = "b"
@dataclasses.dataclass
class Point:
    x: int
    tags: set = dataclasses.field(default_factory=set)
    def far(self): return self.x in {"one", "two", "three"}
def f(x, *, names=frozenset({"a", "b", "c"})):
    return Point(x), x in {"one", "two", "three"}, WORDS, Colour.RED
values = [WORDS, {"x": WORDS, "y": f}, Point(1, {"a", "b", "c"}), Colour.RED, frozenset(map(str, range(9))), f, Point]
print(Encoder(identity).encode(values).hex(), identity(f).hex(), label(f).hex())
"""


def test_the_hash_seed_does_not_count():
    printed = set()
    for seed in ("1", "77"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        printed.add(subprocess.run([sys.executable, "-c", SEEDED], env=env, capture_output=True, check=True).stdout)
    assert len(printed) == 1


BASE = """
import math
import functools
from collections import namedtuple

SCALE = 3
TABLE = {"a": 1}
UNUSED = 5

def helper(x):
    return inner(x) + 1

def inner(x):
    return x * SCALE

def unrelated(x):
    return x

class Shape:
    sides = 4
    def area(self):
        return inner(self.sides)
    @property
    def name(self):
        return "shape"
    @staticmethod
    def make():
        return Shape()

class Square(Shape):
    pass

def loop(x):
    return other(x - 1) if x else 0

def other(x):
    return loop(x - 1) if x else 0

@functools.lru_cache
def cached(x):
    return x + 1

def decorated(f):
    @functools.wraps(f)
    def wrapper(x):
        return f(x) + 10
    return wrapper

@decorated
def app(x, y=2):
    # a comment
    values = [inner(i) for i in range(x)]
    return helper(x) + Square().area() + TABLE["a"] + loop(x) + cached(x) + math.floor(y)
"""

NO_CHANGE = {
    "a comment": ("    # a comment\n", "    # another\n\n\n"),
    "a docstring": ("    # a comment\n", '    """What it does."""\n'),
    "formatting": ("    return helper(x) + Square().area()", "    return helper(  x\n ) + (Square()\n   .area())"),
    "unused data": ("UNUSED = 5", "UNUSED = 6"),
    "unrelated code": ("def unrelated(x):\n    return x\n", "def unrelated(x):\n    return x + 1\nNEW = 3\n"),
    "lines before": ("import math\n", "import math\n\n\n\n"),
    "what is not called": ("\n\ndef decorated", "\n\ndef extra():\n    return app(1)\n\ndef decorated"),
}
CHANGE = {
    "its code": ("range(x)", "range(x + 1)"),
    "a helper": ("inner(x) + 1", "inner(x) + 2"),
    "a helper's helper": ("x * SCALE", "x + SCALE"),
    "a constant": ("SCALE = 3", "SCALE = 4"),
    "a table": ('TABLE = {"a": 1}', 'TABLE = {"a": 2}'),
    "a class's data": ("sides = 4", "sides = 5"),
    "a method": ("inner(self.sides)", "inner(self.sides + 1)"),
    "a property": ('"shape"', '"form"'),
    "a static method": ("return Shape()", "return Square()"),
    "a base": ("class Square(Shape)", "class Square(Shape, dict)"),
    "a cycle": ("return loop(x - 1) if", "return loop(x - 2) if"),
    "what a cache is around": ("def cached(x):\n    return x + 1", "def cached(x):\n    return x + 2"),
    "a default": ("y=2", "y=3"),
    "its decorator": ("f(x) + 10", "f(x) + 11"),
    "a library's function": ("import math\n", "import cmath as math\nmath.floor = math.exp\n"),
}


def loaded(text, name="program"):
    space = {"__name__": name}
    exec(compile(text, "<program>", "exec"), space)
    return space


@pytest.mark.parametrize("what", NO_CHANGE)
def test_what_changes_nothing(what):
    old, new = NO_CHANGE[what]
    assert BASE.count(old) == 1
    assert identity(loaded(BASE)["app"]) == identity(loaded(BASE.replace(old, new))["app"])


@pytest.mark.parametrize("what", CHANGE)
def test_what_changes_what_it_does(what):
    old, new = CHANGE[what]
    assert BASE.count(old) == 1
    one, other = loaded(BASE)["app"], loaded(BASE.replace(old, new))["app"]
    assert identity(one) != identity(other)
    assert label(one) == label(other) or what == "a default"


def test_parsls_wrappers_are_seen_through():
    def bash():
        return "true"

    for app in (BashApp(bash).wrapped_remote_function, PythonApp(double).func, timeout(PythonApp(double).func, 3)):
        assert unwrapped(app) in (bash, double)
        assert identity(app) == identity(unwrapped(app))
        assert label(app) == label(unwrapped(app))
    assert unwrapped(functools.partial(double, 1)).args == (1,)


def test_an_app_that_calls_another_changes_with_it():
    text = "from parsl import python_app, join_app\n@python_app\ndef inner(x):\n    return x\n"
    text += "@join_app\ndef outer(x):\n    return inner(x)\n"
    one, same, other = (loaded(t)["outer"] for t in (text, text + "\n", text.replace("return x\n", "return -x\n")))
    assert identity(one) == identity(same) != identity(other)


def test_functions_made_by_a_function_are_told_apart():
    def make(n):
        def made(x):
            return x + n

        return made

    assert label(make(1)) == label(make(1)) != label(make(2))
    assert identity(make(1)) == identity(make(1)) != identity(make(2))
    lambdas = [lambda x: x + 1, lambda x: x + 2]
    assert label(lambdas[0]) != label(lambdas[1])


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """Write a module that can be imported; gone afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = set(sys.modules)

    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        for loaded_name in set(sys.modules) - names:
            del sys.modules[loaded_name]

    yield write
    for name in set(sys.modules) - names:
        del sys.modules[name]


def test_an_attribute_of_a_module_of_ones_own(importable):
    text = "import mine_a\ndef app(x):\n    return mine_a.f(x)\n"

    def digest_with(helpers):
        importable("mine_a", helpers)
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            return identity(loaded(text)["app"])
        finally:
            sys.dont_write_bytecode = before

    one = digest_with("def f(x):\n    return x\n")
    assert one == digest_with("# moved\ndef g(x):\n    return 3\ndef f(x):\n    return x\n")
    assert one != digest_with("def f(x):\n    return x + 1\n")


@pytest.mark.parametrize("how", ["import pack.mine_b", "from pack import mine_b", "from pack.mine_b import f"])
def test_what_it_imports_when_it_runs(how, importable):
    app = loaded(f"def app(x):\n    {how}\n    return x\n")["app"]

    def fresh():
        return types.FunctionType(app.__code__, {"__name__": "program"}, "app")

    importable("pack/__init__", "")
    importable("pack/mine_b", "from . import mine_c\ndef f(x): return x\n")
    importable("pack/mine_c", "A = 1\n")
    one = identity(fresh())
    assert not {"pack", "pack.mine_b"} & set(sys.modules), "nothing is imported for it"
    importable("pack/mine_c", "A = 1  # a comment\n")
    assert one == identity(fresh())
    importable("pack/mine_c", "A = 2\n")
    assert one != identity(fresh())


def test_it_is_the_code_that_was_loaded(tmp_path):
    """A script that is edited while it runs is still the one that was started."""
    path = tmp_path / "script.py"
    path.write_text("def app(x):\n    return x\n")
    space = {"__name__": "program"}
    exec(compile(path.read_text(), str(path), "exec"), space)
    before = identity(loaded(path.read_text())["app"])
    path.write_text("def app(x):\n    return x + 1\n")
    assert identity(space["app"]) == before
