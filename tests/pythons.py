"""Other Pythons than that of the tests: of other versions as they are on this machine, and with other packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import parsl

import pilotage
from pilotage.worker import expected

MINORS = ("2.7", *(f"3.{number}" for number in range(5, 15)))


def others():
    """Return the paths of Pythons of other minor versions by version, as far as this machine has them."""
    own = ".".join(map(str, sys.version_info[:2]))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path(os.path.expanduser("~")) / ".pyenv")) / "versions"
    found = {}
    for minor in MINORS:
        kept = sorted(pyenv.glob(f"{minor}.*/bin/python{minor}"))
        path = str(kept[-1]) if kept else shutil.which(f"python{minor}")
        if path and minor != own and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found[minor] = path
    return found


def environment(folder, told, *, real=True):
    """Make a virtual environment with the packages of the tests; return its Python.

    ``told`` are versions that it says that it has, by package: the packages are the real ones all the same, or with
    ``real`` off there are none.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    minor = ".".join(map(str, sys.version_info[:2]))
    packages = folder / "lib" / f"python{minor}" / "site-packages"
    if real:
        source = [Path(parsl.__file__).parents[1], Path(pilotage.__file__).parents[1]]
        (packages / "real.pth").write_text("".join(f"{path}\n" for path in source))
    for name, version in told.items():
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nWords.\n")
    return str(folder / "bin" / "python")


def own():
    """Return the versions that this Python has."""
    return {name: version for name, version in expected.driver().items() if name != "python"}
