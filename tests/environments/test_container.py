"""What is made of a site's container: the scripts that start it, what is built there, and what is refused."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage.assembly.equipping import with_files
from pilotage.environments.container import recipe, words
from pilotage.environments.definitions import files, named, packed
from pilotage.environments.recipe import Facts
from pilotage.errors import BuildError, SiteValueError, UnsupportedError
from pilotage.sites.catalogue import Catalogue
from pilotage.sites.environments import Container

GOLDEN = Path(__file__).parent / "golden"
FACTS = Facts(
    "linux-x86_64",
    "2.28",
    {name: f"/usr/bin/{name}" for name in ("apptainer", "singularity", "podman", "ch-run", "ch-image")},
    "/home/ada",
)
RUNTIMES = ("apptainer", "singularity", "podman", "charliecloud")


def made(runtime, **settings):
    return recipe(Container(kind="container", runtime=runtime, **settings), FACTS, lambda _: None)


def golden(name, text):
    path = GOLDEN / name
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_golden_with_gpus_and_binds(runtime):
    one = made(
        runtime,
        image="/apps/physics.sif",
        binds=["~/data", "/scratch/it's:/data"],
        gpus=True,
        options=["--one", "--two=a b"],
        python="/opt/conda/bin/python",
    )
    golden(f"{runtime}.sh", one.build)
    assert subprocess.run(["sh", "-n"], input=one.build, text=True, check=False).returncode == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_golden_of_what_is_built_there(runtime, tmp_path):
    (tmp_path / "Containerfile").write_text("FROM scratch\nADD base /\n")
    (tmp_path / "base").write_text("base")
    one = made(runtime, definition=str(tmp_path / "Containerfile"))
    golden(f"{runtime}-definition.sh", one.build.partition('mkdir "$1/bin"')[0])
    assert "definition" in one.files


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_golden_of_what_is_fetched_there(runtime):
    one = made(runtime, image="docker://physics/code:1.2")
    golden(f"{runtime}-reference.sh", one.build.partition('mkdir "$1/bin"')[0])


def test_python_is_started_with_what_has_to_be_seen():
    wanted = Container(kind="container", runtime="podman", image="physics:1")
    assert words(wanted, "/e/1", ["/runs/1", "/home/ada/it's", ""]) == [
        "/e/1/bin/python",
        "--see=/runs/1",
        "--see=/home/ada/it's",
    ]


PODMAN = """#!/bin/sh
echo "$*" >> "$0.asked"
case $1 in
  image) grep -qx "$3" "$0.has" 2>/dev/null;;
  load) echo "Loaded image: docker.io/physics:1";;
  tag) echo "$3" >> "$0.has";;
