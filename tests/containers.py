"""Container runtimes that need no installation, and an image made of this machine's Python, for the tests."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil

import pilotage
from pilotage.clusters.packages import fetch

PROGRAMS = ("bash", "sh", "env", "sleep", "cat", "ls", "mkdir", "hostname", "uname", "id")
LEFT = {"test", "idlelib", "site-packages", "lib2to3", "ensurepip", "tkinter", "turtledemo", "__pycache__"}
FOLDERS = "bin dev etc home lib lib64 mnt opt proc root run srv sys tmp usr/bin usr/lib var"
LIBRARIES = "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"


def image(root, packages=("pilotage",)):
    """Make a root file system with Python, in ``/usr/bin/python3``, and packages with what they need.

    Files are links to this machine's where that is possible: nobody may write to them.
    """
    for name in FOLDERS.split():
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in {
        "passwd": "root:x:0:0::/root:/bin/sh\n",
        "group": "root:x:0:\n",
        "hosts": "",
        "resolv.conf": "",
    }.items():
        (root / "etc" / name).write_text(text)
    library = f"usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    standard = Path(sysconfig.get_path("stdlib"))
    for file in standard.rglob("*"):
        inside = file.relative_to(standard)
        if file.is_file() and not LEFT & set(inside.parts) and not inside.parts[0].startswith("config-"):
            _link(file, root / library / inside)
    python = os.path.realpath(sys.executable)
    _link(python, root / "usr/bin" / Path(python).name)
    (root / "usr/bin/python3").symlink_to(Path(python).name)
    programs = [os.path.realpath(shutil.which(name)) for name in PROGRAMS]
    for name, path in zip(PROGRAMS, programs, strict=True):
        _link(path, root / "bin" / name)
    _packages(packages, root / library / "site-packages")
    binaries = [python, *programs, *map(str, root.glob(f"{library}/**/*.so*"))]
    done = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    for found in sorted(
        set(re.findall(r"=> (/lib/\S+|/usr/lib/\S+|/\S+/libpython\S+) \(0x|^\s(/lib64/\S+)", done.stdout, re.M))
    ):
        found = found[0] or found[1]
        _link(os.path.realpath(found), root / (found[1:] if "ld-linux" in found else f"usr/lib/{Path(found).name}"))
    return root


def _packages(names, target):
    seen, todo = set(), list(names)
    while todo:
        name = re.split(r"[^A-Za-z0-9._-]", todo.pop())[0]
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        todo += [one for one in found.requires or [] if "extra ==" not in one]
        for file in found.files or []:
            if ".." not in file.parts and file.suffix not in (".pth", ".pyc") and file.locate().is_file():
                _link(file.locate(), target / file)
    if "pilotage" in seen:  # installed here as a link to its source
        source = Path(pilotage.__file__).parent
        for file in source.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                _link(file, target / "pilotage" / file.relative_to(source))


def _link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copy2(source, target)


# Ours is one mount namespace in which the packages are laid over /usr: podman starts itself and other programs again.
# Explicit limits: where root has not all capabilities, those to which podman raises them are refused.
PODMAN_NAMESPACE = """
set -eu
mount -t overlay -o ro,lowerdir={root}/usr:/usr overlay /usr
echo ready
exec sleep 3600
"""
PODMAN = """#!/bin/sh
export CONTAINERS_CONF={folder}/containers.conf CONTAINERS_STORAGE_CONF={folder}/storage.conf
export CONTAINERS_REGISTRIES_CONF={folder}/registries.conf
mkdir -p "$HOME/.config/containers"
echo '{{"default": [{{"type": "insecureAcceptAnything"}}]}}' > "$HOME/.config/containers/policy.json"
exec nsenter --target {process} --mount --wd="$PWD" -- /usr/bin/podman "$@"
"""
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
APPTAINER = """#!/bin/sh
# It is told what apptainer is told; charliecloud starts the container. It stays beside that, as apptainer's own does.
set -ef
newline='
'
[ "$1" = exec ] || {{ echo "unknown command $1" >&2; exit 1; }}
shift
while :; do
  case $1 in
    --pwd) cwd=$2; shift 2;;
    --bind) binds="$binds$newline--bind$newline$2"; mkdir -p "{image}/${{2#*:}}"; shift 2;;
    --nv|--rocm) shift;;
    -*) echo "unknown option $1" >&2; exit 1;;
    *) break;;
  esac
