"""Precedence, extends and origins, over real files."""

import os

import pytest

from pilotage.errors import ExtendsError, SiteError, SiteFileError, SiteValueError, UnknownSiteError
from pilotage.sites import overrides
from pilotage.sites.catalogue import BUILT_IN, Catalogue

NAMES = [
    *("aurora", "flux", "gridengine", "gridengine-lab", "kind", "kubernetes", "laptop", "laptop-mpi"),
    *("pbspro", "polaris", "slurm", "slurm-lab", "slurm-lab-mpi", "ssh-pool", "threads"),
]


def resolve(name, *assignments):
    return Catalogue.load().resolve(name, overrides.parse(assignments))


def test_the_built_in_sites(project):
    assert Catalogue.load().names() == NAMES


def test_precedence_and_origin_of_each_value(project, private_home, user_file):
    centre = private_home / "xdg" / "pilotage" / "pilotage.toml"
    centre.parent.mkdir(parents=True)
    centre.write_text('[site.polaris]\nqueue = "centre"\naccount = "centre"\nwalltime = "00:10:00"\nmax_blocks = 9\n')
    user = user_file('[site.polaris]\naccount = "user"\nwalltime = "00:20:00"\n')
    own = project / "pilotage.toml"
    own.write_text('[site.polaris]\nwalltime = "00:30:00"\n[site.polaris.launcher]\ndebug = false\n')
    resolved = resolve("polaris", "max_blocks=7")
    site = resolved.site
    assert (site.queue, site.account, site.walltime, site.max_blocks) == ("centre", "user", "00:30:00", 7)
    assert site.launcher["class"] == "pals", "tables merge"
    assert str(resolved.origin("queue")) == f"{centre}:2"
    assert str(resolved.origin("account")) == f"{user}:2"
    assert str(resolved.origin("walltime")) == f"{own}:2"
    assert str(resolved.origin("launcher", "debug")) == f"{own}:4"
    assert str(resolved.origin("launcher", "class")).startswith(f"{BUILT_IN}:")
    assert str(resolved.origin("max_blocks")) == "--set"
    assert str(resolved.origin("parallelism")) == "default"


@pytest.mark.parametrize("order", [1, -1])
def test_another_kind_of_environment_takes_nothing_from_the_one_below(project, order):
    text = '[site.a]\nextends = "laptop"\n[site.a.environment]\nkind = "venv"\nrequirements = "r.txt"\n'
    text += '[site.b]\nextends = "a"\n[site.b.environment]\nkind = "command"\nactivate = "x=1"\n'
    (project / "pilotage.toml").write_text(text)
    assert resolve("b").site.environment.activate == "x=1"
    given = ["environment.kind=command", "environment.activate=x=2"][::order]
    assert resolve("a", *given).site.environment.activate == "x=2"
    assert resolve("a", "environment.source=index").site.environment.requirements == "r.txt"


def test_what_starts_the_workers_is_said_last_by_whoever_is_above(project, user_file):
    user_file('[site.a]\nextends = "laptop"\npython = "/opt/python"\n[site.c]\nextends = "b"\npython = "/opt/c"\n')
    text = '[site.b]\nextends = "a"\n[site.b.environment]\nkind = "venv"\nrequire = ["numpy"]\n'
    (project / "pilotage.toml").write_text(text)
    assert resolve("a").site.python == "/opt/python"
    for found in (resolve("b"), resolve("a", "environment.kind=venv")):
        assert (found.site.python, found.site.environment.kind) == (None, "venv")
        assert str(found.origin("python")) == "default"
    for found, python in ((resolve("c"), "/opt/c"), (resolve("b", "python=/opt/set"), "/opt/set")):
        assert (found.site.python, found.site.environment) == (python, None)
    for order in (1, -1):
        with pytest.raises(SiteValueError, match="both say what starts the workers"):
            resolve("a", *["environment.kind=venv", "python=/opt/set"][::order])
    with pytest.raises(SiteValueError, match="missing required key 'kind'"):
        resolve("a", 'environment.require=["numpy"]')


def test_polaris_and_aurora_carry_the_machines_values(project):
    polaris, aurora = resolve("polaris").site, resolve("aurora").site
    assert (polaris.pool.accelerators, polaris.pool.machine, polaris.pool.cpu_affinity) == (4, "polaris", "nearest")
    assert (polaris.cpus_per_node, polaris.select_options, polaris.interface) == (64, "ngpus=4", "bond0")
    assert (polaris.max_workers_per_node, polaris.prefetch_capacity) == (4, 0)
    assert polaris.launcher == {"class": "pals", "overrides": "--env TMPDIR=/tmp"}
    assert aurora.launcher == {"class": "pals"}
    assert aurora.cpus_per_node == 208
    assert aurora.pool.accelerators[0] == "0.0"
    assert aurora.pool.accelerators[-1] == "5.1"
    assert len(aurora.pool.accelerators) == 12


