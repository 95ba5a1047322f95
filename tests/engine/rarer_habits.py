"""Rarer script habits, several of a kind in one script; see ``habits.py``."""

RARER = {
    "enums that compute": (
        "import enum\n"
        "class Planet(enum.Enum):\n    EARTH = (1, 2)\n    MARS = (3, 4)\n    TERRA = (1, 2)\n"
        "    def __init__(self, mass, radius): self.mass, self.radius = mass, radius\n"
        "    @property\n    def ratio(self): return self.mass / self.radius\n"
        "class Unit(enum.Enum):\n    M = (1, 'metre')\n"
        "    def __new__(cls, value, label):\n        member = object.__new__(cls)\n"
        "        member._value_, member.label = value, label\n        return member\n"
        "class Access(enum.Flag):\n    R = enum.auto()\n    W = enum.auto()\n    RW = R | W\n"
        "class Level(enum.IntEnum):\n    LOW = 1\n    HIGH = 2\n    TOP = 2\n"
        "class Word(str, enum.Enum):\n    YES = 'y'\n"
        "class Do(enum.Enum):\n    DOUBLE = enum.member(lambda x: 2 * x)\n"
        "@python_app\ndef f(planet):\n"
        "    assert planet is Planet.EARTH is Planet.TERRA and Planet['TERRA'].radius == 2 and planet.ratio == 0.5\n"
        "    assert Unit(1).label == 'metre' and Level.TOP is Level.HIGH and Word.YES == 'y'\n"
        "    assert Access.R | Access.W == Access.RW and Do.DOUBLE.value(4) == 8\n"
        "    return Planet.MARS, Unit.M, Access.RW, Level['TOP'], Word.YES, {Planet.MARS: 1}\n",
        "planet, unit, access, level, word, table = f(Planet.EARTH).result()\n"
        "assert planet is Planet.MARS and unit is Unit.M and access is Access.RW and level is Level.HIGH\n"
        "assert word is Word.YES and table[Planet.MARS] == 1",
    ),
    "exceptions of the library keep their attributes": (
        "@python_app\ndef f(n):\n    if n == 0: open('no such file')\n    if n == 1: b'\\xff'.decode()\n    if n == 2: {}['key']\n"
        "    if n == 3: import no_such_module\n    if n == 4:\n        e = ValueError('v')\n"
        "        e.add_note('a note')\n        raise e\n    if n == 5:\n        import subprocess\n"
        "        subprocess.run(['false'], check=True)\n    if n == 6:\n        import json\n        json.loads('{')\n",
        "errors = [f(n).exception() for n in range(7)]\n"
        "assert (errors[0].filename, errors[0].errno, type(errors[0])) == ('no such file', 2, FileNotFoundError)\n"
        "assert (errors[1].object, errors[1].start) == (b'\\xff', 0)\nassert errors[2].args == ('key',)\n"
        "assert errors[3].name == 'no_such_module'\nassert errors[4].__notes__ == ['a note']\n"
        "assert errors[5].returncode == 1 and errors[5].cmd == ['false']\nassert errors[6].pos == 1",
    ),
    "exceptions made in many ways": (
        "from dataclasses import dataclass\n"
        "class Silent(Exception):\n    def __init__(self, code): self.code = code\n"
        "class Slotted(Exception):\n    __slots__ = ('x',)\n"
        "class Both(KeyError, AttributeError): pass\n"
        "@dataclass\nclass Data(Exception):\n    x: int\n"
        "class Own(Exception):\n    def __init__(self, a, b): self.a, self.b = a, b\n"
        "    def __reduce__(self): return Own, (self.a, self.b)\n"
        "class Os(OSError):\n    def __init__(self, path): super().__init__(5, 'broken', path)\n"
        "class Group(ExceptionGroup):\n    def __new__(cls, errors, code):\n"
        "        self = super().__new__(cls, 'group', errors)\n        self.code = code\n        return self\n"
        "    def derive(self, errors): return Group(errors, self.code)\n"
        "def slotted():\n    e = Slotted('s')\n    e.x = 4\n    return e\n"
        "MAKE = [lambda: Silent(1), slotted, lambda: Both('k'), lambda: Data(3), lambda: Own(1, 2), lambda: Os('/p'),\n"
        "        lambda: Group([ValueError('v')], 9)]\n"
        "@python_app\ndef f(n): raise MAKE[n]() from Silent(0)\n",
        "silent, slots, both, data, own, os_, group = [f(n).exception() for n in range(7)]\n"
        "assert type(silent) is Silent and silent.code == 1\nassert type(slots) is Slotted and slots.x == 4\n"
        "assert type(both) is Both and both.args == ('k',)\nassert data == Data(3) and own.b == 2\n"
        "assert type(os_) is Os and os_.filename == '/p' and os_.errno == 5\n"
        "assert type(group) is Group and group.code == 9 and str(group.exceptions[0]) == 'v'\n"
        "for e in (silent, slots, both, data, own, os_, group):\n    assert type(e.__cause__) is Silent",
    ),
    "what surrounds an exception": (
        "import traceback\nclass Low(Exception): pass\n"
        "def deep(n):\n    if n == 0: raise Low('at the bottom')\n    deep(n - 1)\n"
        "@python_app\ndef f(how):\n    try:\n        deep(400)\n    except Low as e:\n"
        "        if how == 'in': raise ValueError('while handling')\n        raise ValueError('hidden') from None\n"
        "@python_app\ndef endless(): return endless_helper()\ndef endless_helper(): return endless_helper()\n",
        "e = f('in').exception()\nassert type(e.__context__) is Low and not e.__suppress_context__\n"
        "text = ''.join(traceback.format_exception(e))\n"
        "assert 'at the bottom' in text and 'in deep' in text and 'script.py' in text\n"
        "e = f('out').exception()\nassert e.__suppress_context__ and 'at the bottom' not in ''.join(traceback.format_exception(e))\n"
        "assert type(endless().exception()) is RecursionError",
    ),
    "exceptions as values": (
        "class Mine(Exception): pass\n@python_app\ndef f(e): return [e, Mine('m'), {'e': KeyError('k')}]\n",
        "mine = Mine('given')\nmine.x = 1\na, b, c = f(mine).result()\n"
        "assert type(a) is Mine and a.x == 1 and str(b) == 'm' and c['e'].args == ('k',)",
    ),
    "tools of threading": (
        "import queue, threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "ready = threading.Event()\nready.set()\ncondition = threading.Condition()\nslots = threading.BoundedSemaphore(2)\n"
        "again = threading.RLock()\nwork = queue.Queue()\nwork.put(1)\nfast = queue.SimpleQueue()\nlocal = threading.local()\n"
        "pool = ThreadPoolExecutor(2)\nlock = threading.Lock()\nlock.acquire()\nlock.release()\n"
        "def square(x): return x * x\n"
        "@python_app\ndef f():\n    assert ready.wait(1)\n    with condition, slots, again, again, lock: condition.notify_all()\n"
        "    fast.put(work.get())\n    local.x = fast.get()\n    return local.x, list(pool.map(square, [2, 3]))\n",
        "assert f().result() == (1, [4, 9])\npool.shutdown()",
    ),
    "a lock that is held": (
        "import threading\nlock = threading.Lock()\n@python_app\ndef f():\n    with lock:\n        return 'in'\n",
        "with lock:\n    future = f()\nassert future.result(timeout=30) == 'in'",
    ),
    "open files": (
        "log = open('log.txt', 'w')\nlog.write('first\\n')\ntable = open('data.txt')\nraw = open('data.txt', 'rb')\nraw.read(3)\n"
        "@python_app\ndef f():\n    log.write('from the task\\n')\n    log.flush()\n    return table.read(), raw.read()\n",
        "assert f().result() == ('content', b'tent')\nassert open('log.txt').read() == 'first\\nfrom the task\\n'",
    ),
    "functions with a memory": (
        "import functools\n@functools.lru_cache(maxsize=None)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "@functools.singledispatch\ndef kind(x): return 'other'\n@kind.register\ndef _(x: int): return 'int'\n"
        "class C:\n    @functools.cached_property\n    def x(self): return 3\n"
        "    @functools.lru_cache\n    def y(self, n): return n\n    add = functools.partialmethod(lambda self, a, b: a + b, 1)\n"
        "@python_app\ndef f(): return fib(30), kind(1), kind(''), C().x, C().y(4), C().add(2)\n",
        "assert f().result() == (832040, 'int', 'other', 3, 4, 3)",
    ),
    "classes that are made in special ways": (
        "class Plugin:\n    known = {}\n    def __init_subclass__(cls, *, key, **rest):\n"
        "        super().__init_subclass__(**rest)\n        assert key not in Plugin.known\n        Plugin.known[key] = cls\n"
        "class A(Plugin, key='a'): pass\nclass B(A, key='b'):\n    def run(self): return 'b'\n"
        "class Meta(type):\n    def __new__(meta, name, bases, body, *, tag):\n        assert 'needed' in body\n"
        "        return super().__new__(meta, name, bases, body)\n"
        "    def __init__(cls, name, bases, body, *, tag): cls.tag = tag\n    def __len__(cls): return 5\n"
        "class WithMeta(metaclass=Meta, tag='t'):\n    needed = 1\n"
        "class Field:\n    def __set_name__(self, owner, name): self.name = name\n    def __get__(self, it, owner): return self.name\n"
        "class HasField:\n    size = Field()\n"
        "class Slots:\n    __slots__ = ('a', '__weakref__')\n"
        "@python_app\ndef f():\n    s = Slots()\n    s.a = 1\n"
        "    return Plugin.known['b']().run(), B(), WithMeta.tag, len(WithMeta), WithMeta(), HasField().size, s\n",
        "run, b, tag, length, m, size, s = f().result()\nassert (run, tag, length, size, s.a) == ('b', 't', 5, 'size', 1)\n"
        "assert type(b) is B and type(m) is WithMeta and type(s) is Slots and list(Plugin.known) == ['a', 'b']",
    ),
    "typing at run time": (
        "from typing import NamedTuple, NewType, ParamSpec, Protocol, TypedDict, TypeVar, runtime_checkable\n"
        "UserId = NewType('UserId', int)\nP = ParamSpec('P')\nT = TypeVar('T')\nclass Movie(TypedDict):\n    name: str\n"
        "@runtime_checkable\nclass HasName(Protocol):\n    name: str\nclass N(NamedTuple):\n    x: int = 1\n"
        "@python_app\ndef f():\n    class Named: name = 'n'\n"
        "    return UserId(3), Movie(name='m'), isinstance(Named(), HasName), N()._replace(x=2), str(P), list[N], T\n",
        "r = f().result()\nassert r[:5] == (3, {'name': 'm'}, True, N(2), '~P') and r[5] == list[N]",
    ),
    "a class made in a function": (
        "def make():\n    class Local:\n        count = 0\n        def __init__(self, x): self.x = x\n    class Oops(Exception): pass\n"
        "    @python_app\n    def f(p):\n        if p is None: raise Oops('o')\n        return Local(p.x + 1)\n"
        "    return f, Local, Oops\n",
        "f, Local, Oops = make()\nr = f(Local(1)).result()\nassert type(r) is Local and r.x == 2\n"
        "assert type(f(None).exception()) is Oops\n"
        "def short():\n    class Gone:\n        x = 5\n    return f(Gone())\nassert type(short().result()) is Local\n"
        "@python_app\ndef back(x): return x\ndef sent():\n    class Gone:\n        x = 5\n    return back(Gone())\n"
        "import gc\nfuture = sent()\ngc.collect()\nassert future.result().x == 5",
    ),
    "a class made in a task": (
        "from dataclasses import dataclass\n@dataclass\nclass Base:\n    x: int\n"
        "@python_app\ndef f():\n    @dataclass\n    class Sub(Base):\n        y: int = 2\n        def area(self): return self.x * self.y\n"
        "    try:\n        Sub()\n    except TypeError:\n        return Sub(3)\n@python_app\ndef g(s): return s.area()\n",
        "s = f().result()\nassert isinstance(s, Base) and s.area() == 6 and g(s).result() == 6 and Base.__name__ == 'Base'",
    ),
    "functions come back as themselves": (
        "import math\ndef helper(): return 1\nclass C:\n    def m(self): return 2\n    @classmethod\n    def c(cls): return cls\n"
        "    @staticmethod\n    def s(): return 3\n"
        "@python_app\ndef f(): return helper, C, C.m, C.c, C.s, math, math.sin, len, C().m, lambda: helper\n",
        "r = f().result()\nassert r[:8] == (helper, C, C.m, C.c, C.s, math, math.sin, len)\n"
        "assert r[0] is helper and r[8]() == 2 and r[3]() is C and r[9]() is helper",
    ),
    "a module loaded from a path": (
        "import importlib.util, os, sys\n"
        "path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib', 'parts', 'by_path.py')\n"
        "spec = importlib.util.spec_from_file_location('by_path', path)\nby_path = importlib.util.module_from_spec(spec)\n"
        "sys.modules['by_path'] = by_path\nspec.loader.exec_module(by_path)\nThing = by_path.Thing\nscale = by_path.scale\n"
        "@python_app\ndef f(t): return Thing(scale(t.x) + by_path.scale(0))\n",
        "t = f(Thing(2)).result()\nassert type(t) is Thing and t.x == 14",
    ),
    "a package of the script": (
        "import package.inner\nfrom package import tools\nfrom package.inner import Base\n"
        "class Mine(Base): pass\n@python_app\ndef f(): return Mine(tools.VALUE), package.inner.relative()\n",
        "m, v = f().result()\nassert type(m) is Mine and (m.x, v) == (11, 11)",
    ),
    "futures inside of containers": (
        "@python_app\ndef f(x): return x + 1\n@python_app\ndef g(d): return d['f'].result() + 1\n",
        "first = f(1)\nfirst.result()\nassert g({'f': first}).result(timeout=30) == 3",
    ),
    "results handed on": (
        "class P:\n    def __init__(self, x): self.x = x\n@python_app\ndef f(p): return P(p.x + 1)\n"
        "@python_app\ndef total(inputs=()): return sum(p.x for p in inputs)\n",
        "assert f(f(f(P(0)))).result().x == 3\nassert total(inputs=[f(P(i)) for i in range(3)]).result() == 6",
    ),
    "files of Parsl": (
        "from parsl.data_provider.files import File\nNAME = 'world'\n"
        "@python_app\ndef f(outputs=()):\n    with open(outputs[0], 'w') as file: file.write(NAME)\n"
        "@python_app\ndef g(inputs=()):\n    with open(inputs[0]) as file: return file.read() + NAME\n",
        "first = f(outputs=[File('made.txt')])\nassert g(inputs=[first.outputs[0]]).result() == 'worldworld'",
    ),
    "defaults, sentinels and weak references": (
        "import weakref\nMISSING = object()\nclass Node: pass\nroot = Node()\nnames = weakref.WeakValueDictionary(root=root)\n"
        "@python_app\ndef f(x=MISSING, seen=[]):\n    seen.append(1)\n    return x is MISSING, len(seen) > 0, names['root'] is root\n",
        "assert f().result() == (True, True, True)",
    ),
    "attributes of a class that change": (
        "class Settings:\n    level = 1\n@python_app\ndef f(): return Settings.level\n@python_app\ndef g(s): return type(s).level\n",
        "assert (f().result(), g(Settings()).result()) == (1, 1)\nSettings.level = 2\n"
        "assert (f().result(), g(Settings()).result()) == (2, 2)",
    ),
    "coroutines and generators": (
        "import asyncio, itertools\nasync def fetch(x):\n    await asyncio.sleep(0)\n    return x * 2\n"
        "def numbers(n):\n    for i in range(n): yield i\ncounter = itertools.count(5)\n"
        "@python_app\ndef f(): return asyncio.run(fetch(4)), list(numbers(3)), next(counter)\n",
        "assert f().result() == (8, [0, 1, 2], 5)",
    ),
    "objects of the library": (
        "import contextvars, decimal, os, random, string\nfrom collections import defaultdict, deque\nfrom pathlib import Path\n"
        "from types import SimpleNamespace\nHERE = Path(__file__).parent\nrng = random.Random(1)\ntable = defaultdict(lambda: 7)\n"
        "words = string.Template('hi $who')\nspace = SimpleNamespace(a=1)\nmode = contextvars.ContextVar('mode', default='slow')\n"
        "environ = os.environ\n"
        "@python_app\ndef f():\n    return (HERE / 'x').name, Path(__file__).name, rng.random(), table['q'],"
        " words.substitute(who='you'), space.a, mode.get(), environ is os.environ, decimal.Decimal('0.1')\n",
        "import random\nr = f().result()\n"
        "assert r == ('x', 'script.py', random.Random(1).random(), 7, 'hi you', 1, 'slow', True, decimal.Decimal('0.1'))",
    ),
    "a pydantic model": (
        "import pydantic\nclass M(pydantic.BaseModel):\n    x: int\n    tags: list[str] = []\n"
        "@python_app\ndef f(m): return M(x=m.x + 1, tags=['t'])\n@python_app\ndef bad(): return M(x='no number')\n",
        "m = f(M(x=1)).result()\nassert type(m) is M and m == M(x=2, tags=['t'])\n"
        "try:\n    bad().result()\nexcept Exception as e:\n    assert 'valid integer' in str(e)\nelse:\n    raise SystemExit(1)",
    ),
    "everything under a main guard": (
        "LIMIT = 3\n@python_app\ndef f(x): return min(x, LIMIT)\ndef main():\n    assert f(9).result() == 3\n",
        "if __name__ == '__main__':\n    main()",
    ),
}

STOCK_PASSES_RARER = {"exceptions of the library keep their attributes"}

FILES = {
    "lib/parts/by_path.py": "FACTOR = 7\nclass Thing:\n    def __init__(self, x): self.x = x\ndef scale(x): return x * FACTOR\n",
    "package/__init__.py": "",
    "package/tools.py": "VALUE = 11\n",
    "package/inner.py": "from . import tools\nclass Base:\n    def __init__(self, x): self.x = x\n"
    "def relative():\n    from .tools import VALUE\n    return VALUE\n",
}
