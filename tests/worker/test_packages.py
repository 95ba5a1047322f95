"""The installed packages, as importlib.metadata tells of them."""

import sys
from importlib.metadata import distributions

from pilotage.worker.packages import packages


def test_all_that_is_installed_here():
    expected = {found.metadata["Name"]: found.version for found in distributions()}
    assert len(expected) > 10
    assert {found.metadata["Name"]: found.version for found in packages()} == expected


def test_forms_of_a_package(tmp_path, monkeypatch):
    texts = {
        "one-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n\nName: in the description\n",
        "two-2.0.dist-info/METADATA": "Name: two\nSummary: a\n  longer one\nVersion: 2.0\n",
        "three.egg-info/PKG-INFO": "Name: three\nVersion: 3.0\n",
        "nameless.dist-info/METADATA": "Version: 5\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = {one.metadata["Name"]: one.version for one in packages()}
    assert found == {"one": "1.0", "two": "2.0", "three": "3.0", None: "5"}
