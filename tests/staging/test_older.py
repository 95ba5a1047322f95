"""The older form, ``log_app`` and ``stage_app`` with dictionaries of files, in real runs."""

import functools
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import parsl
import pytest

import pilotage
from pilotage.errors import UsageError

SITES = """
[site.workers]
extends = "laptop"
[site.apart]
extends = "laptop"
staging = { shared_filesystem = false }
"""
SCRIPT = Path(__file__).with_name("older_script.py")


@pytest.fixture
def older_project(project, tmp_path):
    """The folder of a script in the older form; returns the run folder of its workers."""
    shutil.copy(SCRIPT, project / "main.py")
    run_dir = tmp_path / "run dir"
    run_dir.mkdir()
    (project / "hello.in").write_text("hello\n")
    (project / "models").mkdir()
    (project / "models" / "a").write_text("a")
    (project / "models" / "b").write_text("b")
    executor = {"HOST_USER": "me", "HOST_IP": "192.0.2.1", "RUN_DIR": str(tmp_path / "run_dir")}
    (tmp_path / "run_dir").mkdir()
    (project / "executors.json").write_text(json.dumps({"myexecutor_1": executor}))
    return tmp_path / "run_dir"


def test_a_script_in_the_older_form_runs_with_another_import(site, older_project, pilotage, user_file):
    user_file(SITES)
    done = pilotage("run", "main.py", "--site", site, "World")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True",
        "0",
        "hello",
        "a",
        "b",
        "['a', 'b']",
        "ran in the shell",
        "(0, 0) ['test.txt']",
    ]
    assert sorted(path.name for path in older_project.iterdir()) == [
        "hello-1.out", "hello.in", "model_dir", "results", "std.err", "std.out", "written",
    ]  # fmt: skip


APPS = """
@stage_app("host")
@python_app
def copied(tag="", number=0, inputs_dict={}, outputs_dict={}):
    import os, shutil
    for name, entry in outputs_dict.items():
        source = inputs_dict[name]["worker_path"]
        if entry["type"] == "file":
            shutil.copyfile(source, entry["worker_path"])
        else:
            shutil.copytree(source, entry["worker_path"])
    return [inputs_dict, outputs_dict, os.getcwd()]

@stage_app("host")
@bash_app
def in_bash(command, inputs_dict={}, outputs_dict={}, stdout=None, number=0):
    paths = {name: entry["worker_path"] for name, entry in {**inputs_dict, **outputs_dict}.items()}
    return command.format(**paths)

def entry(source, worker_path, kind="file", **more):
    return {"type": kind, "global_path": source, "worker_path": worker_path, **more}
"""


@pytest.fixture
def run_apps(run):
    """Run a script after the apps above."""
    return functools.partial(run, apps=APPS)


def test_paths_are_filled_in_and_files_come_and_go(site, run_apps, project, tmp_path):
    (project / "in 3.txt").write_text("text")
    os.makedirs(project / "folder" / "empty")
    (project / "folder" / "x").write_text("x")
    (project / "folder" / "run").write_text("#!/bin/sh\n")
    (project / "folder" / "run").chmod(0o755)
    found = run_apps(
        f"""
        parsl.load()
        there = {str(tmp_path / "there")!r}
        tell(cwd=os.getcwd(), result=copied(
            tag="t", number=3,
            inputs_dict={{
                "relative": entry("pw://{{cwd}}/in {{number}}.txt", "sub/{{tag}}.txt", note="kept"),
                "absolute": entry("pw://{{cwd}}/folder", there + "/{{tag}}-{{number:02d}}", "directory"),
                "run": entry("in 3.txt", "{{remote_dir}}/{{tag}}.here"),
            }},
            outputs_dict={{
                "relative": entry("pw://{{cwd}}/out-{{tag}}.txt", "out"),
                "absolute": entry("pw://{{cwd}}/made/folder", there + "/new", "directory"),
                "run": entry("driver:out.here", "{{remote_dir}}/out.there"),
            }},
        ).result())
        """,
        site,
    )
    inputs, outputs, cwd = found["result"]
    assert inputs["relative"]["global_path"] == f"pw://{project}/in 3.txt"
    assert inputs["relative"]["note"] == "kept"
    assert inputs["relative"]["worker_path"].endswith("/sub/t.txt")
    assert os.path.isabs(inputs["relative"]["worker_path"])
    assert inputs["absolute"]["worker_path"] == f"{tmp_path}/there/t-03"
    assert inputs["run"]["worker_path"] == f"{cwd}/t.here"
    assert outputs["absolute"] == {
        "type": "directory", "global_path": f"pw://{project}/made/folder", "worker_path": f"{tmp_path}/there/new",
    }  # fmt: skip
    assert (project / "out-t.txt").read_text() == "text"
    assert (project / "out.here").read_text() == "text"
    made = project / "made" / "folder"
    assert sorted(path.name for path in made.iterdir()) == ["empty", "run", "x"]
    assert os.access(made / "run", os.X_OK)
    assert (tmp_path / "there" / "t-03" / "x").read_text() == "x", "what is at an absolute path stays"


