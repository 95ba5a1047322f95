"""Environments of conda packages: a file is solved against a real channel, taken along, built offline, and used."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import conda_channel
from conda_channel import MINOR, PLATFORM, VERSION
from environments.made_up import needs_uv, wheel
from pilotage.environments import conda
from pilotage.environments.equipment import Environment
from pilotage.environments.installed import installed
from pilotage.environments.recipe import Facts
from pilotage.environments.store import Store
from pilotage.environments.there import link_packages
from pilotage.environments.wheels import wheels_of
from pilotage.errors import BuildError, UnsupportedError, UsageError
from pilotage.hosts.local import LocalHost
from pilotage.sites.environments import Conda

pytest.importorskip("rattler", reason="py-rattler is not installed: pip install 'pilotage[conda]'")
FACTS = Facts("linux-x86_64", "2.36", {}, "/home/me")
FILE = """\
name: mine
prefix: /nowhere
channels: [{channel}]
dependencies: [parsl, iniconfig]
variables: {{GREETING: "it's"}}
"""
LOOK = """\
import json, os, sys
import iniconfig, parsl, pilotage, pydantic, zmq
modules = [iniconfig, parsl, pilotage, pydantic, zmq]
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "files": [m.__file__ for m in modules],
    "environment": {name: os.environ.get(name) for name in ("GREETING", "ACTIVATED", "CONDA_PREFIX", "PATH")},
}))
"""


CUT = ["unshare", "-rn"]
if subprocess.run([*CUT, "true"], capture_output=True).returncode:
    CUT = []


class Offline(LocalHost):
    """This machine without any network, where it can be taken away."""

    def run(self, argv, **options):
        return super().run([*CUT, *argv], **options)


@pytest.fixture
def file(tmp_path, channel, no_index):
    """Write the file of an environment."""

    def write(text=FILE, **words):
        path = tmp_path / "environment.yml"
        path.write_text(text.format(**{"channel": channel.as_uri(), **words}))
        return str(path)

    return write


def recipe(path, facts=FACTS, said=None, **words):
    words.setdefault("tool", "rattler")
    return conda.recipe(Conda(kind="conda", file=path, **words), facts, (said if said is not None else []).append)


def look(made, prefix):
    done = subprocess.run([*made.start(prefix), "-P", "-c", LOOK], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_becomes_a_python_there_without_a_network(file, tmp_path):
    said = []
    made = recipe(file(), said=said)
    store = Store(Offline(), str(tmp_path / "there with space"))
    prefix = store.ensure(made, say=said.append)
    found = look(made, prefix)
    assert found["prefix"] == prefix
    assert all(name.startswith(f"{prefix}/lib/python{MINOR}/site-packages/") for name in found["files"])
    environment = found["environment"]
    assert environment["GREETING"] == "it's"
    assert environment["ACTIVATED"] == environment["CONDA_PREFIX"] == prefix
    assert environment["PATH"].startswith(f"{prefix}/bin:")
    # A prefix is patched in texts, and in binaries without a change of their length.
    assert subprocess.check_output([f"{prefix}/bin/where-text"], text=True) == f"{prefix}/share\n"
    binary = Path(prefix, "share/where-binary").read_bytes()
    assert binary.startswith(f"{prefix}/share\0".encode())
    assert len(binary) == len(conda_channel.PLACEHOLDER) + len("/share\0end")
    # A script of a wheel, and one of a noarch package, start this Python.
    for script in ("pilotage", "parsl-perf"):
        done = subprocess.run([f"{prefix}/bin/{script}", "--help"], capture_output=True, text=True, cwd="/")
        assert "sage: " in done.stdout, done.stderr
    assert sorted(os.listdir(tmp_path / "there with space")) == sorted(
        ["files", made.digest, f".{made.digest}.log", f".{made.digest}.lock", f".{made.digest}.use"]
    )
    assert not Path(prefix, ".building").exists()
    assert any("solving environment.yml" in line for line in said)
    store.release()


def test_the_digest_is_of_what_comes_out(file):
    first = recipe(file())
    assert recipe(file(FILE.replace("iniconfig", "iniconfig, dill"))).digest == first.digest  # which was there anyway
    others = {
        recipe(file(FILE.replace(", iniconfig", ""))).digest,
        recipe(file(FILE.replace("it's", "is"))).digest,
        recipe(file(), replace(FACTS, programs={"mamba": "/opt/mamba"}), tool="auto").digest,
    }
    assert len({first.digest, *others}) == 4
    assert "it's" not in json.dumps(dict(first.content)) + first.build


def test_what_pilotage_needs_comes_as_wheels_unless_the_file_has_it(file):
    made = recipe(file())
    wheels = {name.split("-")[0] for name in made.files if name.endswith(".whl")}
    assert {"pilotage", "pydantic", "cloudpickle"} <= wheels
    assert not {"parsl", "dill", "iniconfig"} & wheels
    assert made.expected == {
        "python": MINOR,
        **{name: version(name) for name in ("parsl", "pilotage", "dill", "cloudpickle")},
    }
    assert set(made.content["packages"]) == {name for name in made.files if name.endswith((".conda", ".tar.bz2"))}


@pytest.mark.parametrize(
    ("facts", "words", "message"),
    [
        (replace(FACTS, platform="freebsd-amd64"), {}, "no conda packages for freebsd-amd64"),
        (FACTS, {"tool": "mamba"}, "there is no mamba on the host"),
        (replace(FACTS, libc="2.12"), {}, "py-rattler does not run on linux-x86_64 with glibc 2.12"),
        (replace(FACTS, libc=""), {}, r"py-rattler does not run on linux-x86_64 with glibc \(none\)"),
    ],
)
def test_a_host_that_cannot_have_it(file, facts, words, message):
    with pytest.raises(UnsupportedError, match=message):
        recipe(file(), facts, **words)


@pytest.mark.slow
def test_the_other_side_fetches_where_it_is_to(file, channel, tmp_path):
    """By the URLs of the solution, each archive with its digest."""
    with conda_channel.served(channel, conda_channel.Open) as host:
        _fetched_there(file, host, tmp_path)


def _fetched_there(file, guarded, tmp_path):
    made = recipe(file(channel=f"http://{guarded}/packages"), source="channels")
    assert f"http://{guarded}/packages/{PLATFORM}/python-{VERSION}-0_cpython.conda#" in made.build
    assert not [name for name in made.files if name.endswith((".conda", ".tar.bz2"))]
    store = Store(LocalHost(), str(tmp_path / "there"))
    found = look(made, store.ensure(made))
    assert found["environment"]["GREETING"] == "it's"
    wrong = replace(made, build=made.build.replace(".conda#", ".conda#00"))
    with pytest.raises(BuildError, match=r"py-rattler cannot install the packages: http.*: it has sha256 .*, and 00"):
        store.ensure(wrong)
    assert not Path(store.path(wrong)).exists()
    store.release()


STAND_IN = """#!/bin/sh
printf '%s\\n' "$0" "$@" > {log}
env | grep -E '^(CONDA|MAMBA)_' | sort >> {log}
while [ $# -gt 0 ]; do case $1 in --prefix) prefix=$2;; --file) list=$2;; esac; shift; done
[ -e "$prefix/conda-meta/history" ] || {{ echo "that is no environment" >&2; exit 1; }}
cat "$list" >> {log}
mkdir -p "$prefix/.work"; exec {python} -I {link} {rattler} "$prefix" "$prefix/.work" "$list"
"""


@pytest.mark.parametrize(
    "tool", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("conda", "mamba")), "micromamba"]
)
def test_conda_and_its_kin_get_an_explicit_list(file, tmp_path, tool):
    """A stand-in keeps what it is asked, and does it as conda would: into a folder that is an environment already."""
    import rattler

    program, log = tmp_path / tool, tmp_path / "log"
    words = {"python": sys.executable, "link": link_packages.__file__, "log": log}
    program.write_text(STAND_IN.format(rattler=Path(rattler.__file__).parents[1], **words))
    program.chmod(0o755)
    made = recipe(file(), replace(FACTS, programs={tool: str(program)}), tool="auto")
    assert "link_packages.py" not in made.files
    store = Store(Offline(), str(tmp_path / "there"))
    prefix = store.ensure(made)
    found = look(made, prefix)
    assert found["environment"]["ACTIVATED"] == prefix
    lines = log.read_text().splitlines()
    more = ["--no-rc", "--root-prefix", f"{prefix}/.building/root"] if tool == "micromamba" else []
    listed = f"{prefix}/.building/explicit.txt"
    assert lines[: 9 + len(more)] == [
        *[str(program), "install", "--yes", "--quiet", "--offline", *more],
        *["--prefix", prefix, "--file", listed],
    ]
    assert f"CONDA_PKGS_DIRS={prefix}/.building/packages" in lines
    urls = lines[lines.index("@EXPLICIT") + 1 :]
    assert urls[0] == f"file://{prefix}/.building/channel/{PLATFORM}/python-{VERSION}-0_cpython.conda"
    assert len(urls) == 17
    store.release()


@pytest.mark.parametrize("url", ["http://me:s3cret@{host}/packages", "http://{host}/t/tk-s3cret/packages"])
def test_passwords_and_tokens_go_nowhere(file, channel, private_home, url):
    said = []
    plain = recipe(file())
    with conda_channel.served(channel, conda_channel.Guarded) as host:
        shutil.rmtree(private_home / "state" / "conda" / "packages")
        made = recipe(file(channel=url.format(host=host)), said=said)
        with pytest.raises(UnsupportedError, match="a password or token, which is not sent anywhere") as caught:
            recipe(file(channel=url.format(host=host)), source="channels")
    assert any("fetching 17 conda packages" in line for line in said)
    assert made.digest == plain.digest
    texts = "".join(path.read_text() for path in made.files.values() if path.suffix in (".py", ""))
    shown = json.dumps([dict(made.content), made.build, made.title, said, list(made.files)])
    assert "s3cret" not in shown + texts + str(caught.value)


@pytest.mark.skipif("PILOTAGE_CONDA" not in os.environ, reason="PILOTAGE_CONDA names no conda, mamba or micromamba")
def test_a_real_conda_makes_it(file, tmp_path):
    program = os.environ.get("PILOTAGE_CONDA", "")
    made = recipe(file(), replace(FACTS, programs={Path(program).name: program}), tool="auto")
    store = Store(Offline(), str(tmp_path / "there"))
    prefix = store.ensure(made)
    assert look(made, prefix)["environment"]["ACTIVATED"] == prefix
    store.release()


def test_the_pip_section_is_resolved_here(file, tmp_path):
    """Beside conda's packages, whose versions stay; a line that cannot be had is named by its place in the file."""
    needs_uv()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for it in wheels_of([installed(sys.path)[name] for name in conda_channel.closure(["pilotage", "iniconfig"])]):
        shutil.copy(it.path, wheels)
    wheel(wheels, "little", "1.0", requires=["iniconfig>=1"])
    wheel(wheels, "iniconfig", "99.0")  # the newest, which is not what conda brings
    (tmp_path / "more.txt").write_text("little==1.0\n")
    text = FILE.replace("iniconfig]", "iniconfig, {{pip: [--no-index, '--find-links ./wheels', -r more.txt, {line}]}}]")
    said = []
    made = recipe(file(text, line="tomlkit"), said=said)
    assert "resolving requirements.txt" in said
    assert "little-1.0-py3-none-any.whl" in made.files
    assert not [name for name in made.files if name.startswith(("iniconfig-99", "parsl-")) and name.endswith(".whl")]
    store = Store(Offline(), str(tmp_path / "there"))
    prefix = store.ensure(made)
    look(made, prefix)
    say = "import little, importlib.metadata as m; print(m.version('iniconfig'))"
    there = subprocess.check_output([*made.start(prefix), "-c", say], text=True, cwd="/", stderr=subprocess.DEVNULL)
    assert there.strip() == version("iniconfig")
    store.release()
    with pytest.raises(UsageError, match=r"environment\.yml:4: parsl==1\.0 cannot be had together with the driver's"):
        recipe(file(text, line="parsl==1.0"))
    with pytest.raises(UsageError, match=r"environment\.yml \(pip\): uv cannot install what it asks for"):
        recipe(file(text, line="no-such-package"))


def test_a_build_that_fails_says_why_and_leaves_nothing(file, tmp_path):
    made = recipe(file())
    store = Store(LocalHost(), str(tmp_path / "there"))
    none = replace(made, build=made.build.replace("sys.version_info <", "sys.version_info >"))
    with pytest.raises(BuildError, match=r"there is no Python 3\.10 or newer here, which py-rattler needs"):
        store.ensure(none)
    broken = tmp_path / "broken.tar.bz2"
    broken.write_bytes(b"BZh9 and no more")
    name = next(name for name in made.files if name.startswith("iniconfig"))
    with pytest.raises(BuildError, match="py-rattler cannot install the packages: "):
        store.ensure(replace(made, files={**made.files, name: broken}))
    assert not Path(store.path(made)).exists()
    store.release()


def test_workers_are_started_in_what_activation_sets(tmp_path):
    wanted = Conda(kind="conda", file=str(tmp_path / "environment.yml"))
    assert list(Environment(wanted).words("/there/it", [])) == ["/there/it/bin/pilotage-python"]
