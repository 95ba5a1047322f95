"""Everyday script habits: each a script that is right on threads, and checks itself.

A habit is the text of a whole script. ``LOAD`` is where it loads Parsl; the lines before it define, those after it use.
``STOCK_PASSES`` names those that are right when calls travel by Parsl's own serializer; all others fail then.
Rarer ones are in ``rarer_habits.py``.
"""

HEAD = "import parsl\nfrom parsl import python_app, bash_app, join_app\n"
LOAD = "\nparsl.load()\n"

HABITS = {
    "a global constant": (
        "SCALE = 3\n@python_app\ndef f(x): return x * SCALE\n",
        "assert f(2).result() == 6",
    ),
    "a global that changes between calls": (
        "state = {'n': 1}\nmode = 'a'\n@python_app\ndef f(): return state['n'], mode\n",
        "assert f().result() == (1, 'a')\nstate['n'] = 2\nmode = 'b'\nassert f().result() == (2, 'b')",
    ),
    "a helper function": (
        "def helper(x): return x + 1\n@python_app\ndef f(x): return helper(x)\n",
        "assert f(1).result() == 2",
    ),
    "a helper of a helper": (
        "BASE = 10\ndef inner(x): return x + BASE\ndef outer(x): return inner(x) * 2\n"
        "@python_app\ndef f(x): return outer(x)\n",
        "assert f(1).result() == 22",
    ),
    "a recursive helper": (
        "def fact(n): return 1 if n < 2 else n * fact(n - 1)\n@python_app\ndef f(n): return fact(n)\n",
        "assert f(5).result() == 120",
    ),
    "a helper defined after the app": (
        "@python_app\ndef f(x): return later(x)\ndef later(x): return -x\n",
        "assert f(3).result() == -3",
    ),
    "a class as argument": (
        "class Point:\n    def __init__(self, x): self.x = x\n    def double(self): return Point(self.x * 2)\n"
        "@python_app\ndef f(p): return p.double().x\n",
        "assert f(Point(4)).result() == 8",
    ),
    "isinstance of an argument": (
        "class Point: pass\n@python_app\ndef f(p): return isinstance(p, Point)\n",
        "assert f(Point()).result() is True",
    ),
    "a result of the script's class": (
        "class Point:\n    def __init__(self, x): self.x = x\n@python_app\ndef f(x): return Point(x)\n",
        "p = f(4).result()\nassert isinstance(p, Point) and type(p) is Point and p.x == 4",
    ),
    "a dataclass result": (
        "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass D:\n    x: int\n"
        "    tags: list = field(default_factory=list)\n@python_app\ndef f(x): return D(x, ['t'])\n",
        "assert f(4).result() == D(4, ['t'])\nassert D(1) < f(2).result()",
    ),
    "a frozen slotted dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass D:\n    x: int\n"
        "@python_app\ndef f(d): return {d: D(d.x + 1)}\n",
        "assert f(D(4)).result() == {D(4): D(5)}",
    ),
    "catching the script's exception": (
        "class MyError(Exception): pass\n@python_app\ndef f(): raise MyError('no')\n",
        "try:\n    f().result()\nexcept MyError as e:\n    assert str(e) == 'no' and type(e) is MyError\n"
        "else:\n    raise SystemExit('not raised')",
    ),
    "an exception with its own arguments": (
        "class MyError(ValueError):\n    def __init__(self, code, *, where):\n"
        "        super().__init__(f'{code} at {where}')\n        self.code, self.where = code, where\n"
        "@python_app\ndef f(): raise MyError(7, where='here')\n",
        "try:\n    f().result()\nexcept MyError as e:\n    assert (e.code, e.where, str(e)) == (7, 'here', '7 at here')\n"
        "else:\n    raise SystemExit('not raised')",
    ),
    "the cause of an exception": (
        "class Low(Exception): pass\nclass High(Exception): pass\n@python_app\ndef f():\n"
        "    try:\n        raise Low('l')\n    except Low as e:\n        raise High('h') from e\n",
        "try:\n    f().result()\nexcept High as e:\n    assert type(e.__cause__) is Low\nelse:\n    raise SystemExit(1)",
    ),
    "an exception group": (
        "class A(Exception): pass\n@python_app\ndef f(): raise ExceptionGroup('g', [A('a'), KeyError('k')])\n",
        "try:\n    f().result()\nexcept* A as g:\n    assert len(g.exceptions) == 1\nexcept* KeyError:\n    pass",
    ),
    "an exception that holds what cannot be sent": (
        "import socket\nclass MyError(Exception): pass\n@python_app\ndef f():\n    e = MyError('no')\n"
        "    e.socket = socket.socket()\n    raise e\n",
        "try:\n    f().result()\nexcept MyError as e:\n    assert str(e) == 'no'\nelse:\n    raise SystemExit(1)",
    ),
    "an enum": (
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 2\n@python_app\ndef f(c):\n"
        "    return Color.BLUE if c is Color.RED else None\n",
        "assert f(Color.RED).result() is Color.BLUE",
    ),
    "a named tuple": (
        "from typing import NamedTuple\nclass N(NamedTuple):\n    x: int\n@python_app\ndef f(n): return N(n.x + 1)\n",
        "r = f(N(1)).result()\nassert r == N(2) and type(r) is N",
    ),
    "imports at the top": (
        "import math\nimport os.path\nimport xml.etree.ElementTree as ET\nfrom collections import Counter\n"
        "@python_app\ndef f():\n    return math.pi, os.path.join('a', 'b'), ET.Element('t').tag, Counter('aab')['a']\n",
        "assert f().result()[1:] == ('a/b', 't', 2)",
    ),
    "a closure": (
        "def make(n):\n    @python_app\n    def f(x): return x + n\n    return f\n",
        "assert [make(n)(1).result() for n in (1, 10)] == [2, 11]",
    ),
    "a lambda as argument": (
        "K = 5\n@python_app\ndef f(g, x): return g(x)\n",
        "assert f(lambda x: x + K, 1).result() == 6",
    ),
    "a decorated app": (
        "import functools\ndef twice(fn):\n    @functools.wraps(fn)\n    def inner(*a): return 2 * fn(*a)\n"
        "    return inner\n@python_app\n@twice\ndef f(x): return x\n",
        "assert f(4).result() == 8",
    ),
    "a partial": (
        "from functools import partial\ndef add(a, b): return a + b\nadd5 = partial(add, 5)\n"
        "@python_app\ndef f(x): return add5(x)\n",
        "assert f(1).result() == 6",
    ),
    "a cached helper": (
        "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef slow(x): return x * x\n"
        "@python_app\ndef f(x): return slow(x)\n",
        "assert f(3).result() == 9",
    ),
    "inheritance with super": (
        "from abc import ABC, abstractmethod\nclass Base(ABC):\n    @abstractmethod\n    def area(self): ...\n"
        "    def __init__(self): self.kind = 'base'\nclass Sq(Base):\n    def __init__(self, a):\n"
        "        super().__init__(); self.a = a\n    def area(self): return self.a ** 2\n"
        "@python_app\ndef f(a): return Sq(a)\n",
        "s = f(3).result()\nassert isinstance(s, Base) and s.area() == 9 and s.kind == 'base'",
    ),
    "class and static methods, properties": (
        "class C:\n    count = 2\n    def __init__(self, v): self.v = v\n    @classmethod\n"
        "    def make(cls): return cls(cls.count)\n    @staticmethod\n    def add(a, b): return a + b\n"
        "    @property\n    def twice(self): return C.add(self.v, self.v)\n"
        "@python_app\ndef f(): return C.make().twice\n",
        "assert f().result() == 4",
    ),
    "class state in the script stays its own": (
        "class Reg:\n    seen = []\n    def m(self): return 1\nmethod = Reg.m\n@python_app\ndef f(): return Reg()\n",
        "Reg.seen.append('driver')\nfirst = f().result()\nReg.seen.append('more')\nf().result()\n"
        "assert Reg.seen == ['driver', 'more'] and Reg.m is method and first.seen is Reg.seen",
    ),
    "a generic class": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n"
        "    def __init__(self, v: T): self.v = v\n@python_app\ndef f(b: 'Box[int]'): return Box(b.v + 1)\n",
        "r = f(Box(1)).result()\nassert isinstance(r, Box) and r.v == 2",
    ),
    "a lock of the script": (
        "import threading\nlock = threading.Lock()\n@python_app\ndef f():\n    with lock:\n        return 'in'\n",
        "assert f().result() == 'in'",
    ),
    "a logger of the script": (
        "import logging\nlog = logging.getLogger(__name__)\n@python_app\ndef f():\n    log.debug('x')\n    return log.name\n",
        "assert f().result() == '__main__'",
    ),
    "a compiled expression": (
        "import re\nWORD = re.compile(r'\\w+')\n@python_app\ndef f(t): return WORD.findall(t)\n",
        "assert f('a b').result() == ['a', 'b']",
    ),
    "parsed arguments": (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--n', type=int, default=3)\n"
        "args = p.parse_args([])\n@python_app\ndef f(): return args.n\n",
        "assert f().result() == 3",
    ),
    "a sibling module": (
        "import sibling\nfrom sibling import Thing, SiblingError\n@python_app\ndef f(t):\n"
        "    if t.x < 0: raise SiblingError(t.x)\n    return sibling.make(t.x + 1)\n",
        "r = f(Thing(1)).result()\nassert type(r) is Thing and r.x == 2\n"
        "try:\n    f(Thing(-1)).result()\nexcept SiblingError:\n    pass\nelse:\n    raise SystemExit(1)",
    ),
    "a folder added to the path": (
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))\n"
        "import in_lib\n@python_app\ndef f(): return in_lib.VALUE\n",
        "assert f().result() == 'lib'",
    ),
    "relative files": (
        "@python_app\ndef f():\n    with open('data.txt') as file: return file.read()\n",
        "assert f().result() == 'content'",
    ),
    "future annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n    x: Later\n"
        "class Later: pass\n@python_app\ndef f(d: D) -> D: return d\n",
        "assert isinstance(f(D(1)).result(), D)",
    ),
    "state kept in a global of the worker": (
        "cache = {}\n@python_app\ndef f(k):\n    cache[k] = True\n    return len(cache)\n",
        "assert max(f(i).result() for i in range(6)) > 1",
    ),
    "a walltime": (
        "LIMIT = 1\n@python_app\ndef f(walltime=30): return LIMIT\n",
        "assert f().result() == 1",
    ),
    "a join app": (
        "@python_app\ndef leaf(x): return Leaf(x)\nclass Leaf:\n    def __init__(self, x): self.x = x\n"
        "@join_app\ndef f(n): return [leaf(i) for i in range(n)]\n",
        "r = f(3).result()\nassert [type(p) is Leaf and p.x for p in r] == [0, 1, 2] or [p.x for p in r] == [0, 1, 2]",
    ),
    "a bash app with a helper": (
        "def command(x): return f'echo {x} > out.txt'\n@bash_app\ndef f(x): return command(x)\n",
        "assert f('hi').result() == 0\nassert open('out.txt').read() == 'hi\\n'",
    ),
    "an app mentioned in another": (
        "@python_app\ndef g(x): return x\n@python_app\ndef f(x): return g.__name__ if hasattr(g, '__name__') else 'app'\n",
        "assert f(1).result()",
    ),
    "a function as result": (
        "N = 2\ndef power(x): return x ** N\n@python_app\ndef f(): return power\n",
        "assert f().result()(3) == 9",
    ),
    "the class itself as result": (
        "class C: pass\n@python_app\ndef f(): return C, int\n",
        "assert f().result() == (C, int)",
    ),
    "a large argument": (
        "SIZE = 5_000_000\n@python_app\ndef f(b): return len(b) == SIZE\n",
        "assert f(b'x' * SIZE).result() is True",
    ),
    "a result that cannot be sent": (
        "@python_app\ndef f(): return 1\n@python_app\ndef bad():\n    import threading\n    return threading.current_thread()\n",
        "x = bad()\nassert f().result() == 1\ntry:\n    x.result()\nexcept Exception:\n    pass\nassert f().result() == 1",
    ),
}

STOCK_PASSES = {
    "a closure",
    "a decorated app",
    "relative files",
    "future annotations",
    "a result that cannot be sent",
}


def script(before, after):
    future = "from __future__ import annotations\n"
    start = future if before.startswith(future) else ""
    return start + HEAD + before.removeprefix(future) + LOAD + after + "\nprint('right')\n"


FILES = {
    "sibling.py": "class Thing:\n    def __init__(self, x): self.x = x\nclass SiblingError(Exception): pass\n"
    "def make(x): return Thing(x)\n",
    "lib/in_lib.py": "VALUE = 'lib'\n",
}