def test_a_call_may_change_its_inputs_and_their_source_stays_as_it_is(site, run_apps, project, tmp_path):
    (project / "data").mkdir()
    (project / "data" / "x").write_text("source")
    found = run_apps(
        f"""
        parsl.load()
        there = {str(tmp_path / "there")!r}
        in_place = "echo changed > {{data}}/x; echo new > {{data}}/y"
        for number, path in enumerate(["data", there]):
            made = entry(f"pw://{{{{cwd}}}}/made-{{number}}", path, "directory")
            assert in_bash(in_place, inputs_dict={{"data": entry("pw://{{cwd}}/data", path, "directory")}},
                           outputs_dict={{"made": made}}).result() == 0
        # The input that a call has changed is brought anew.
        x = {{"x": entry("pw://{{cwd}}/data", there, "directory")}}
        tell(x=in_bash("cat {{x}}/x", stdout="x.txt", inputs_dict=x).result())
        """,
        site,
    )
    assert found["x"] == 0
    assert (project / "data" / "x").read_text() == "source"
    assert not (project / "data" / "y").exists()
    for number in range(2):
        assert (project / f"made-{number}" / "x").read_text() == "changed\n"
        assert (project / f"made-{number}" / "y").read_text() == "new\n"
    assert (project / "x.txt").read_text() == "source"


def test_calls_at_once_share_a_path_without_a_clash(site, run, project, tmp_path):
    """Each reads all of it for a while, and the path has other content that is to go."""
    (project / "data").mkdir()
    for number in range(200):
        (project / "data" / f"{number}").write_text("right" * 100)
    there = tmp_path / "there"
    there.mkdir()
    (there / "5").write_text("wrong")
    (there / "mine").write_text("stays")
    found = run(
        f"""
        @stage_app("host")
        @python_app
        def read(number, inputs_dict={{}}, outputs_dict={{}}):
            import os
            for _ in range(20):
                for name in range(200):
                    path = os.path.join(inputs_dict["data"]["worker_path"], str(name))
                    with open(path) as file:
                        if file.read() != "right" * 100:
                            raise ValueError(path)
            with open(outputs_dict["out"]["worker_path"], "w") as file:
                file.write(str(number))
            return os.stat(os.path.join(inputs_dict["data"]["worker_path"], "7")).st_ino

        parsl.load()
        there = {str(there)!r}
        data = {{"type": "directory", "global_path": "pw://{{cwd}}/data", "worker_path": there}}
        out = {{"type": "file", "global_path": "pw://{{cwd}}/out-{{number}}", "worker_path": "out"}}
        made = [read(number, inputs_dict={{"data": data}}, outputs_dict={{"out": out}}) for number in range(8)]
        tell(files=len(set(one.result() for one in made)))
        """,
        site,
        workers=4,
    )
    assert found["files"] == 1, "what is there already is not brought again"
    assert [(project / f"out-{number}").read_text() for number in range(8)] == list("01234567")
    assert (there / "mine").read_text() == "stays"
    assert not list(tmp_path.rglob("*.part"))