def test_a_project_is_found_from_a_folder_below_it(project, monkeypatch):
    (project / "pilotage.toml").write_text('[site.lab]\nextends = "slurm"\npartition = "p"\n')
    below = project / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert resolve("lab").site.partition == "p"


def test_a_scripts_folder_serves_where_the_current_one_has_no_project(project, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "pilotage.toml").write_text('[site.lab]\nextends = "slurm"\n')
    assert "lab" in Catalogue.load(fallback=other).names()
    assert "lab" not in Catalogue.load().names()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user needs root")
def test_another_users_project_file_is_ignored(project):
    path = project / "pilotage.toml"
    path.write_text('[site.trap]\nscheduler = "local"\nworker_init = "echo caught"\n')
    os.chown(path, 12345, 12345)
    catalogue = Catalogue.load()
    assert "trap" not in catalogue.names()
    assert "belongs to another user" in catalogue.warnings[0]


def test_entry_points_bring_a_centres_sites(project, tmp_path, monkeypatch):
    package = tmp_path / "packages"
    info = package / "centre-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "centre.py").write_text(f"def path():\n    return {str(package / 'sites.toml')!r}\n")
    (package / "sites.toml").write_text('[site.centre]\nextends = "slurm"\nqos = "entry"\n')
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: centre\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pilotage.sites]\ncentre = centre:path\n")
    monkeypatch.syspath_prepend(str(package))
    resolved = resolve("centre")
    assert resolved.site.qos == "entry"
    assert str(resolved.origin("qos")) == f"{package / 'sites.toml'}:3"
    (package / "centre.py").write_text("def path():\n    raise RuntimeError('no disk')\n")
    monkeypatch.delitem(__import__("sys").modules, "centre")
    with pytest.raises(SiteFileError, match="no disk"):
        Catalogue.load()


def test_extends_inherits_over_several_steps(project, user_file):
    user_file(
        '[site.a]\nextends = "b"\npartition = "a"\n[site.b]\nextends = "slurm"\npartition = "b"\naccount = "b"\n'
        "[site.b.provider]\ncmd_timeout = 5\n[site.a.provider]\nstatus_batch_size = 9\n"
    )
    site = resolve("a").site
    assert (site.scheduler, site.partition, site.account) == ("slurm", "a", "b")
    assert site.provider == {"cmd_timeout": 5, "status_batch_size": 9}


def test_default_site(project, user_file):
    assert Catalogue.load().default_site == "laptop"
    user_file('default_site = "threads"\n')
    assert Catalogue.load().default_site == "threads"


