"""Parameters come from the config that was loaded; nothing secret gets into a record or an exported config."""

from pathlib import Path

import pytest
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import LocalProvider

import pilotage
from pilotage.perf.parameters import NAMES, cleaned, collect, scheduler_name, short_name, without_secrets

SECRETS = ["hunter2", "ghp_" + "a" * 36, "10.11.12.13", "alice-project", "s3kr1t"]
INIT = """\
module load python
export DATABASE=hunter2
export HOME_PATH="x y hunter2"; GREETING=s3kr1t ./prepare
export API_TOKEN=ghp_{}
source {}/venv/bin/activate
""".format("a" * 36, Path("/nowhere"))


@pytest.fixture
def config():
    provider = LocalProvider(
        nodes_per_block=2, min_blocks=0, max_blocks=3, worker_init=INIT, launcher=SrunLauncher(overrides="--cpus=4")
    )
    provider.cores_per_node = 16
    executor = HighThroughputExecutor(
        label="a", address="10.11.12.13", cores_per_worker=2, max_workers_per_node=8, provider=provider, encrypted=False
    )
    return Config(executors=[executor, ThreadPoolExecutor(label="b", max_threads=3)], retries=4)


def test_the_usual_names_are_there(config):
    found = collect(config, config.executors[0])
    assert [found[name] for name in NAMES] == [2, 2, 16, 0, 3, 6, 96]


def test_every_constructor_argument_is_there(config):
    found = collect(config, config.executors[0])
    assert found["config.retries"] == 4
    assert found["executor.class"] == "HighThroughputExecutor"
    assert found["executor.max_workers_per_node"] == 8
    assert found["executor.encrypted"] is False
    assert found["provider.class"] == "LocalProvider"
    assert found["launcher.class"] == "SrunLauncher"
    assert found["launcher.overrides"] == "--cpus=4"
    import inspect

    for prefix, thing in (("executor", HighThroughputExecutor), ("provider", LocalProvider), ("config", Config)):
        names = set(inspect.signature(thing.__init__).parameters) - {"self", "provider", "launcher", "executors"}
        assert {name for name in names if f"{prefix}.{name}" not in found} <= {"cmd_timeout", "address_probe_timeout"}


def test_each_executor_has_its_own(config):
    found = collect(config, config.executors[1])
    assert found["executor.max_threads"] == 3
    assert found["max_nodes" if "max_nodes" in found else "nodes_per_block"] is None
    assert not any(name.startswith("provider.") for name in found)


def test_our_executors_own_arguments_and_parsls_are_there():
    made = pilotage.config("laptop", max_workers_per_node=3)
    found = collect(made, made.executors[0])
    assert found["executor.coalesce"] is True
    assert found["executor.max_workers_per_node"] == 3
    assert found["executor.poll_period"] == 10


def test_short_names(config):
    assert [short_name(one) for one in config.executors] == ["htex", "threads"]
    assert [scheduler_name(one) for one in config.executors] == ["local", "local"]
    assert short_name(pilotage.config("laptop").executors[0]) == "htex"


def test_parameters_hold_nothing_secret(config):
    config.executors[0].provider.account = "alice-project"
    found = cleaned(collect(config, config.executors[0]))
    shown = repr(found)
    assert not [secret for secret in SECRETS if secret in shown]
    assert not {name.rpartition(".")[2] for name in found} & {"address", "account", "run_dir", "label"}
    assert "module load python" in found["provider.worker_init"]
    assert "export DATABASE=[removed]" in found["provider.worker_init"]


def test_an_exported_config_holds_nothing_secret_and_is_python_still():
    source = f'worker_init = {INIT!r}\naddress = "10.11.12.13"\nloopback = "127.0.0.1"\nhome = "{Path.home()}/x"\n'
    made = without_secrets(source)
    assert not [secret for secret in ("hunter2", *SECRETS[1:3]) if secret in made]
    compile(made, "config", "exec")
    assert "127.0.0.1" in made
    assert 'home = "~/x"' in made


def test_directives_and_options_stay():
    text = "#PBS -l filesystems=home:eagle:grand\n--constraint=knl --gres=gpu:4"
    assert without_secrets(text) == text
    assert cleaned({"provider.scheduler_options": text}) == {"provider.scheduler_options": text}