def test_what_fails_says_which_url_and_publishes_nothing(site, run_apps, project):
    (project / "data").mkdir()
    (project / "in.txt").write_text("text")
    found = run_apps(
        """
        parsl.load()
        ran = Path("ran").absolute()
        def out(name, path="out", kind="file"):
            return {"out": entry("pw://{cwd}/" + name, path, kind)}
        tell(
            missing=failure(in_bash, f"touch {ran}; echo > {{out}}", outputs_dict=out("m"),
                            inputs_dict={"x": entry("pw://{cwd}/not-there", "x")}),
            folder=failure(in_bash, f"touch {ran}", inputs_dict={"x": entry("pw://{cwd}/data", "x")}),
            file=failure(in_bash, f"touch {ran}", inputs_dict={"x": entry("pw://{cwd}/in.txt", "x", "directory")}),
            ran=ran.exists(),
            failed=failure(in_bash, "echo half > {out}; exit 3", outputs_dict=out("f")),
            unwritten=failure(in_bash, "true", outputs_dict=out("u")),
            kind=failure(in_bash, "mkdir {out}", outputs_dict=out("k")),
        )
        gate = Path("gate").absolute()
        busy = in_bash(f"until [ -e {gate} ]; do sleep 0.1; done; rm {gate}; exit 3", outputs_dict=out("b"))
        tell(taken=failure(in_bash, "true", outputs_dict=out("b")))
        gate.touch()
        tell(busy=type(busy.exception()).__name__)
        """,
        site,
    )
    assert found["missing"]["kind"] == "StageInError"
    assert found["missing"]["where"] == f"pw://{project}/not-there"
    assert "has the type 'file'" in found["folder"]["words"]
    assert "has the type 'directory'" in found["file"]["words"]
    assert not found["ran"], "the app is not begun without its inputs"
    assert found["failed"]["kind"] == "BashExitFailure"
    assert (found["unwritten"]["kind"], found["unwritten"]["where"]) == ("StageOutError", f"pw://{project}/u")
    assert (found["kind"]["kind"], found["kind"]["where"]) == ("StageOutError", f"pw://{project}/k")
    assert (found["taken"]["kind"], f"pw://{project}/b" in found["taken"]["words"]) == ("UsageError", True)
    assert found["busy"] == "BashExitFailure"
    assert {path.name for path in project.iterdir()} == {"data", "in.txt", "script.py"}


def test_a_try_that_failed_is_followed_by_one_with_its_files(run_apps, project, tmp_path):
    (project / "in.txt").write_text("text")
    found = run_apps(
        f"""
        parsl.load()
        command = "cat {{{{x}}}} > {{{{out}}}}; echo changed >> {{{{x}}}}; mkdir {tmp_path!s}/first && exit 1; true"
        tell(result=in_bash(command.replace("{{{{", "{{").replace("}}}}", "}}"),
            inputs_dict={{"x": entry("pw://{{cwd}}/in.txt", {str(tmp_path / "there")!r})}},
            outputs_dict={{"out": entry("pw://{{cwd}}/out.txt", "out")}}).result())
        """,
        retries=1,
    )
    assert found["result"] == 0
    assert (project / "out.txt").read_text() == "text"


def test_calls_go_on_at_another_site(run, project, user_file):
    (project / "in.txt").write_text("text")
    found = run(
        """
        @pilotage.fallback("first", "second")
        @log_app
        @stage_app("host")
        @python_app
        def where(inputs_dict={}, outputs_dict={}):
            import multiprocessing, os, sys
            if "pilotage.runs.driver" not in sys.modules:
                os.kill(os.getpid(), 9)
            with open(outputs_dict["out"]["worker_path"], "w") as file:
                file.write(open(inputs_dict["x"]["worker_path"]).read())
            return "threads"
        parsl.load()
        tell(where=where(
            inputs_dict={"x": {"type": "file", "global_path": "pw://{cwd}/in.txt", "worker_path": "x"}},
            outputs_dict={"out": {"type": "file", "global_path": "pw://{cwd}/out.txt", "worker_path": "o"}}).result())
        """,
        "first=workers",
        "--site",
        "second=threads",
    )
    assert found["where"] == "threads"
    assert (project / "out.txt").read_text() == "text"
    (told,) = [event["detail"] for event in found.events if event["kind"] == "app"]
    assert told["executor"] == "second"


def test_other_files_of_a_call_stay_the_users(site, run, project):
    (project / "in.txt").write_text("text")
    found = run(
        """
        @stage_app("host")
        @python_app
        def mixed(inputs=None, outputs=(), inputs_dict={}, outputs_dict={}):
            open(outputs[0], "w").write(open(inputs[0].filepath).read())
            open(outputs_dict["o"]["worker_path"], "w").write(open(inputs_dict["x"]["worker_path"]).read())
            return len(inputs), len(outputs)

        @stage_app("host")
        @python_app
        def no_inputs(x, inputs_dict=None):
            return x, inputs_dict["x"]["type"]

        @stage_app("host")
        @python_app
        def bare(x):
            return x

        @python_app
        def make(outputs=()):
            open(outputs[0].filepath, "w").write("made")

        parsl.load()
        x = {"x": {"type": "file", "global_path": "pw://{cwd}/in.txt", "worker_path": "in.txt"}}
        made = make(outputs=[File("driver:made.txt")]).outputs[0]
        o = {"o": {"type": "file", "global_path": "pw://{cwd}/two.txt", "worker_path": "in.out"}}
        future = mixed(inputs=[made], outputs=[File("driver:one.txt")], inputs_dict=x, outputs_dict=o)
        tell(mixed=future.result(), outputs=[Path(one.result().filepath).name for one in future.outputs],
             no_inputs=no_inputs(1, inputs_dict=x).result(), bare=bare(2).result(),
             no_argument=failure(bare, 1, inputs_dict=x))
        """,
        site,
    )
    assert found["mixed"] == [1, 1]
    assert found["outputs"] == ["one.txt"]
    assert found["no_inputs"] == [1, "file"]
    assert found["bare"] == 2
    assert found["no_argument"]["kind"] == "TypeError"
    assert (project / "one.txt").read_text() == "made"
    assert (project / "two.txt").read_text() == "text"


