# ruff: noqa: B006, B007, T201  written elsewhere, for another platform
"""A script in the older form, as it was written for the executors of another platform: only its import is ours."""

import json
import os
import sys

import parsl
from parsl.app.app import bash_app, python_app

import pilotage as parsl_utils

with open("executors.json") as f:
    exec_conf = json.load(f)


@parsl_utils.parsl_wrappers.log_app
@python_app(executors=["myexecutor_1"])
def hello_python_app_1(name="", stdout="std.out", stderr="std.err"):
    import socket

    if not name:
        name = "python_app_1"
    return "Hello " + name + " from " + socket.gethostname()


@parsl_utils.parsl_wrappers.log_app
@parsl_utils.parsl_wrappers.stage_app(
    exec_conf["myexecutor_1"]["HOST_USER"] + "@" + exec_conf["myexecutor_1"]["HOST_IP"]
)
@bash_app(executors=["myexecutor_1"])
def hello_bash_app_1(run_dir, inputs_dict={}, outputs_dict={}, stdout="std.out", stderr="std.err"):
    return """
        cd {run_dir}
        cat {hello_in} > {hello_out}
        ls {models} >> {hello_out}
        mkdir {results}
        cp {models}/* {results}
        echo ran in the shell
    """.format(
        run_dir=run_dir,
        hello_in=inputs_dict["test-in-file"]["worker_path"],
        models=inputs_dict["models"]["worker_path"],
        hello_out=outputs_dict["test-out-file"]["worker_path"],
        results=outputs_dict["results"]["worker_path"],
    )


@parsl_utils.parsl_wrappers.log_app
@parsl_utils.parsl_wrappers.stage_app(exec_conf["myexecutor_1"]["HOST_IP"])
@python_app(executors=["myexecutor_1"])
def staged_python_app_1(inputs=[], outputs=[], inputs_dict={}, outputs_dict={}):
    import os

    for name, value in inputs_dict.items():
        if not os.path.exists(value["worker_path"]):
            raise Exception("Path {} does not exist".format(value["worker_path"]))
    for name, value in outputs_dict.items():
        os.makedirs(value["worker_path"], exist_ok=True)
        with open(os.path.join(value["worker_path"], "test.txt"), "w") as f:
            f.write(name)
    return len(inputs), len(outputs)


if __name__ == "__main__":
    parsl.load()
    run_dir = exec_conf["myexecutor_1"]["RUN_DIR"]
    print(hello_python_app_1(name=sys.argv[1]).result().startswith("Hello " + sys.argv[1] + " from "))

    fut_1 = hello_bash_app_1(
        run_dir=run_dir,
        inputs_dict={
            "test-in-file": {
                "type": "file",
                "global_path": "pw://{cwd}/hello.in",
                "worker_path": f"{run_dir}/hello.in",
            },
            "models": {
                "type": "directory",
                "global_path": "pw://{cwd}/models",
                "worker_path": f"{run_dir}/model_dir",
            },
        },
        outputs_dict={
            "test-out-file": {
                "type": "file",
                "global_path": "pw://{cwd}/hello.out",
                "worker_path": f"{run_dir}/hello-1.out",
            },
            "results": {
                "type": "directory",
                "global_path": "pw://{cwd}/results",
                "worker_path": f"{run_dir}/results",
            },
            "stdout": {
                "type": "file",
                "global_path": "pw://{cwd}/remote-std.out",
                "worker_path": f"{run_dir}/std.out",
            },
        },
        stdout=os.path.join(run_dir, "std.out"),
        stderr=os.path.join(run_dir, "std.err"),
    )
    print(fut_1.result())
    with open("hello.out") as f:
        print(f.read(), end="")
    print(sorted(os.listdir("results")))
    with open("remote-std.out") as f:
        print(f.read(), end="")

    fut_2 = staged_python_app_1(
        inputs_dict={
            "again": {
                "type": "directory",
                "global_path": "pw://{cwd}/models",
                "worker_path": f"{run_dir}/model_dir",
            }
        },
        outputs_dict={
            "written": {
                "type": "directory",
                "global_path": "pw://{cwd}/written",
                "worker_path": f"{run_dir}/written",
            }
        },
    )
    print(fut_2.result(), os.listdir("written"))
