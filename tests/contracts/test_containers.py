"""What a container runtime owes the workers: each passes the same suite.

charliecloud and podman are real, from Debian's packages. For apptainer and singularity, which Debian 12 has not, a
program that knows the options that we use starts the container by charliecloud.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
import uuid
from pathlib import Path

import psutil
import pytest

import containers
from pilotage.environments.container import recipe, words
from pilotage.environments.recipe import Facts
from pilotage.environments.starting import PROGRAMS
from pilotage.sites.environments import Container
from program import PROGRAM

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # every test has a home of its own
LONG = f"317.{os.getpid()}"
"""Seconds by which the tests know their own processes from those of tests beside them."""
TELL = """
import json, os, sys
print(json.dumps({
    "python": sys.executable, "cwd": os.getcwd(), "argv": sys.argv[1:], "uid": os.getuid(), "host": os.uname().nodename,
    "pids": os.readlink("/proc/self/ns/pid"), "net": os.readlink("/proc/self/ns/net"), "environ": dict(os.environ),
    "flags": [sys.flags.safe_path, sys.flags.no_user_site],
}))
"""
GUARDED = """
import os, subprocess, sys, time
from pilotage.worker import guard, processes

def manager():
    subprocess.Popen(["sleep", "@long@"], start_new_session=True)
    subprocess.run(["sh", "-c", "sleep @long@ >/dev/null 2>&1 &"])
    print("ready", flush=True)
    time.sleep(300)

held = os.environ.pop("PILOTAGE_HOLDER")
guard.guarded(manager, None, holder=processes.from_text(held) if len(sys.argv) < 2 else None)
"""


@pytest.fixture(scope="module")
def place():
    """A folder that no host has otherwise, so that nothing is seen in a container by chance."""
    if why := containers.reason():
        pytest.skip(why)
    folder = Path("/var/tmp") / f"pilotage-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(place):
    return containers.image(place / "image")


SLOW = ("podman", "singularity")
"""Those that `make test-all` alone runs: podman takes long to start, and singularity is what apptainer was."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in sorted(PROGRAMS)],
)
def runtime(request, place, image):
    """The name of a runtime, and its program."""
    folder = place / request.param
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        if request.param == "podman":
            if os.geteuid():
                pytest.skip("podman's packages are laid over /usr by root")
            program = stack.enter_context(containers.podman(folder))
        elif request.param == "charliecloud":
            program = containers.charliecloud(folder)
        else:
            program = containers.apptainer(folder, image, request.param)
        yield request.param, program