# One row a kind of bad input: the text of the user's file, the site asked for, the error's class, and what its
# message must name: line, key, expectation, hint.
BAD = [
    ("[site.x\n", "x", SiteFileError, [":", "not valid TOML", "line 1"]),
    ('[site.x]\nscheduler = "slurm"\nwalltime = 01:00:00\n', "x", SiteValueError, [":3", "site.x.walltime", "quotes"]),
    (
        '[site.x]\nscheduler = "slurm"\nmax_blocks = "4"\n',
        "x",
        SiteValueError,
        [":3", "x.max_blocks", "integer", "'4'"],
    ),
    ('[site.x]\nscheduler = "slurm"\npartion = "p"\n', "x", SiteValueError, [":3", "x.partion", "'partition'"]),
    ('[site.x]\nscheduler = "kubernetes"\n', "x", SiteValueError, [":1", "x.image", "missing", "image"]),
    ("[site.x]\nnodes_per_block = 2\n", "x", SiteValueError, [":1", "scheduler", "one of local, slurm"]),
    ('[site.x]\nscheduler = "slrum"\n', "x", SiteValueError, [":2", "x.scheduler", "unknown scheduler", "'slurm'"]),
    ('[site.x]\nextends = "nowhere"\n', "x", ExtendsError, [":2", "x.extends", "nowhere", "known sites"]),
    ('[site.x]\nextends = "y"\n[site.y]\nextends = "x"\n', "x", ExtendsError, ["extends", "x -> y -> x"]),
    ('[site.x]\nextends = "x"\n', "x", ExtendsError, [":2", "x -> x"]),
    ("[site.x]\nextends = 3\n", "x", SiteValueError, [":2", "x.extends", "name"]),
    ("", "polari", UnknownSiteError, ["polari", "'polaris'", "known sites"]),
    ("site = 3\n", "x", SiteValueError, [":1", "table"]),
    ("[sites.x]\n", "x", SiteValueError, [":1", "sites", "'site'"]),
    ('[site.x]\nextends = "slurm"\nmin_blocks = 4\n', "x", SiteValueError, ["min_blocks (4)", "max_blocks (1)"]),
    ('[site.x]\nextends = "laptop"\naddress = "login1"\n', "x", SiteValueError, [":3", "login1", "not an IP address"]),
    ('[site.x]\nextends = "slurm"\nwalltime = "90 minutes"\n', "x", SiteValueError, [":3", "HH:MM:SS", "90 minutes"]),
    ('[site.x]\nextends = "slurm"\npartition = "a\\nb"\n', "x", SiteValueError, [":3", "one line"]),
    ('[site.x]\nextends = "laptop"\nkind = "processes"\nmax_threads = 3\n', "x", SiteValueError, ["max_threads"]),
    ('[site.x]\nextends = "threads"\nmax_blocks = 3\n', "x", SiteValueError, ["max_blocks", "no blocks"]),
    (
        '[site.x]\nextends = "polaris"\nmax_workers_per_node = 3\nworkers.cpu_affinity = "list:0:1:2:3"\n',
        "x",
        SiteValueError,
        ["4 core lists for 3 workers"],
    ),
    ('[site.x]\nextends = "gridengine"\nlauncher = {debug = true}\n', "x", SiteValueError, [":3", "class"]),
    ('[site.x]\nscheduler = "parsl"\nprovider = {}\n', "x", SiteValueError, [":3", "class"]),
    ('[site.x]\nscheduler = "ssh"\nhosts = []\n', "x", SiteValueError, [":3", "x.hosts", "at least 1"]),
    ('[site.x]\nextends = "slurm"\nengine.serialiser = "parsl"\n', "x", SiteValueError, [":3", "'serializer'"]),
    (
        '[site.x]\nextends = "slurm"\nparallelism = 2\n',
        "x",
        SiteValueError,
        [":3", "parallelism", "less than or equal to 1"],
    ),
]


@pytest.mark.parametrize(
    ("text", "name", "kind", "words"), BAD, ids=[f"{row[2].__name__}-{i}" for i, row in enumerate(BAD)]
)
def test_bad_input_names_place_expectation_and_hint(project, user_file, text, name, kind, words):
    path = user_file(text)
    with pytest.raises(kind) as caught:
        Catalogue.load().resolve(name)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in message
    if text:
        assert str(path) in message


def test_several_problems_are_told_at_once(project, user_file):
    path = user_file('[site.x]\nscheduler = "slurm"\nmax_blocks = "4"\npartion = "p"\n')
    with pytest.raises(SiteValueError) as caught:
        Catalogue.load().resolve("x")
    assert f"{path}:3" in str(caught.value)
    assert f"{path}:4" in str(caught.value)


def test_a_file_that_cannot_be_read(project, user_file):
    path = user_file("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SiteFileError, match="cannot be read"):
        Catalogue.load()


@pytest.mark.parametrize("text", ["x", "=3", "a..b=1", ".=1", " = "])
def test_assignments_that_cannot_be_read(text):
    with pytest.raises(Exception, match="--set") as caught:
        overrides.parse([text])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("true", True), ("01:00:00", "01:00:00"), ("2026-01-01", "2026-01-01"), ("lab", "lab"), ("", ""),
     ('["a", "b"]', ["a", "b"]), ("{class = 'X'}", {"class": "X"}), ("a=b", "a=b"),
     ("1\nb = 2", "1\nb = 2"), ("'4'", "4")],
)  # fmt: skip
def test_values_of_assignments(text, value):
    assert overrides.value(text) == value


def test_a_number_is_text_where_only_text_can_be(project):
    assert resolve("slurm", "account=1234").site.account == "1234"
    with pytest.raises(SiteError, match="walltime"):
        resolve("slurm", "walltime=60")


def test_assignments_bound_to_a_label():
    assert overrides.parse(["gpu:a=1", "b=2"], "gpu")[0].data == {"a": 1}
    assert [t.data for t in overrides.parse(["gpu:a=1", "b=2"], "cpu")] == [{"b": 2}]
    assert overrides.labels(["gpu:a=1", "b=x:y"]) == {"gpu"}
