"""What every site keeps: it loads, merges, validates, renders, exports and comes back as it was.

Run over all built-in sites, over a full site of each scheduler, and over sites that hypothesis makes up.
"""

import ast
import inspect
import subprocess
import tomllib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pilotage.assembly.calls import make
from pilotage.assembly.configs import config
from pilotage.assembly.export import export
from pilotage.assembly.rendering import render
from pilotage.assembly.validation import check_arguments
from pilotage.errors import PilotageError, UnsupportedError
from pilotage.sites.catalogue import Catalogue, Layer
from pilotage.sites.listing import resolved_toml, values_of
from pilotage.sites.models import MODELS

# A site of each scheduler with every key of its model that matters to somebody else.
FULL = {
    "local": 'kind = "processes"\nmax_workers_per_node = 3\nworker_init = "export A=1"',
    "threads": 'kind = "threads"\nmax_threads = 3',
    "slurm": """partition = "p"
account = "a"
qos = "q"
constraint = "gpu&fast"
clusters = "c1,c2"
cores_per_node = 32
mem_per_node = 64
gpus_per_node = 4
gres = "gpu:4"
exclusive = false
nodes_per_block = 2
walltime = "12:00:00"
reservation = "r"
scheduler_options = "#SBATCH --mail-type=END"
worker_init = "module load x"
available_accelerators = ["0,1", "2,3"]
launcher = { class = "srun", overrides = "--gpus-per-node=4" }
provider = { cmd_timeout = 30 }
executor = { heartbeat_period = 15, worker_port_range = [50000, 51000] }
config = { retries = 2 }""",
    "pbspro": """queue = "q"
account = "a"
cpus_per_node = 64
select_options = "ngpus=4"
nodes_per_block = 2
walltime = "01:00:00"
scheduler_options = "#PBS -l filesystems=home"
launcher = { class = "mpich", overrides = "-v" }""",
    "gridengine": 'queue = "all.q"\nwalltime = "01:00:00"\nscheduler_options = "#$ -pe mpi 4"',
    "flux": 'queue = "q"\nbank = "b"\ncores_per_node = 8\ngpus_per_node = 1\nnodes_per_block = 2',
    "kubernetes": """image = "registry/image:1"
namespace = "ns"
context = "kind-kind"
walltime = "01:00:00"
init_cpu = 1.5
max_mem = "2Gi"
persistent_volumes = [["claim", "/data"]]
annotations = { "a/b" = "c" }
run_as_non_root = true
user_id = "1000"
""",
    "ssh": 'hosts = ["user@a", "b"]',
    "parsl": 'provider = { class = "LSFProvider", queue = "q", project = "p", walltime = "00:30" }\nmax_blocks = 3',
}

OF_THE_ENGINE = {
    "data",
    *("self", "serializer", "script_path", "worker_cwd", "driver"),
    *("coalesce", "rerun_lost", "apps", "relax_collector", "workers_per_place", "route", "verify"),
    *("require", "environment", "mpi_program", "mpi_options"),
}
"""Arguments that Parsl's executor does not have."""


def full_site(name):
    scheduler = "local" if name == "threads" else name
    return f'[site.full]\nscheduler = "{scheduler}"\naddress = "127.0.0.1"\n{FULL[name]}\n'.replace(
        'address = "127.0.0.1"\n', "" if name == "threads" else 'address = "127.0.0.1"\n'
    )


def resolve(text, name="full", *assignments):
    from pilotage.sites import overrides

    return Catalogue([*Catalogue.load().layers, Layer.parse("test", text)]).resolve(name, overrides.parse(assignments))


def shell_says(script):
    """Return what the shell has against a script; empty where nothing."""
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def shell_accepts(script):
    assert shell_says(script) == ""


@pytest.fixture
def cluster_access(private_home):
    """What Parsl's providers want to see when they are made: a kubeconfig that nobody connects to."""
    # The client reads KUBECONFIG when it is imported, and the home folder when it is asked.
    path = private_home / ".kube" / "config"
    path.parent.mkdir()
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: x, context: {cluster: x, user: x}}]\nusers: [{name: x, user: {}}]\n"
    )