def test_each_call_is_an_event_without_secrets(site, run, project):
    (project / "in.txt").write_text("text")
    found = run(
        """
        @log_app
        @bash_app
        def shell(code, password, stdout=None):
            return f"sleep 0.2; exit {code}"

        @log_app
        @stage_app("host")
        @python_app
        def wide(values, inputs_dict={}):
            raise ValueError("no token=abcdefgh12345678 here")

        parsl.load()
        futures = [shell(0, "hunter2hunter2"), shell(3, password="hunter2hunter2")]
        url = "https://me:hunter2hunter2@127.0.0.1:9/x?sig=hunter2hunter2"
        x = {"x": {"type": "file", "global_path": url, "worker_path": "x"}}
        futures.append(wide(list(range(100_000)), inputs_dict=x))
        futures.append(wide("x" * 100_000))
        for future in futures:
            future.exception()
        """,
        site,
    )
    told = sorted((event["detail"] for event in found.events if event["kind"] == "app"), key=lambda one: one["task"])
    assert [(one["app"], one["outcome"], one["exit_code"]) for one in told] == [
        ("shell", "done", 0),
        ("shell", "failed", 3),
        ("wide", "failed", None),
        ("wide", "failed", None),
    ]
    for one in told[:2] + told[3:]:
        assert one["submitted"] <= one["begun"] <= one["ended"]
        assert (one["host"], one["executor"]) == (socket.gethostname(), site)
    assert told[0]["ended"] - told[0]["begun"] >= 0.2
    assert told[0]["arguments"].startswith("code=0, password=")
    assert told[2]["begun"] is None, "it was not begun without its input"
    assert "ValueError: no token=" in told[3]["error"]
    text = (found.folder / "events.jsonl").read_text()
    assert "hunter2" not in text
    assert "abcdefgh12345678" not in text
    assert max(len(one["arguments"]) for one in told) <= 2000
    assert all(
        one["detail"]["arguments"] in one["message"] or "..." in one["message"]
        for one in found.events
        if one["kind"] == "app"
    )


@parsl.python_app
def app(number, inputs_dict=None, outputs_dict=None, later=None):
    """Never called: what is wrong is told before."""


FILE = {"type": "file", "global_path": "pw://{cwd}/x", "worker_path": "x"}


@pytest.mark.parametrize(
    ("given", "words", "where", "hint"),
    [
        ({"inputs_dict": [FILE]}, "inputs_dict is [", "", "a dictionary"),
        ({"inputs_dict": {"x": "pw://x"}}, "it is 'pw://x'", "inputs_dict['x']", "a dictionary such as"),
        ({"inputs_dict": {"x": {**FILE, "type": "folder"}}}, "the type 'folder'", "inputs_dict['x']", "'directory'"),
        ({"inputs_dict": {"x": {"type": "file", "worker_path": "x"}}}, "'global_path' is missing", "['x']", "such as"),
        ({"outputs_dict": {"x": {**FILE, "worker_path": None}}}, "worker_path is None", "outputs_dict['x']", ""),
        (
            {"inputs_dict": {"x": {**FILE, "worker_path": "{run_dir}/x"}}},
            "a placeholder {run_dir}",
            "inputs_dict['x']: worker_path",
            "{cwd}, {remote_dir}, {number}",
        ),
        (
            {"inputs_dict": {"x": {**FILE, "global_path": "pw://{remote_dir}/x"}}},
            "{remote_dir}",
            "global_path",
            "{cwd}",
        ),
        ({"inputs_dict": {"x": {**FILE, "worker_path": "a}b"}}}, "'a}b'", "worker_path", "{{"),
        ({"inputs_dict": {"x": {**FILE, "worker_path": "../x"}}}, "'../x' is not below", "['x']", "absolute"),
        ({"inputs_dict": {"x": {**FILE, "global_path": "s3:bucket"}}}, "has no //", "", "s3://"),
        ({"inputs_dict": {"x": FILE, "y": FILE}}, "worker_path 'x' is there twice", "['x'] and inputs_dict['y']", ""),
        (
            {"outputs_dict": {"x": FILE, "y": {**FILE, "global_path": "./x", "worker_path": "y"}}},
            "./x is an output twice",
            "outputs_dict['x'] and outputs_dict['y']",
            "",
        ),
    ],
)
def test_what_a_dictionary_says_wrongly_is_told(given, words, where, hint):
    with pytest.raises(UsageError) as error:
        pilotage.stage_app("host")(app)(1, **given)
    assert words in error.value.message
    assert where in str(error.value.where or "")
    assert hint in str(error.value.hint or "")


