"""What goes along of what a Python has, which is seldom tidy."""

import sys

import pytest

from pilotage.environments.installed import Python, installed, to_carry
from pilotage.errors import UsageError


class Packages:
    """A folder of packages that only their metadata tell of."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name, *requires, installer="pip", record=True, library=False, folder="dist-info"):
        info = self.folder / f"{name}-1.0.{folder}"
        info.mkdir()
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0", *(f"Requires-Dist: {one}" for one in requires)]
        (info / ("METADATA" if folder == "dist-info" else "PKG-INFO")).write_text("\n".join(lines) + "\n")
        (info / "INSTALLER").write_text(f"{installer}\n")
        if record:
            module = f"{name}.cpython-311.so" if library else f"{name}.py"
            (info / "RECORD").write_text(f"{module},,\n{info.name}/RECORD,,\n")

    def carried(self, **options):
        chosen, left = to_carry(installed([str(self.folder)]), **options)
        return [it.name for it in chosen], [it.name for it in left]


@pytest.fixture
def packages(tmp_path):
    return Packages(tmp_path / "lib" / "python3.11" / "site-packages")


def test_what_installs_packages_stays_unless_something_needs_it(packages):
    for name in ("pip", "setuptools", "wheel"):
        packages.add(name)
    packages.add("own", "setuptools>=60")
    assert packages.carried() == (["own", "setuptools"], ["pip", "wheel"])


def test_what_is_the_systems_stays_where_nothing_needs_it(packages):
    packages.add("apt", record=False, installer="debian")
    packages.add("old", record=False, folder="egg-info")
    packages.add("own", "old; python_version < '3'", "apt; extra == 'tools'")
    assert packages.carried() == (["own"], ["apt", "old"])


@pytest.mark.parametrize("requires", ["Old", "middle[tools]"])
def test_what_is_needed_and_cannot_go_is_named(packages, requires):
    packages.add("old", record=False, folder="egg-info")
    packages.add("middle", "old; extra == 'tools'")
    packages.add("own", requires)
    with pytest.raises(UsageError) as raised:
        packages.carried()
    assert "old==1.0 cannot be taken along" in str(raised.value)
    assert packages.carried(given=["old"])[1] == []


def test_condas_libraries_go_with_conda_alone(packages):
    packages.add("numpy", installer="conda", library=True)
    packages.add("click", installer="conda")
    with pytest.raises(UsageError, match='kind = "conda"') as raised:
        packages.carried()
    assert "numpy==1.0" in raised.value.message
    assert "click" not in raised.value.message
    assert packages.carried(named=True) == (["click", "numpy"], [])


def test_conda_itself_stays(packages):
    packages.add("conda", "solver", installer="conda")
    packages.add("solver", installer="conda", library=True)
    packages.add("libmambapy", installer="conda", library=True)
    packages.add("own", "click")
    packages.add("click", installer="conda")
    assert packages.carried() == (["click", "own"], ["conda", "libmambapy", "solver"])


def test_the_first_of_a_name_counts_and_what_pip_left_does_not(packages, tmp_path):
    second = Packages(tmp_path / "second")
    second.add("Own.Name")
    second.add("~own", record=False)
    packages.add("own-name")
    found = installed([str(packages.folder), str(second.folder), str(tmp_path / "none")])
    assert {name: it.info.parent for name, it in found.items()} == {"own-name": packages.folder}


def test_this_python_tells_where_it_has_its_packages():
    python = Python.of()
    assert python.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert {"parsl", "pilotage"} <= set(installed(python.path))


def test_a_python_that_is_none_is_named(tmp_path):
    with pytest.raises(UsageError, match="nothing-there"):
        Python.of(str(tmp_path / "nothing-there"))
