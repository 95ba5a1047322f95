"""Classes and functions of a script, there and back again."""

import copyreg
import gc
import weakref

import pytest

from pilotage.worker import classes
from pilotage.worker.pickling import ToWorkerPickler
from pilotage.worker.serializer import ToDriver, ToWorker


def test_the_class_of_the_driver_is_found_and_never_written_to(script, elsewhere):
    main = script(
        "class Registry:\n    seen = []\n    level = 1\n    def method(self): return self.level\n"
        "def f(r):\n    Registry.seen.append('there')\n    Registry.level = 7\n    return r, Registry(), Registry\n"
    )
    copyreg._slotnames(main.Registry)  # pickle leaves its answer in the class, here as everywhere
    before = dict(vars(main.Registry))
    main.Registry.seen.append("here")
    given, made, kind = elsewhere(main.f, main.Registry())
    assert type(given) is type(made) is kind is main.Registry
    assert dict(vars(main.Registry)) == before
    assert main.Registry.seen == ["here"]


def test_a_class_gets_the_drivers_attributes_with_each_call(script, elsewhere):
    main = script("class C:\n    level = 1\n    def m(self): return self.level\ndef f(c): return c.m()\n")
    assert elsewhere(main.f, main.C()) == 1
    main.C.level = 2
    main.C.more = 5
    assert elsewhere(main.f, main.C()) == 2
    assert elsewhere(lambda c: c.more, main.C()) == 5


def test_a_class_that_was_defined_again(script, elsewhere):
    """As when a notebook's cell runs twice: an answer to the first goes to what has its name now."""
    main = script("class C: pass\ndef f(): return C()\n")
    answer = elsewhere.raw(main.f)
    old = weakref.ref(main.C)
    exec("class C: pass", main.__dict__)
    gc.collect()
    assert old() is None
    assert type(ToDriver().deserialize(answer.partition(b"\n")[2])) is main.C


def test_a_class_that_is_gone(script, elsewhere):
    main = script("def make():\n    class Local: pass\n    return Local\ndef f(x): return x\n")
    answer = elsewhere.raw(main.f, main.make()())
    gc.collect()
    error = ToDriver().deserialize(answer.partition(b"\n")[2]).get_exception()
    assert "the class __main__.make.<locals>.Local is not in the driver any more" in str(error)


def test_the_classes_sent_are_told_to_whoever_waits(script):
    main = script("def make():\n    class Local: pass\n    return Local\nclass C: pass\n")
    local, kept = main.make(), []
    ToWorker().serialize_and_keep((main.C(), [local(), local()], ValueError), kept)
    assert kept == [main.C, local]


def test_a_class_made_there_is_filled_once_here(elsewhere):
    def make():
        class Made:
            level = 1

        make.made = getattr(make, "made", Made)
        make.made.level += 1
        return make.made()

    first = elsewhere(make)
    type(first).level = "here"
    second = elsewhere(make)
    assert type(second) is type(first)
    assert second.level == "here"


def test_a_class_made_there_goes_there_again(elsewhere):
    def make():
        class Made:
            def answer(self):
                return 42

        return Made

    made = elsewhere(make)
    assert elsewhere(lambda c: c().answer(), made) == 42
    assert type(elsewhere(lambda c: c(), made)) is made


def test_hooks_do_not_run_again(script, elsewhere):
    main = script(
        "log = []\n"
        "class Base:\n    def __init_subclass__(cls, *, key): log.append(key)\n"
        "class A(Base, key='a'): pass\nclass B(A, key='b'): pass\n"
        "def f():\n    class C(B, key='c'): pass\n    return log, B(), vars(Base).keys(), issubclass(C, A)\n"
    )
    log, b, names, derived = elsewhere(main.f)
    assert log == ["a", "b", "c"], "the driver's two, and the one of the class statement in the task"
    assert type(b) is main.B
    assert "__init_subclass__" in names, "it is put back"
    assert derived


def test_a_hook_of_a_library_that_wants_what_is_gone(script, elsewhere, tmp_path):
    """A class of the script with a base from an importable module, whose hook has a required argument."""
    main = script(
        "import pathlib, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "pathlib.Path(sys.path[0], 'hooked_library.py').write_text('class Base:\\n"
        "    def __init_subclass__(cls, *, key): cls.key = key\\n')\n"
        "import hooked_library\nsys.path.pop(0)\n"
        "class Mine(hooked_library.Base, key='k'): pass\ndef f(): return Mine.key, Mine()\n"
    )
    elsewhere(lambda folder: __import__("sys").path.insert(0, folder), str(tmp_path))
    key, mine = elsewhere(main.f)
    assert key == "k"
    assert type(mine) is main.Mine


def test_qualified_names_stay(script, elsewhere):
    main = script(
        "import enum\nclass Outer:\n    class Inner: pass\n    class E(enum.Enum):\n        A = 1\n"
        "def f(k): return k.__qualname__\n"
    )
    assert elsewhere(main.f, main.Outer.Inner) == "Outer.Inner"
    assert elsewhere(main.f, main.Outer.E) == "Outer.E"


def test_an_enum_whose_values_cannot_be_hashed(script, elsewhere):
    main = script("import enum\nclass E(enum.Enum):\n    A = []\n    B = {}\ndef f(e): return e is E.A and E.B\n")
    assert elsewhere(main.f, main.E.A) is main.E.B


def test_functions_with_a_name_come_back_as_themselves(script, elsewhere):
    main = script(
        "def helper(): return 1\nclass C:\n    def m(self): pass\n    @classmethod\n    def c(cls): pass\n"
        "def f(): return helper, C.m, C.c, f, (lambda: helper)\nhidden = helper\n"
    )
    helper, method, of_class, f, unnamed = elsewhere(main.f)
    assert (helper, method, of_class, f) == (main.helper, main.C.m, main.C.c, main.f)
    assert unnamed() is main.helper


def test_a_function_whose_name_is_taken_travels_by_value(script, elsewhere):
    main = script("def helper(): return 1\nold = helper\ndef helper(): return 2\ndef f(): return old\n")
    returned = elsewhere(main.f)
    assert returned() == 1
    assert returned is not main.old


@pytest.mark.parametrize("qualname", ["gone", "<lambda>", "f.<locals>.g"])
def test_functions_without_a_place(script, qualname):
    main = script("def f(): pass\n")
    main.f.__qualname__ = qualname
    assert classes.place_of(main.f) is None


def test_nothing_is_kept_alive_by_sending(script):
    import io

    main = script("def make():\n    class Local: pass\n    return Local\n")
    local = main.make()
    pickler = ToWorkerPickler(io.BytesIO())
    pickler.dump(local())
    seen = weakref.ref(local)
    del local, pickler
    gc.collect()
    assert seen() is None