done
image=$1; shift
mkdir -p "$image$HOME"
export USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
IFS=$newline
setsid {program} $binds --bind "$HOME" --cd "$cwd" "$image" -- "$@" &
inside=$!
trap 'kill -TERM $inside' TERM INT HUP
while kill -0 $inside 2>/dev/null; do code=0; wait $inside || code=$?; done
exit $code
"""


def charliecloud(folder):
    """Return a ``ch-run`` in ``folder``, of a package that is not installed."""
    root = fetch(["charliecloud-runtime"])
    libraries = ":".join(str(root / one) for one in LIBRARIES)
    text = f'exec env LD_LIBRARY_PATH={libraries} {root}/usr/bin/ch-run --unset-env=LD_LIBRARY_PATH "$@"'
    return _program(folder / "ch-run", f"#!/bin/sh\n{text}\n")


def charliecloud_builder(folder):
    """Return a ``ch-image`` in ``folder``, and ``ch-convert`` and ``ch-run`` beside it, with images of its own."""
    root = fetch(["charliecloud-builders", "charliecloud-runtime"])
    inside = folder / "charliecloud" / "bin"  # where each of them looks for the others, and for its modules beside
    inside.mkdir(parents=True)
    (inside.parent / "lib").symlink_to(root / "usr/lib")
    libraries = ":".join(str(root / one) for one in LIBRARIES)
    for target in (inside, folder):
        text = f'exec env LD_LIBRARY_PATH={libraries} {root}/usr/bin/ch-run --unset-env=LD_LIBRARY_PATH "$@"'
        _program(target / "ch-run", f"#!/bin/sh\n{text}\n")
    settings = f"PYTHONPATH={root}/usr/lib/python3/dist-packages CH_IMAGE_STORAGE={folder}/images"
    for name, interpreter in {"ch-image": "/usr/bin/python3", "ch-convert": "/bin/sh"}.items():
        shutil.copy(root / "usr/bin" / name, inside)
        _program(folder / name, f'#!/bin/sh\nexec env {settings} {interpreter} {inside}/{name} "$@"\n')
    return folder / "ch-image"


def apptainer(folder, image, name="apptainer"):
    """Return a stand-in for apptainer, which knows the options that we use, for one image that is a folder."""
    return _program(folder / name, APPTAINER.format(image=image, program=charliecloud(folder)))


@contextlib.contextmanager
def podman(folder):
    """A ``podman`` in ``folder``, of a package that is not installed, with images of its own."""
    root = fetch(["podman", "runc"])
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    )
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    argv = ["unshare", "--mount", "sh", "-c", PODMAN_NAMESPACE.format(root=root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "ready\n"
            yield _program(folder / "podman", PODMAN.format(folder=folder, process=holder.pid))
        finally:
            # What removes a container comes after its end, and still writes.
            psutil.wait_procs([one for one in psutil.process_iter() if _is_of(one, folder)], timeout=20)
            holder.kill()
    for left in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        for one in sorted([left, *left.rglob("*")], reverse=True):
            with contextlib.suppress(OSError):  # somebody's else
                one.rmdir() if one.is_dir() else None


def _is_of(process, folder):
    try:
        return f"{folder}/" in " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return False


def _program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def reason():
    """Return why containers cannot be started here, None where they can."""
    if sys.platform != "linux":
        return "containers need Linux"
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "unshare"))):
        return "charliecloud comes from Debian's packages"
    if subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this machine lets nobody make user namespaces"
    return None
