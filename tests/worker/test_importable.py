"""What another process finds by name, and what therefore travels by value."""

import importlib.util
import json.decoder
import os.path
import sys
import xml.etree.ElementTree

import parsl.app.errors
import pytest

from pilotage.worker.importable import is_importable


@pytest.fixture(autouse=True)
def forget():
    is_importable.cache_clear()
    yield
    is_importable.cache_clear()


def load(path, name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "module", [sys, os.path, json.decoder, xml.etree.ElementTree, parsl.app.errors, importlib._bootstrap]
)
def test_what_is_installed(module):
    assert is_importable(module.__name__)


def test_main_and_the_unknown_are_not():
    assert not is_importable("__main__")
    assert not is_importable("no.such.module")


def test_a_file_loaded_from_its_path(tmp_path, monkeypatch):
    (tmp_path / "by_path.py").write_text("X = 1\n")
    load(tmp_path / "by_path.py", "by_path", monkeypatch)
    assert not is_importable("by_path")
    is_importable.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_importable("by_path")


def test_a_name_that_leads_to_another_file(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twice.py").write_text("")
    load(tmp_path / "a" / "twice.py", "twice", monkeypatch)
    monkeypatch.syspath_prepend(tmp_path / "b")
    assert not is_importable("twice")


def test_a_part_of_a_package_loaded_from_its_path(tmp_path, monkeypatch):
    package = tmp_path / "loose"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("")
    made = load(package / "__init__.py", "loose", monkeypatch)
    made.__path__ = [str(package)]
    load(package / "part.py", "loose.part", monkeypatch)
    assert not is_importable("loose.part")


def test_it_travels_by_value_and_comes_back_as_itself(tmp_path, monkeypatch, elsewhere):
    path = tmp_path / "by_path.py"
    path.write_text(
        "N = 3\nclass C:\n    def m(self): return N\ndef helper(c): return c.m() + N\n"
        "def f(c): return helper(c), C(), C, helper\n"
    )
    module = load(path, "by_path", monkeypatch)
    number, made, kind, helper = elsewhere(module.f, module.C())
    assert number == 6
    assert type(made) is kind is module.C
    assert helper is module.helper
    assert elsewhere(lambda: (module.helper(module.C()), module.N, module.__file__)) == (6, 3, str(path))