def test_dictionaries_go_by_name():
    with pytest.raises(UsageError, match="inputs_dict is given by its place"):
        pilotage.stage_app("host")(app)(1, {"x": FILE})


def test_a_future_is_no_part_of_a_path():
    from concurrent.futures import Future

    with pytest.raises(UsageError, match="is a future"):
        pilotage.stage_app("host")(app)(1, inputs_dict={"x": {**FILE, "worker_path": "{later}"}}, later=Future())


@pytest.mark.parametrize("decorator", [pilotage.log_app, pilotage.stage_app("host")])
def test_what_is_no_app_is_refused(decorator):
    with pytest.raises(UsageError, match="decorates an app"):
        decorator(lambda: 1)


def test_a_decorated_app_has_the_names_of_its_function():
    made = pilotage.log_app(pilotage.stage_app("host")(app))
    assert made.__name__ == "app"
    assert made.__doc__ == app.func.__wrapped__.__doc__


def test_an_executor_that_is_not_pilotages_is_named(project, pilotage):
    (project / "s.py").write_text(
        "import parsl, pilotage\n"
        "app = pilotage.stage_app('h')(parsl.python_app(lambda inputs_dict: 1))\n"
        "parsl.load()\n"
        "app(inputs_dict={'x': {'type': 'file', 'global_path': 'pw://x', 'worker_path': 'x'}})\n"
    )
    done = pilotage.run([sys.executable, "s.py"])
    assert "its executor is not pilotage's" in done.stderr


SERVER = """
import hashlib, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
box = {"/in": b"text"}

class Box(BaseHTTPRequestHandler):
    def do_HEAD(self, body=False):
        found = box.get(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        if found is not None:
            self.send_header("ETag", '"' + hashlib.md5(found).hexdigest() + '"')
        self.end_headers()
        if body:
            self.wfile.write(found or b"")
    def do_GET(self):
        self.do_HEAD(body=True)
    def do_PUT(self):
        time.sleep(0.5)  # the task is done by then
        box[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Box)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
"""


def test_what_the_driver_copies_is_there_when_the_result_is(run):
    found = run(
        """
        pilotage.load()
        future = in_bash("cat {x} > {out}; echo changed >> {x}", inputs_dict={"x": entry(url + "/in", "x")},
                         outputs_dict={"out": entry(url + "/out-{number}", "out")}, number=7)
        tell(code=future.result(), there=box.get("/out-7", b"").decode(), outputs=len(future.outputs))
        tell(failed=failure(in_bash, "true", outputs_dict={"out": entry(url + "/never", "out")}), url=url)
        tell(box=list(box), source=box["/in"].decode())
        server.shutdown()
        """,
        apps=APPS + SERVER,
        staging='http = { copied_by = "driver" }',
    )
    assert (found["code"], found["there"], found["outputs"]) == (0, "text", 0)
    assert (found["failed"]["kind"], found["failed"]["where"]) == ("StageOutError", found["url"] + "/never")
    assert (found["box"], found["source"]) == (["/in", "/out-7"], "text")


def test_calls_go_on_where_workers_do_not_see_the_drivers_files(run, project, tmp_path):
    (project / "in.txt").write_text("text")
    found = run(
        f"""
        @pilotage.fallback("first", "second")
        @log_app
        @stage_app("host")
        @python_app
        def where(inputs_dict={{}}, outputs_dict={{}}):
            import os
            try:
                os.mkdir({str(tmp_path / "first")!r})
                os.kill(os.getpid(), 9)
            except FileExistsError:
                pass
            with open(outputs_dict["out"]["worker_path"], "w") as file:
                file.write(open(inputs_dict["x"]["worker_path"]).read())
            return 1
        parsl.load()
        x = {{"type": "file", "global_path": "pw://{{cwd}}/in.txt", "worker_path": "x"}}
        out = {{"type": "file", "global_path": "pw://{{cwd}}/out.txt", "worker_path": "o"}}
        tell(where=where(inputs_dict={{"x": x}}, outputs_dict={{"out": out}}).result())
        """,
        "first=workers",
        "--site",
        "second=apart",
    )
    assert found["where"] == 1
    assert (project / "out.txt").read_text() == "text"
