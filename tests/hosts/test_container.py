"""Workers in real containers behind a real sshd: on a pool's host, and in the jobs of a login host's scheduler."""

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

import containers
from clusters.labs import CACHE
from fakes.lab import COMMANDS, Lab
from pilotage.environments.starting import PROGRAMS

SITES = {
    "pool": 'scheduler = "ssh"\nhosts = ["far"]\n',
    "login": (
        'extends = "flux"\nlogin = "far"\nreach = "relay"\ninside_address = "127.0.0.1"\nnodes_per_block = 2\n'
        'walltime = "00:05:00"\n'
    ),
}
SITE = """
[site.box]
{how}
run_folder = "{there}/runs"
max_workers_per_node = 1
{more}
[site.box.environment]
kind = "container"
runtime = "{runtime}"
{image}
"""
SCRIPT = """
import json, sys
import parsl
from parsl import bash_app, python_app

@python_app
def where(number):
    import os, sys
    import helper
    name = os.path.realpath(helper.__file__)
    return sys.executable, helper.NAME, name, os.path.exists("/usr/bin/dpkg"), os.environ.get("MADE")

@bash_app
def listing(folder, stdout=None):
    return f"ls {folder}"

with parsl.load():
    print(json.dumps(sorted({future.result() for future in [where(number) for number in range(4)]})))
    listing("/inside", stdout=sys.argv[1]).result()
    print(open(sys.argv[1]).read().split())
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("server", [pytest.param("SetEnv PATH=TMP/there:/usr/bin:/bin", id="far")], indirect=True),
]


@pytest.fixture(scope="module")
def place():
    """A folder that is in no container by chance, as one in /tmp or the home folder is."""
    if why := containers.reason():
        pytest.skip(why)
    folder = Path("/var/tmp") / f"pilotage-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(place):
    return containers.image(place / "image")


@pytest.fixture(scope="module", params=["charliecloud", "podman"])
def runtime(request, place):
    """The name of a runtime, and the folder with its program; no host has that on its PATH yet."""
    folder = place / request.param
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        if request.param == "podman":
            if os.geteuid():
                pytest.skip("podman's packages are laid over /usr by root")
            stack.enter_context(containers.podman(folder))
        else:
            containers.charliecloud_builder(folder)
        yield request.param, folder


@pytest.fixture
def there(place, tmp_path):
    """The far side's folder for runs, and what programs it has: those linked into ``bin``."""
    folder = place / f"there-{uuid.uuid4().hex[:4]}"
    folder.mkdir()
    yield folder
    left = [path.name for path in (folder / "runs").glob("*") if path.name not in ("code", "environments")]
    assert left == [], "a run's folder is left on the host"


@pytest.fixture
def run(server, there, runtime, user_file, pilotage, tmp_path):
    """Run the script on a site with a container whose image is so written; return what it prints."""
    name, folder = runtime
    for program in {PROGRAMS[name], "ch-image", "ch-convert"}:
        if (folder / program).exists():
            (tmp_path / "there" / program).symlink_to(folder / program)
    work = there / "work of mine"
    work.mkdir()
    (work / "script.py").write_text(SCRIPT)
    (work / "helper.py").write_text("NAME = 'of the script'\n")
    data = there / "data"
    data.mkdir()
    (data / "measured").touch()

    def go(how, image, more=""):
        known = {"how": SITES[how], "there": there, "runtime": name, "more": more}
        user_file(SITE.format(**known, image=f'{image}\nbinds = ["{data}:/inside"]'))
        done = pilotage("run", "--site", "box", work / "script.py", "--", tmp_path / "listing.txt", timeout=300)
        assert done.returncode == 0, done.stderr
        found, listed = done.stdout.splitlines()
        assert listed == "['measured']"
        ((python, name_, module, host, made),) = json.loads(found)
        assert (python, name_, host) == ("/usr/bin/python3", "of the script", False)
        assert module.startswith(f"{there}/runs/code/"), "it is the copy that was sent"
        return made

    return go


@pytest.fixture
def lab(there, tmp_path):
    """A fake of Flux that only the far side has on its PATH; its jobs are processes."""
    it = Lab("flux", tmp_path / "lab")
    for name in COMMANDS["flux"]:
        (tmp_path / "there" / name).symlink_to(it.bin / name)
    yield it
    assert it.close() == [], "processes of jobs are left"


@pytest.fixture(autouse=True)
def programs(tmp_path):
    (tmp_path / "there").mkdir()


@pytest.mark.parametrize("how", ["pool", "login"])
def test_a_script_in_containers_there(run, lab, image, how):
    assert run(how, f'image = "{image}"') is None


def test_an_image_that_is_built_there(run, lab, runtime, image, place):
    """From a folder or an archive beside the definition, since no registry is there to build upon."""
    name, _ = runtime
    if name == "podman":
        with tarfile.open(place / "base.tar", "w") as archive:
            archive.add(image, "/")
        base = "ADD base.tar /"
    else:
        base = "COPY image /"
    (place / "Containerfile").write_text(f'FROM scratch\n{base}\nRUN python3 -c "import parsl"\nENV MADE={name}\n')
    assert run("login", f'definition = "{place}/Containerfile"') == name


def test_an_image_that_is_sent_there(run, lab, runtime, image, place, user_file):
    name, folder = runtime
    with tarfile.open(place / "root.tar", "w") as archive:
        archive.add(image, ".")
    if name == "podman":
        for words in (["import", place / "root.tar", "mine"], ["save", "--output", place / "mine.tar", "mine"]):
            subprocess.run([folder / "podman", *words], check=True, capture_output=True)
        subprocess.run([folder / "podman", "rmi", "--all", "--force"], check=True, capture_output=True)
        (place / "root.tar").unlink()
        (place / "mine.tar").rename(place / "root.tar")
    (user_file("").parent / "root.tar").symlink_to(place / "root.tar")  # from the site file's folder
    assert run("pool", 'image = "./root.tar"') is None