esac
"""


def test_podman_takes_the_environments_own_image_by_whichever_link_it_is_started(tmp_path):
    podman = tmp_path / "podman"
    podman.write_text(PODMAN)
    podman.chmod(0o755)
    (tmp_path / "image.tar").touch()
    wanted = Container(kind="container", runtime="podman", image=str(tmp_path / "image.tar"))
    one = recipe(wanted, replace(FACTS, programs={"podman": str(podman)}), lambda _: None)
    for name in ("first", "second"):
        (prefix := tmp_path / "it's" / name).mkdir(parents=True)
        subprocess.run(["sh", "-c", one.build, "sh", prefix, tmp_path], cwd=prefix, check=True)
        (run := tmp_path / f"run of {name}").mkdir()
        (run / "environment").symlink_to(prefix)
        subprocess.run([run / "environment" / "bin" / "python", "-c", "pass"], check=True)
    assert (tmp_path / "podman.has").read_text().split() == ["localhost/pilotage:first", "localhost/pilotage:second"]
    ran = [line for line in (tmp_path / "podman.asked").read_text().splitlines() if line.startswith("run ")]
    assert [line.rpartition(" localhost/")[2] for line in ran] == ["pilotage:first -c pass", "pilotage:second -c pass"]


def test_another_option_is_another_environment():
    one, same, other = (made("podman", image="a:1", gpus=gpus) for gpus in (True, True, False))
    assert one.digest == same.digest != other.digest


def test_an_image_of_this_machine_goes_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "physics.sif").write_text("an image")
    one = made("apptainer", image="./physics.sif")
    assert one.files == {"image": tmp_path / "physics.sif"}
    before = one.digest
    (tmp_path / "physics.sif").write_text("another")
    assert made("apptainer", image="./physics.sif").digest != before
    with pytest.raises(BuildError, match="there is no file"):
        made("apptainer", image="./other.sif")


def test_a_file_of_this_machine_is_from_the_site_files_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "physics.sif").write_text("an image")
    text = '[site.a]\nscheduler = "local"\n[site.a.environment]\nkind = "container"\nruntime = "apptainer"\n'
    (tmp_path / "pilotage.toml").write_text(text + 'image = "./images/physics.sif"\n')
    resolved = Catalogue.load().resolve("a")
    found = with_files(resolved, resolved.site.environment)
    assert found.image == f"file:{tmp_path}/images/physics.sif"
    assert recipe(found, FACTS, print).files == {"image": tmp_path / "images" / "physics.sif"}


def test_mpi_programs_start_outside_of_a_container(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = '[site.a]\nscheduler = "slurm"\n[site.a.mpi]\n[site.a.environment]\nkind = "container"\n'
    (tmp_path / "pilotage.toml").write_text(text + 'runtime = "apptainer"\nimage = "/x.sif"\n')
    with pytest.raises(SiteValueError, match="start the program itself in it"):
        Catalogue.load().resolve("a")


def test_what_is_no_image_is_refused():
    with pytest.raises(BuildError, match="neither a path there nor a reference"):
        made("apptainer", image="physics.sif")


def test_a_host_without_the_runtime_is_refused():
    with pytest.raises(BuildError, match="there is no podman there"):
        recipe(Container(kind="container", runtime="podman", image="a:1"), Facts("linux-x86_64", "", {}, "/"), print)


def test_charliecloud_without_its_builder_builds_nothing(tmp_path):
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    facts = Facts("linux-x86_64", "", {"ch-run": "/usr/bin/ch-run"}, "/")
    wanted = Container(kind="container", runtime="charliecloud", definition=str(tmp_path / "Containerfile"))
    with pytest.raises(UnsupportedError, match="no ch-image"):
        recipe(wanted, facts, print)


def test_what_a_containerfile_names():
    text = """
FROM debian AS base
# COPY no /no
COPY --chown=1:1 a "b c" /there/
copy \\
  d /there
COPY --from=base /etc/passwd /x
ADD https://example.org/x.tar /
ADD ["e f", "/there"]
COPY $WHAT /x
"""
    assert named(text, apptainer=False) == ["a", "b c", "d", "e f"]


def test_what_a_definition_of_apptainers_names():
    text = """
Bootstrap: docker
From: debian
%files
    code /opt/code
    setup.py
%files from stage
    /x /y
%post
    cp a b
"""
    assert named(text, apptainer=True) == ["code", "setup.py"]


def test_what_a_definition_names_goes_along(tmp_path):
    code = tmp_path / "code"
    (code / "deep").mkdir(parents=True)
    (code / ".git").mkdir()
    for name in ("a.py", "deep/b.py", ".git/config"):
        (code / name).write_text(name)
    (tmp_path / "data1.txt").write_text("1")
    definition = tmp_path / "Containerfile"
    definition.write_text("FROM scratch\nCOPY code /code\nCOPY data*.txt pilotage /\n")
    found = files(definition, apptainer=False)
    assert sorted(found) == ["code/a.py", "code/deep/b.py", "data1.txt"]
    first, second = packed(found), packed(found)
    assert first == second
    for wrong in ("../secret", "nothing"):
        definition.write_text(f"FROM scratch\nCOPY {wrong} /\n")
        with pytest.raises(BuildError, match=r"outside of the file's folder|there is no"):
            files(definition, apptainer=False)