def arguments_of(thing):
    """Return what an object of Parsl was made with, inner objects by class and arguments."""
    found = {}
    for name in inspect.signature(type(thing).__init__).parameters:
        if name in OF_THE_ENGINE or not hasattr(thing, name):
            continue
        value = getattr(thing, name)
        if hasattr(value, "parsls"):  # one of our launchers, of which the exported config has Parsl's nearest
            value = make(value.parsls("pbspro", thing.nodes_per_block), None)
        if type(value).__module__.startswith(("parsl.providers", "parsl.launchers", "pilotage.providers")):
            value = (type(value).__name__, arguments_of(value))
        elif type(value).__module__.startswith("parsl.") or callable(value):
            value = getattr(value, "__name__", type(value).__name__)
        found[name] = value
    return found


class TestEverySite:
    @pytest.fixture(params=[*FULL, *Catalogue.load().names()])
    def resolved(self, request, project):
        if request.param in FULL:
            return resolve(full_site(request.param))
        needs_address = request.param in ("polaris", "aurora")
        if needs_address:  # the interface bond0 is not here
            return resolve(f'[site.full]\nextends = "{request.param}"\naddress = "127.0.0.1"\n')
        return Catalogue.load().resolve(request.param)

    def test_it_validates_against_parsls_signatures(self, resolved):
        check_arguments(resolved)

    def test_it_comes_back_from_its_own_toml(self, resolved):
        text = resolved_toml(resolved)
        assert values_of(resolve(text, resolved.name)) == values_of(resolved)

    def test_an_override_wins_and_nothing_else_changes(self, resolved):
        changed = resolve(resolved_toml(resolved), resolved.name, "description=changed")
        assert changed.site.description == "changed"
        before, after = values_of(resolved), values_of(changed)
        assert {**before, "description": "changed"} == after

    def test_it_renders_the_same_twice_and_a_shell_accepts_it(self, resolved):
        rendering = render(resolved)
        assert rendering == render(resolved)
        if rendering.script and resolved.site.scheduler != "kubernetes":
            shell_accepts(rendering.script)
        if rendering.worker_command:
            shell_accepts(rendering.worker_command)
            assert (
                "process_worker_pool" in rendering.worker_command or "pilotage.worker.pool" in rendering.worker_command
            )
        else:
            assert rendering.note

    def test_an_exported_config_equals_the_runs_in_every_argument(self, resolved, cluster_access, monkeypatch):
        # A constructor of Parsl's SlurmProvider asks for sacct; there is none here, which it accepts.
        if resolved.site.scheduler in ("flux", "ssh"):
            with pytest.raises(UnsupportedError, match="Parsl"):
                export(resolved)
            return
        source = export(resolved)
        names = {}
        exec(compile(source, "exported", "exec"), names)
        theirs = names["fresh_config"]()
        text = resolved_toml(resolved)
        path = Catalogue.load()
        monkeypatch.setattr(Catalogue, "load", lambda fallback=None: Catalogue([*path.layers, Layer.parse("t", text)]))
        ours = config(resolved.name)
        for mine, other in zip(ours.executors, theirs.executors, strict=True):
            given, exported = arguments_of(mine), arguments_of(other)
            for storage in (given, exported):  # a stand-alone config has Parsl's own
                storage.pop("storage_access", None)
            if resolved.site.values().get("mpi"):  # Parsl's MPIExecutor does not take a list for it
                del given["interchange_launch_cmd"], exported["interchange_launch_cmd"]
            assert given == exported
        for name in ("strategy", "strategy_period", "exit_mode", "usage_tracking", "retries", "max_idletime"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert "pilotage" not in "".join(line for line in source.splitlines() if "import" in line)
        ast.parse(source)


# What hypothesis may put into a key, by the JSON type of the key in the schema of its model.
WORDS = st.text(
    st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from("-_./:=,+ "), min_size=1, max_size=12
)


def value_for(field, schema, definitions):
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
        if schema.get("type") == "object":
            return st.just({})
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        options = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return st.one_of([value_for(field, option, definitions) for option in options])
    if field == "walltime":
        return st.from_regex(r"\A[0-9]{2}:[0-5][0-9]:[0-5][0-9]\Z")
    if field in ("address", "inside_address"):
        return st.ip_addresses(v=4).map(str)
    if field == "login":
        return st.just("user@host")
    if field in ("run_folder", "python"):  # a Python called `then` is a word of the shell's
        return WORDS.map("/{}".format)
    if field == "cpu_affinity":
        return st.sampled_from(["none", "block", "alternating"])
    kind = schema["type"]
    if kind == "integer":
        return st.integers(max(schema.get("minimum", 0), 1), 100)
    if kind == "number":
        return st.floats(0.25, 1, allow_nan=False)
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        if field == "persistent_volumes":
            return st.lists(st.tuples(WORDS, WORDS).map(list), max_size=2)
        return st.lists(WORDS, min_size=1, max_size=3)
    if kind == "object":
        return st.just({})
    return WORDS


ENVIRONMENTS = [
    None,
    {"kind": "same", "require": ["numpy>=2"]},
    {"kind": "venv"},
    {"kind": "venv", "source": "index", "folder": "~/here", "python": "/opt/python"},
    {"kind": "container", "runtime": "apptainer", "image": "it.sif", "gpus": True, "binds": ["/data"]},
    {"kind": "modules", "load": ["cray-python/3.11", "cuda"], "purge": True},
    {"kind": "command", "activate": "if true; then\n  . /opt/env/bin/activate\nfi"},
]


@st.composite
def any_site(draw):
    scheduler = draw(st.sampled_from(sorted(MODELS)))
    schema = MODELS[scheduler].model_json_schema()
    definitions = schema.get("$defs", {})
    data = {"scheduler": scheduler}
    for field, part in schema["properties"].items():
        if field in ("scheduler", "launcher", "interface", "kind", "max_threads", "provider", "scheduler_options"):
            continue
        if field == "environment":
            data[field] = draw(st.sampled_from(ENVIRONMENTS))
            continue
        if field in schema.get("required", []) or draw(st.booleans()):
            data[field] = draw(value_for(field, part, definitions))
    if "login" not in data:
        for field in ("run_folder", "reach", "inside_address", "sync"):
            data.pop(field, None)
    if data.get("environment") is None:
        data.pop("environment", None)
    else:
        data.pop("python", None)
    if scheduler == "kubernetes" and data.get("environment", {}).get("kind") in ("venv", "container"):
        del data["environment"]
    if data.get("environment", {}).get("kind") == "container":
        data.pop("mpi", None)
    if scheduler == "ssh":
        data["hosts"] = [f"host{number}" for number in range(len(data["hosts"]))]
        for field in ("nodes_per_block", "max_blocks", "mpi"):
            data.pop(field, None)
    if scheduler == "parsl":
        data["provider"] = {"class": "LSFProvider"}
    data["init_blocks"] = data["min_blocks"] = min(data.get("init_blocks", 0), data.get("max_blocks", 1))
    return data


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(any_site())
@example({"scheduler": "flux", "worker_init": "then", "init_blocks": 0, "min_blocks": 0})
def test_any_site_renders_or_says_why_not(project, data):
    import tomlkit

    text = tomlkit.dumps({"site": {"made-up": data}})
    resolved = resolve(text, "made-up")
    assert tomllib.loads(resolved_toml(resolved))
    assert values_of(resolve(resolved_toml(resolved), "made-up")) == values_of(resolved)
    try:
        rendering = render(resolved)
    except PilotageError as error:
        told = error
    else:
        told = None
    if told is not None:
        assert told.where, told
        return
    # A worker_init such as "then" is wrong wherever it stands.
    if rendering.script and resolved.site.scheduler != "kubernetes" and not shell_says(data.get("worker_init", "")):
        shell_accepts(rendering.script)


def test_the_schema_accepts_the_built_in_sites_and_refuses_what_the_models_refuse(project):
    import jsonschema

    from pilotage.sites.schema import file_schema

    schema = file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for layer in Catalogue.load().layers:
        assert not list(validator.iter_errors(layer.data))
    for name in FULL:
        assert not list(validator.iter_errors(tomllib.loads(full_site(name))))
    for bad in (
        {"site": {"x": {"scheduler": "slurn"}}},
        {"site": {"x": {"scheduler": "slurm", "partion": "p"}}},
        {"site": {"x": {"scheduler": "slurm", "max_blocks": "4"}}},
        {"site": {"x": {"scheduler": "kubernetes"}}},
        {"site": {"x": {"extends": "slurm", "partion": "p"}}},
        {"sites": {}},
    ):
        assert list(validator.iter_errors(bad)), bad
