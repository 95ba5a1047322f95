"""The manifest of a block on Kubernetes: its fields, its names, its YAML and its first process."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Block
from pilotage.schedulers.kubernetes import LONGEST_NAME, SHELL_WORDS, kubernetes_name, with_exec, yaml

FULL = {
    "name": "parsl.kube.block-3",
    "nodes": 2,
    "walltime": "02:00:00",
    "settings": {
        "image": "example.org/worker:1",
        "namespace": "physics",
        "init_cpu": 1.5,
        "max_cpu": 2.0,
        "init_mem": "1Gi",
        "max_mem": "2Gi",
        "extra_requests": {"example.org/gpu": "1"},
        "extra_limits": {"example.org/gpu": "1"},
        "user_id": "1000",
        "group_id": "1000",
        "run_as_non_root": True,
        "secret": "pull",
        "persistent_volumes": [("data.claim", "/data"), ("data.claim", "/again")],
        "service_account_name": "runner",
        "annotations": {"example.org/owner": "yes"},
    },
}


def block(**changes):
    fields = {"name": "@job_name@", "command": "worker", "stdout": "/out", "stderr": "/err"}
    return Block(**{**fields, **changes})


def manifest(**changes):
    return pyyaml.safe_load(scheduler("kubernetes").render(block(**changes)))


def container(job):
    [only] = job["spec"]["template"]["spec"]["containers"]
    return only


def test_the_manifest_of_a_block():
    job = manifest(**FULL)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("parsl-kube-block-3", "physics")
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 7200, 600)
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 5)
    assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("runner", [{"name": "pull"}])
    labels = spec["template"]["metadata"]["labels"]
    assert labels == job["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "pilotage"
    assert labels["app.kubernetes.io/component"] == "worker"
    assert labels["pilotage/block"] == "parsl-kube-block-3"
    assert spec["template"]["metadata"]["annotations"] == {"example.org/owner": "yes"}


def test_the_container_of_a_block():
    job = manifest(**FULL)
    only, volumes = container(job), job["spec"]["template"]["spec"]["volumes"]
    assert only["image"] == "example.org/worker:1"
    assert only["resources"]["requests"] == {"cpu": "1.5", "memory": "1Gi", "example.org/gpu": "1"}
    assert only["resources"]["limits"] == {"cpu": "2.0", "memory": "2Gi", "example.org/gpu": "1"}
    assert only["securityContext"] == {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True}
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in volumes}
    mounts = {mount["mountPath"]: claims[mount["name"]] for mount in only["volumeMounts"]}
    assert mounts == {"/data": "data.claim", "/again": "data.claim"}


def test_the_client_library_knows_every_field():
    """Every key is one that the API's models have, at the place where it stands."""
    from kubernetes import client

    def check(value, model):
        if model.startswith("list["):
            for element in value:
                check(element, model[5:-1])
        elif hasattr(client, model):
            kind = getattr(client, model)
            types = {kind.attribute_map[attribute]: name for attribute, name in kind.openapi_types.items()}
            assert not set(value) - set(types), (model, value)
            for key, element in value.items():
                check(element, types[key])

    check(manifest(**FULL), "V1Job")
    with pytest.raises(AssertionError):
        check({"metadata": {"nmae": "x"}}, "V1Job")


def test_what_is_not_asked_for_is_not_in_the_manifest():
    text = scheduler("kubernetes").render(block(settings={"image": "i"}))
    for key in ("Deadline", "namespace", "resources", "security", "volume", "Secrets", "serviceAccount", "annotations"):
        assert key not in text


@settings(max_examples=300)
@given(name=st.text(max_size=80))
def test_kubernetes_names_are_labels(name):
    made = kubernetes_name(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) <= LONGEST_NAME
    assert kubernetes_name(made) == made


@given(name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?", fullmatch=True))
def test_a_label_stays_as_it_is(name):
    assert kubernetes_name(name) == name


def test_long_kubernetes_names_stay_apart():
    long = "parsl.a-rather-long-label-of-an-executor-that-somebody-chose.block-"
    assert len({kubernetes_name(f"{long}{i}") for i in range(100)}) == 100
    assert kubernetes_name("日本") != kubernetes_name("中国")


trees = st.recursive(
    st.one_of(st.text(st.characters(exclude_categories=("Cs",))), st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab: #\"'", max_size=9), inner)),
    max_leaves=6,
)


@settings(max_examples=300)
@given(tree=trees)
def test_yaml_comes_back(tree):
    line = yaml(tree)
    assert len(line.splitlines()) <= 1
    assert pyyaml.safe_load(f"key: {line}") == {"key": tree}


@pytest.mark.parametrize(
    "text", ["😀", "\x7f", "\x85", "\u2028", "\ufeff", "<>&'", "no", "1e3", "{{ x }}", "%s", "# x"]
)
def test_yaml_keeps_what_json_and_templates_might_not(text):
    job = manifest(settings={"image": text, "annotations": {text: text}})
    assert container(job)["image"] == text
    assert job["metadata"]["annotations"] == {text: text}


@pytest.mark.parametrize(
    "command",
    [
        "/env/bin/worker --a b",
        "worker 'a;b' \"c && d\" >out 2>&1",
        "$PYTHON -m worker",
        '"/my env/bin/python" -m worker # done',
        "worker ''",
    ],
)
def test_one_program_takes_the_shells_place(command):
    assert with_exec(command) == f"exec {command}"
    assert subprocess.run(["bash", "-n", "-c", with_exec(command)], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        "",
        "a\nb",
        "a; b",
        "a && b",
        "a | b",
        "a &",
        "(a)",
        "a <(b)",
        "X=1 worker",
        "cd /tmp",
        "source env.sh",
        "time worker",
        "{ a; }",
        "'open",
        "f() (a)",
        "worker a#b; cleanup",
    ],
)
def test_anything_else_stays_as_it_is(command):
    assert with_exec(command) == command


@settings(max_examples=30, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_categories=("C",))), max_size=4))
def test_exec_changes_no_argument(words):
    show = [sys.executable, "-Ic", "import os, sys; os.write(1, repr(sys.argv[1:]).encode())", *words]
    script = with_exec(shlex.join(show))
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30)
    assert done.stdout.decode() == repr(words)


def test_the_worker_is_the_first_process_of_its_container():
    command = shlex.join([sys.executable, "-Ic", "import os; print(os.getpid())"])
    job = manifest(command=command, worker_init="export A=1", settings={"image": "i"})
    *_, script = container(job)["command"]
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=30)[0] == f"{process.pid}\n"


def test_the_shells_own_words_are_known():
    words = subprocess.run(["bash", "-c", "compgen -b; compgen -k"], capture_output=True, text=True).stdout.split()
    assert words
    assert set(words) <= SHELL_WORDS
