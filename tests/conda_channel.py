"""A real conda channel in a folder: this machine's Python and what is installed in it, packed as conda packs.

The interpreter is of this platform and has files in which a prefix is patched; packages of pure Python are ``noarch``.
Both formats of archives occur: the interpreter is a ``.conda``, the rest are ``.tar.bz2``.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import struct
import sys
import tarfile
import threading
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PLACEHOLDER = "/opt/placehold_" + "placehold_" * 20 + "end"
MINOR = "{}.{}".format(*sys.version_info[:2])
VERSION = "{}.{}.{}".format(*sys.version_info[:3])
PLATFORM = "linux-64"
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "site-packages"}
LEFT_OUT |= {"dist-packages", "__pycache__", "msilib", "distutils"}


class Package:
    """What a package is made of: its files with their content, and what its index says."""

    def __init__(self, name, version, *, noarch=False, depends=(), build="0"):
        self.name, self.version, self.build = name, version, build
        self.noarch = noarch
        self.files = {}  # path -> (bytes, mode)
        self.patched = {}  # path -> "text" | "binary"
        self.links = {}  # path -> where to
        self.entry_points = []
        self.index = {
            "name": name,
            "version": version,
            "build": build,
            "build_number": 0,
            "depends": list(depends),
            "subdir": self.subdir,
            "timestamp": 1700000000000,
        }
        self.index |= {"noarch": "python"} if noarch else {"platform": "linux", "arch": "x86_64"}

    @property
    def subdir(self):
        return "noarch" if self.noarch else PLATFORM

    @property
    def stem(self):
        return f"{self.name}-{self.version}-{self.build}"

    def info(self):
        paths = []
        for path in sorted({*self.files, *self.links}):
            data = self.files[path][0] if path in self.files else b""
            entry = {
                "_path": path,
                "path_type": "softlink" if path in self.links else "hardlink",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_in_bytes": len(data),
            }
            if path in self.patched:
                entry |= {"file_mode": self.patched[path], "prefix_placeholder": PLACEHOLDER}
            paths.append(entry)
        found = {
            "info/index.json": self.index,
            "info/paths.json": {"paths": paths, "paths_version": 1},
            "info/about.json": {"summary": f"{self.name}, packed for a test"},
        }
        if self.noarch:
            noarch = {"type": "python", "entry_points": self.entry_points}
            found["info/link.json"] = {"noarch": noarch, "package_metadata_version": 1}
        return {name: (json.dumps(value).encode(), 0o644) for name, value in found.items()}

    def write(self, channel, form="tar.bz2"):
        folder = channel / self.subdir
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{self.stem}.{form}"
        if form == "tar.bz2":
            target.write_bytes(archive({**self.info(), **self.files}, self.links, "w:bz2", compresslevel=1))
            return target
        with zipfile.ZipFile(target, "w") as whole:
            whole.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
            whole.writestr(f"pkg-{self.stem}.tar.zst", frame(archive(self.files, self.links, "w")))
            whole.writestr(f"info-{self.stem}.tar.zst", frame(archive(self.info(), {}, "w")))
        return target


def archive(files, links, mode, **options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **options) as tar:
        for path, (data, permissions) in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), permissions
            tar.addfile(member, io.BytesIO(data))
        for path, to in sorted(links.items()):
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, to
            tar.addfile(member)
    return out.getvalue()


def frame(data):
    """Return ``data`` as a Zstandard frame of raw blocks: nothing in the standard library compresses so."""
    out = [struct.pack("<I", 0xFD2FB528), bytes([0xE0]), struct.pack("<Q", len(data))]  # one segment, size in 8 bytes
    blocks = [data[start : start + (1 << 17)] for start in range(0, len(data), 1 << 17)] or [b""]
    for number, block in enumerate(blocks):
        out += [struct.pack("<I", len(block) << 3 | (number == len(blocks) - 1))[:3], block]
    return b"".join(out)


def python():
    """Return the interpreter that runs this, as a package that works wherever it is linked."""
    base = Path(sys.base_prefix)
    package = Package("python", VERSION, build="0_cpython")
    package.index["python_site_packages_path"] = f"lib/python{MINOR}/site-packages"
    interpreter = Path(os.path.realpath(base / "bin" / f"python{MINOR}"))
    package.files[f"bin/python{MINOR}"] = (interpreter.read_bytes(), 0o755)
    package.links |= {"bin/python": f"python{MINOR}", "bin/python3": f"python{MINOR}"}
    for library in (base / "lib").glob(f"libpython{MINOR}.so*"):
        if not library.is_symlink():
            package.files[f"lib/{library.name}"] = (library.read_bytes(), 0o755)
    for folder, folders, names in os.walk(base / "lib" / f"python{MINOR}"):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        for name in names:
            file = Path(folder) / name
            if name.endswith((".py", ".so")) and file.is_file():
                package.files[file.relative_to(base).as_posix()] = (file.read_bytes(), 0o644)
    package.files[f"lib/python{MINOR}/site-packages/README.txt"] = (b"packages\n", 0o644)
    package.files["bin/where-text"] = (f"#!/bin/sh\necho {PLACEHOLDER}/share\n".encode(), 0o755)
    package.files["share/where-binary"] = (f"{PLACEHOLDER}/share".encode() + b"\0" + b"end", 0o644)
    package.patched = {"bin/where-text": "text", "share/where-binary": "binary"}
    package.files["etc/conda/activate.d/python.sh"] = (b'export ACTIVATED="$CONDA_PREFIX"; echo noise\n', 0o644)
    return package


def installed(name):
    """Return a distribution that is installed here as a package."""
    found = distribution(name)
    files = [file for file in found.files or [] if "__pycache__" not in file.parts and file.parts[0] != ".."]
    compiled = any(file.suffix == ".so" or ".so." in file.name for file in files)
    depends = [f"python {MINOR}.*"] if compiled else ["python >=3.8"]
    depends += [f"{canonicalize_name(need.name)} {need.specifier}".strip() for need in needs(name)]
    package = Package(canonicalize_name(found.metadata["Name"]), found.version, noarch=not compiled, depends=depends)
    root = f"lib/python{MINOR}/site-packages" if compiled else "site-packages"
    for file in files:
        path = Path(found.locate_file(file))
        if path.is_file():
            package.files[f"{root}/{file.as_posix()}"] = (path.read_bytes(), 0o644)
    package.entry_points = [
        f"{point.name} = {point.value}" for point in found.entry_points if point.group == "console_scripts"
    ]
    return package


def needs(name):
    """Return what a distribution requires here."""
    found = map(Requirement, distribution(name).requires or [])
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": ""})]


def closure(names):
    """Return names of distributions, and of all that they need here."""
    seen, todo = set(), list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in seen:
            seen.add(name)
            todo += [need.name for need in needs(name)]
    return sorted(seen)


def index(channel):
    """Write the channel's index, as its server has it."""
    from rattler.index import index_fs

    (channel / "noarch").mkdir(exist_ok=True)
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))


def make(channel, distributions, more=()):
    """Make a channel with Python, distributions that are installed here with what they need, and more packages."""
    channel.mkdir(parents=True)
    python().write(channel, "conda")
    for package in [*map(installed, closure(distributions)), *more]:
        package.write(channel)
    index(channel)
    return channel


class Guarded(http.server.SimpleHTTPRequestHandler):
    """A channel that wants a password (me, s3cret), or a token in the path (tk-s3cret)."""

    def do_GET(self):
        allowed = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:s3cret").decode()
        if self.path.startswith("/t/tk-s3cret/"):
            self.path, allowed = self.path.removeprefix("/t/tk-s3cret"), True
        if allowed:
            super().do_GET()
        else:
            self.send_error(401)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Open(Guarded):
    """A channel for everybody."""

    do_GET = http.server.SimpleHTTPRequestHandler.do_GET


@contextlib.contextmanager
def served(channel, kind):
    """Serve a channel on a port of this machine; yields ``host:port``."""
    handler = functools.partial(kind, directory=str(channel.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
