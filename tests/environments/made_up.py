"""Little distributions: wheels that are written here byte by byte, and environments to install them in."""

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

IGNORED = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}


def wheel(folder, name="little", version="1.0", files=None, requires=(), scripts=(), tag="py3-none-any", data=None):
    """Write a wheel; ``files`` are its modules, ``data`` what is in its folder of data, as bytes or (bytes, mode)."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    files = {f"{name.replace('-', '_')}/__init__.py": b""} if files is None else dict(files)
    files |= {f"{stem}.data/{path}": content for path, content in (data or {}).items()}
    files[f"{stem}.dist-info/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{stem}.dist-info/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if scripts:
        lines = "".join(f"{script} = {name.replace('-', '_')}:main\n" for script in scripts)
        files[f"{stem}.dist-info/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    record = io.StringIO()
    path = Path(folder) / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for where, given in files.items():
            content, mode = given if isinstance(given, tuple) else (given, 0o644)
            entry = zipfile.ZipInfo(where)
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            csv.writer(record).writerow([where, f"sha256={digest}", len(content)])
        csv.writer(record).writerow([f"{stem}.dist-info/RECORD", "", ""])
        archive.writestr(f"{stem}.dist-info/RECORD", record.getvalue())
    return path


def environment(folder):
    """Make an empty virtual environment; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return Path(folder) / "bin" / "python"


def needs_uv():
    if shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None:
        pytest.skip("uv is not here: make setup-dev")


def install(python, *wheels, by="uv"):
    """Install wheels alone."""
    if by == "uv":
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        words = [uv, "pip", "install", "-q", "--python", python, "--reinstall", "--link-mode", "copy"]
    else:
        words = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-compile"]
    done = subprocess.run(
        [*words, "--no-index", "--no-deps", *wheels],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_NO_CONFIG": "1"},
    )
    assert done.returncode == 0, done.stderr


def packages(python):
    """Return the folder of an environment's packages."""
    (found,) = Path(python).parents[1].glob("lib/python3*/site-packages")
    return found


def tree(python):
    """Return what an environment has, but for itself: content and mode by path, with its own path as a word."""
    top = Path(python).parents[1]
    found = {}
    for path in top.rglob("*"):
        below = path.relative_to(top).as_posix()
        if path.is_file() and not path.is_symlink() and path.name not in IGNORED and "__pycache__" not in below:
            content = path.read_bytes().replace(os.fsencode(top), b"TOP")
            found[below] = (content, path.stat().st_mode & 0o100)
    return {path: known for path, known in found.items() if not _is_its_own(path)}


def _is_its_own(path):
    return path in ("pyvenv.cfg", ".lock", ".gitignore", "CACHEDIR.TAG") or path.startswith(
        ("bin/activate", "bin/Activate")
    )


def build(recipe, folder, *before):
    """Make an environment as a host does, in a new folder; return what has come out. ``before`` begin its command."""
    prefix, files = Path(folder) / "prefix", Path(folder) / "files"
    for one in (prefix, files):
        one.mkdir(parents=True)
    for name, path in recipe.files.items():
        shutil.copy(path, files / name)
    words = [*before, "sh", "-c", recipe.build, "sh", prefix, files]
    return subprocess.run(words, capture_output=True, text=True, cwd=prefix, stdin=subprocess.DEVNULL)


def has(done, prefix, *expected):
    """Hold an environment against what it is to have, as ``name==version``."""
    assert done.returncode == 0, done.stderr + done.stdout
    assert not (prefix / ".new").exists()
    script = "import sys, importlib.metadata as m; print([m.version(one) for one in sys.argv[1:]])"
    words = [prefix / "bin" / "python", "-I", "-c", script, *(one.partition("==")[0] for one in expected)]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.stdout.strip() == str([one.partition("==")[2] for one in expected]), found.stderr