@pytest.fixture
def built(runtime, place, image, monkeypatch):
    """Make an environment with settings of the site's; returns the words that start its Python."""
    name, program = runtime
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def make(folders=(), **settings):
        if not {"image", "definition"} & set(settings):
            settings["image"] = str(image)
        wanted = Container(kind="container", runtime=name, **settings)
        made = recipe(wanted, Facts("linux-x86_64", "2.36", {PROGRAMS[name]: str(program)}, str(Path.home())), print)
        prefix = place / name / made.digest
        files = place / name / f"files-{made.digest}"
        for one in (prefix, files):
            shutil.rmtree(one, ignore_errors=True)
            one.mkdir()
        for as_, file in made.files.items():
            os.link(file, files / as_)
        done = subprocess.run(["sh", "-c", made.build, "sh", prefix, files], cwd=prefix, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return words(wanted, str(prefix), [str(one) for one in folders])

    return make


@pytest.fixture
def run(place):
    """A run's folder, and the folder of a script."""
    folder = place / f"run of {uuid.uuid4().hex[:4]}"
    folder.mkdir()
    return folder


def tell(argv, *arguments, **options):
    done = subprocess.run([*argv, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_python_is_the_images_and_the_rest_the_hosts(built, run, monkeypatch):
    script = run / "tell.py"
    script.write_text(TELL)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    monkeypatch.setenv("PARSL_ODD", "two words\nand a line; $HOME '\"")
    monkeypatch.delenv("USER", raising=False)
    said = tell(built(), "-P", script, "a b", "*", "--x", "", cwd=run)
    assert said["python"] == "/usr/bin/python3"
    assert said["argv"] == ["a b", "*", "--x", ""]
    assert said["cwd"] == str(run)
    assert (said["uid"], said["host"]) == (os.getuid(), os.uname().nodename)
    assert [said["pids"], said["net"]] == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net")]
    assert said["flags"] == [True, 1]
    inside = said["environ"]
    assert not {"PYTHONPATH", "LD_LIBRARY_PATH"} & set(inside)
    assert inside["PARSL_ODD"] == os.environ["PARSL_ODD"]
    assert (inside["CUDA_VISIBLE_DEVICES"], inside["HOME"]) == ("1,3", os.environ["HOME"])


def test_what_the_run_needs_is_seen_under_its_own_path(built, run, place):
    behind = place / "behind"
    behind.mkdir(exist_ok=True)
    (behind / "there").write_text("here")
    link = place / f"link-{uuid.uuid4().hex[:4]}"
    link.symlink_to(behind)
    for name in ("script", "data"):
        (place / name).mkdir(exist_ok=True)
        (place / name / "there").write_text("here")
    argv = built([run, link], binds=[f"{place}/data:/inside", str(place / "script")])
    look = "import os, sys, json; print(json.dumps([open(one).read() for one in sys.argv[1:]]))"
    assert (
        tell(argv, "-c", look, link / "there", behind / "there", "/inside/there", place / "script/there")
        == ["here"] * 4
    )
    write = "import sys; open(sys.argv[1], 'w').write('from inside'); print(1)"
    tell(argv, "-c", write, run / "new")
    assert (run / "new").read_text() == "from inside"
    assert (run / "new").stat().st_uid == os.getuid()


def test_what_the_host_has_elsewhere_is_not_seen(built):
    look = "import os, json; print(json.dumps(os.path.exists('/usr/bin/dpkg') or os.path.exists('/usr/local/bin')))"
    assert tell(built(), "-c", look) is False


def test_shared_memory_is_the_hosts(built):
    name = Path(f"/dev/shm/pilotage-test-{uuid.uuid4().hex[:8]}")
    tell(built(), "-c", f"open({str(name)!r}, 'w').write('x'); print(1)")
    assert name.read_text() == "x"
    name.unlink()


@pytest.mark.parametrize("code", [0, 7, 78])
def test_the_exit_code_is_pythons(built, code):
    assert subprocess.run([*built(), "-c", f"raise SystemExit({code})"], timeout=60).returncode == code


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_inside_outlives_what_started_it(runtime, built, run, number):
    (run / "guarded.py").write_text(GUARDED.replace("@long@", LONG))
    argv = [*built(), "-P", str(run / "guarded.py")]
    with begun(argv) as process:
        started = sleepers()
        assert len(started) == 2
        os.killpg(process.pid, number)
        psutil.wait_procs(started, timeout=20)
        left = sleepers()
        for one in left:
            one.kill()
        # Charliecloud becomes the guard itself: what called setsid stays then without a container too.
        escaped = runtime[0] == "charliecloud" and number == signal.SIGKILL
        assert len(left) == escaped
        mine = [one for one in psutil.process_iter() if str(run) in " ".join(cmdline(one))]
        assert psutil.wait_procs(mine, timeout=20)[1] == []


def test_the_guard_is_told_who_started_it(runtime, built, run):
    """The control: where it is not, what some runtimes start stays when they are killed."""
    if runtime[0] == "charliecloud":
        pytest.skip("it becomes what it starts")
    (run / "guarded.py").write_text(GUARDED.replace("@long@", LONG))
    with begun([*built(), "-P", str(run / "guarded.py"), "untold"]) as process:
        started = sleepers()
        os.killpg(process.pid, signal.SIGKILL)
        time.sleep(1.5)
        left = sleepers()
        for one in started:  # the guard, of which they are
            for above in one.parents():
                if "guarded.py" in " ".join(above.cmdline()):
                    above.terminate()
        psutil.wait_procs(started, timeout=20)
        assert left == started


@contextlib.contextmanager
def begun(argv):
    """Start a program, the leader of its group, and wait until it is ready."""
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            said = process.stdout.readline()
            assert said == b"ready\n", process.communicate(timeout=20)
            end = time.monotonic() + 10
            while len(sleepers()) < 2 and time.monotonic() < end:
                time.sleep(0.05)  # they are processes, but no other programs yet
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def sleepers():
    found = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", LONG]]
    return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


WORKFLOW = """
import parsl, sys
from parsl import bash_app, python_app

@python_app
def where():
    import os, sys
    import helper
    return sys.executable, os.getcwd(), helper.NAME, os.path.exists("/usr/bin/dpkg")

@bash_app
def listing(stdout=None):
    return "ls /inside"

@python_app
def sleeper():
    import subprocess
    subprocess.run(["sleep", "@long@"])

with parsl.load():
    print(where().result())
    listing(stdout="listing.txt").result()
    print(open("listing.txt").read().strip())
    if sys.argv[1:]:
        sleeper().result()
"""
SITE = """
[site.box]
scheduler = "local"
max_workers_per_node = 1
[site.box.environment]
kind = "container"
runtime = "{name}"
image = "{image}"
binds = ["{data}:/inside"]
"""


@pytest.fixture
def workflow(runtime, image, place, run, monkeypatch):
    """A script and its site, in a folder with a space in its name, which is the current one."""
    name, program = runtime
    data = place / f"data-{uuid.uuid4().hex[:4]}"
    data.mkdir()
    (data / "measured").touch()
    (run / "helper.py").write_text("NAME = 'of the script'\n")
    (run / "workflow.py").write_text(WORKFLOW.replace("@long@", LONG))
    (run / "pilotage.toml").write_text(SITE.format(name=name, image=image, data=data))
    monkeypatch.chdir(run)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return run / "workflow.py"


def test_a_workflow_runs_in_it(workflow, pilotage):
    done = pilotage("run", workflow, "--site", "box")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(("/usr/bin/python3", str(workflow.parent), "of the script", False)),
        "measured",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_leaves_nothing_in_a_container(workflow, pilotage, number):
    argv = [*map(str, (PROGRAM, "run", workflow, "--site", "box", "--", "sleep"))]
    with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 30
        while not sleepers() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        found = sleepers()
        drivers = [one.pid for one in pilotage.left_behind() if "cli.driver" in " ".join(cmdline(one))]
        assert (len(found), len(drivers)) == (1, 1), process.communicate(timeout=10)
        os.kill(process.pid if number == signal.SIGINT else drivers[0], number)
        process.communicate(timeout=30)
    assert psutil.wait_procs(found, timeout=20)[1] == []


def test_podman_builds_an_image_that_a_node_without_it_takes_from_its_archive(runtime, built, image, run):
    name, program = runtime
    if name != "podman":
        pytest.skip("what builds images for the others is not here")
    with tarfile.open(run / "base.tar", "w") as archive:
        archive.add(image, "/")
    (run / "Containerfile").write_text("FROM scratch\nADD base.tar /\nENV MADE=here\n")
    argv = built(definition=str(run / "Containerfile"))
    (run / "tell.py").write_text(TELL)
    assert tell(argv, run / "tell.py", cwd=run)["environ"]["MADE"] == "here"
    subprocess.run([program, "rmi", "--all", "--force"], check=True, capture_output=True)
    assert tell(argv, run / "tell.py", cwd=run)["python"] == "/usr/bin/python3"


def test_an_archive_that_podman_does_not_take_is_said(runtime, built, run):
    if runtime[0] != "podman":
        pytest.skip("what podman save writes is podman's")
    with tarfile.open(run / "root.tar", "w") as archive:
        archive.add(run / "root.tar", "etc/hosts")
    done = subprocess.run([*built(image=f"file:{run}/root.tar"), "-V"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 127
    assert done.stderr.splitlines()[-1].endswith("image.tar for no image; podman save makes one")


def test_a_folder_has_no_path_of_the_hosts(built, monkeypatch, run):
    """Home is seen inside, and what it has on the host's PATH may be for the host alone."""
    (run / "python3").write_text("#!/nowhere/sh\n")
    (run / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{os.environ['PATH'].split(':')[0]}:{run}:{os.environ['PATH']}")
    look = "import json, os, sys; print(json.dumps([sys.executable, os.environ['PATH']]))"
    python, path = tell(built([run]), "-c", look)
    assert python == "/usr/bin/python3"
    assert str(run) not in path.split(":")


def test_what_cannot_be_is_said(runtime, built):
    with pytest.raises(AssertionError, match="there is no image /nowhere/image"):
        built(image="/nowhere/image")
