"""Files and Directories of tasks, in real runs: where a task has them, and what comes of those that fail."""

import os
from pathlib import Path

import pytest

APPS = """
@python_app
def look(*args, inputs=(), outputs=(), **kwargs):
    import os
    found = []
    for file in [*args, *inputs, *kwargs.values()]:
        with open(file) as text:
            found.append([file.filepath, text.read()])
    for number, file in enumerate(outputs):
        with open(file, "w") as text:
            text.write(f"output {number}")
    return found, [file.filepath for file in outputs], os.getcwd()

@python_app
def idle(outputs=()):
    return "nothing is written"

@bash_app
def shell(command, inputs=(), outputs=(), stdout=None, stderr=None):
    return command.format(*inputs, *outputs)
"""


@pytest.fixture
def run_apps(run):
    """Run a script after the apps above."""

    def start(text, site="workers", *more, **options):
        return run(text, site, *more, apps=APPS, **options)

    return start


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_equal_names_do_not_collide(site, run_apps, project):
    write(project, {"a/x.txt": "a", "b/x.txt": "b", "c/x.txt": "c"})
    found = run_apps(
        """
        pilotage.load()
        inputs, outputs, _ = look(
            File("driver:c/x.txt"), inputs=[File("driver:a/x.txt"), File("driver:b/x.txt")],
            outputs=[File("driver:o/1/x.txt"), File("driver:o/2/x.txt")],
            named=File("driver:a/x.txt", local="in/x.txt"),
        ).result()
        tell(inputs=inputs, outputs=outputs, same=failure(
            look, inputs=[File("driver:a/x.txt", local="l"), File("driver:b/x.txt", local="l")]))
        """,
        site,
    )
    texts = [text for _, text in found["inputs"]]
    assert texts == ["c", "a", "b", "a"]
    paths = [path for path, _ in found["inputs"]] + found["outputs"]
    assert len(set(paths)) == 6
    assert paths[3].endswith("/in/x.txt")
    assert all(Path(path).name == "x.txt" for path in paths)
    assert (project / "o/1/x.txt").read_text() == "output 0"
    assert (project / "o/2/x.txt").read_text() == "output 1"
    assert found["same"]["kind"] == "StageInError"
    assert "local='l'" in found["same"]["words"]


NAMES = ["a b", "#1", "50%", "what?", "'q' \"q\"", "$HOME", ".hidden", "ünï", "-rf", "a\nb", "~", "%41", "*"]


def test_names_are_taken_literally(site, run_apps, project):
    write(project, {f"in/{name}": name for name in NAMES})
    found = run_apps(
        f"""
        names = {NAMES!r}
        pilotage.load()
        found = [look(File(f"driver:in/{{name}}"), outputs=[File(f"driver:out/{{name}}")]) for name in names]
        tell(texts=[one.result()[0][0] for one in found])
        """,
        site,
    )
    assert [text for _, text in found["texts"]] == NAMES
    assert [Path(path).name for path, _ in found["texts"]] == NAMES
    assert sorted(os.listdir(project / "out")) == sorted(NAMES)


def test_folders_come_and_go_whole(site, run_apps, project):
    write(project, {"tree/x": "x", "tree/.hidden/y": "y", "tree/run": "#!/bin/sh\n"})
    (project / "tree/run").chmod(0o755)
    (project / "tree/empty").mkdir()
    (project / "tree/link").symlink_to("x")
    write(project, {"made/old": "stays", "made/x": "replaced"})
    run_apps(
        """
        pilotage.load()
        command = "test -d {1} && cp -a {0}/. {1}"
        first = shell(command, inputs=[Directory("driver:tree")], outputs=[Directory("driver:made")])
        # What one task has made, another takes.
        shell("ls -A {0} > {1}", inputs=[first.outputs[0]], outputs=[File("driver:listed")]).result()
        """,
        site,
    )
    made = project / "made"
    assert (made / "x").read_text() == "x"
    assert (made / ".hidden/y").read_text() == "y"
    assert (made / "old").read_text() == "stays"
    assert (made / "empty").is_dir()
    assert os.readlink(made / "link") == "x"
    assert os.access(made / "run", os.X_OK)
    assert not os.access(made / "x", os.X_OK)
    assert set((project / "listed").read_text().split()) >= {"x", ".hidden", "run", "empty", "link"}


def test_a_task_without_its_inputs_is_not_begun_and_one_that_fails_publishes_nothing(site, run_apps, project):
    write(project, {"in": "text", "dir/x": "x"})
    found = run_apps(
        """
        pilotage.load()
        ran = Path("ran").absolute()
        def out(name):
            return [File(f"driver:{name}")]
        tell(
            missing=failure(shell, f"touch {ran}", inputs=[File("driver:in"), File("driver:not-there")]),
            dependent=failure(shell, f"touch {ran}", inputs=[
                shell("true", inputs=[File("driver:nor-this")], outputs=out("n")).outputs[0]]),
            ran=ran.exists(),
            failed=failure(shell, "echo half > {0}; exit 3", outputs=out("failed")),
            one=failure(shell, "echo one > {0}", outputs=[File("driver:one"), File("driver:other")]),
            idle=failure(idle, outputs=[File("driver:idle")]),
            python=failure(look, None, outputs=out("python")),
            kind=failure(shell, "mkdir {0}", outputs=out("kind")),
        )
        gate = Path("gate").absolute()
        busy = shell(f"until [ -e {gate} ]; do sleep 0.1; done; rm {gate}; exit 3", outputs=out("busy"))
        tell(
            twice=failure(shell, "true", outputs=out("busy")),
            dots=failure(shell, "true", outputs=out("./x/../busy")),
        )
        gate.touch()
        tell(
            busy=type(busy.exception()).__name__,
            again=failure(shell, "exit 4", outputs=out("busy")),
        )
        """,
        site,
    )
    assert (found["missing"]["kind"], found["missing"]["where"]) == ("StageInError", "driver:not-there")
    assert found["dependent"]["kind"] == "DependencyError"
    assert not found["ran"]
    assert found["failed"]["kind"] == "BashExitFailure"
    assert found["one"]["kind"] == "MissingOutputs"
    assert (found["idle"]["kind"], found["idle"]["where"]) == ("StageOutError", "driver:idle")
    assert found["kind"]["kind"] in ("StageOutError", "MissingOutputs")
    for which in ("twice", "dots"):
        assert found[which]["kind"] == "UsageError"
        assert "output of two tasks" in found[which]["words"]
    assert [found["busy"], found["again"]["kind"]] == ["BashExitFailure", "BashExitFailure"]
    assert {path.name for path in project.iterdir()} == {"in", "dir", "script.py"}


def test_what_a_task_has_said_is_published_also_when_it_fails(site, run_apps, project):
    found = run_apps(
        """
        pilotage.load()
        good = shell("echo out; echo err >&2", stdout=File("driver:good.out"), stderr=File("driver:good.err"))
        good.result()
        bad = shell("echo out; echo half > {0}; exit 3", outputs=[File("driver:half")], stdout=File("driver:bad.out"))
        tell(good=str(good.stdout.result()), bad=type(bad.exception()).__name__)
        """,
        site,
    )
    assert found["bad"] == "BashExitFailure"
    assert Path(found["good"]) == project / "good.out"
    assert (project / "good.out").read_text() == "out\n"
    assert "err\n" in (project / "good.err").read_text()
    assert (project / "bad.out").read_text() == "out\n"
    assert not (project / "half").exists()


def test_a_further_try_has_its_files_again(site, run_apps, project, tmp_path):
    write(project, {"in": "text"})
    first = tmp_path / "first"
    run_apps(
        f"""
        pilotage.load()
        shell("cat {{0}} > {{1}}; mkdir {first} && exit 1; true",
              inputs=[File("driver:in", local="here")], outputs=[File("driver:out")]).result()
        """,
        site,
        "--set",
        "config.retries=1",
    )
    assert first.exists()
    assert (project / "out").read_text() == "text"


def test_parsls_own_files_are_brought(site, run_apps, project):
    write(project, {"in": "small", "large": "l" * 100_000})
    run_apps(
        """
        pilotage.load()
        shell("cat {0} {1} {2} > {3}; echo plain > {4}",
              inputs=[ParslFile("in"), ParslFile("large"), ParslFile("driver:in")],
              outputs=[ParslFile("driver:" + os.path.abspath("there")), ParslFile(os.path.abspath("plain"))]).result()
        first = shell("echo made > {0}", outputs=[ParslFile("made")])
        shell("cat {0} > {1}", inputs=[first.outputs[0]], outputs=[ParslFile("again")]).result()
        """,
        site,
    )
    assert (project / "there").read_text() == "small" + "l" * 100_000 + "small"
    assert (project / "plain").read_text() == "plain\n"
    assert (project / "again").read_text() == "made\n"


@pytest.mark.parametrize("site", ["workers", "apart"])
def test_a_call_in_a_sandbox_works_in_a_folder_of_its_own(site, run, project, tmp_path):
    write(project, {"in.txt": "text"})
    found = run(
        """
        @stage(sandbox=True)
        @python_app
        def where(file=None, outputs=()):
            import os
            there = os.listdir(".")
            open("scratch", "w").close()
            for one in outputs:
                open(one.filepath, "w").close()
            return os.getcwd(), there, file and open(file).read()

        @python_app
        def plain():
            import os
            return os.getcwd(), os.path.exists("scratch")

        @stage(sandbox=True, keep="failed")
        @bash_app
        def fails(inputs=()):
            return "echo trace > trace; exit 1"

        pilotage.load()
        in_txt = File("driver:in.txt", local="given/in.txt")
        tell(with_file=where(in_txt, outputs=[File("driver:o.txt")]).result(), without=where().result(),
             plain=plain().result(), here=os.getcwd())
        error = fails(inputs=[in_txt]).exception()
        tell(notes=list(getattr(error, "__notes__", [])))
        """,
        site,
        workers=1,
        staging=f'keep = "{tmp_path}/kept"',
    )
    folder, there, text = found["with_file"]
    assert (there, text) == (["given"], "text")
    assert found["without"][1] == []
    assert found["without"][0] != folder
    assert found["plain"] == [found["here"], False]
    (kept,) = (tmp_path / "kept").iterdir()
    assert (kept / "trace").read_text() == "trace\n"
    assert (kept / "given/in.txt").read_text() == "text"
    assert any(str(kept) in note for note in found["notes"]), found["notes"]
    assert (project / "o.txt").exists()


def test_threads_have_no_working_folders_of_their_own(run):
    found = run(
        """
        @stage(sandbox=True)
        @python_app
        def where(file):
            return 1
        pilotage.load()
        tell(error=failure(where, File("driver:script.py")))
        """,
        "threads",
    )
    assert found["error"]["kind"] == "UnsupportedError"


@pytest.mark.parametrize("site", ["workers", "apart"])
def test_inputs_may_be_changed_where_that_is_said(site, run, project):
    write(project, {"in": "text", "dir/x": "x"})
    found = run(
        """
        def change(paths):
            import os
            for path in paths:
                with open(os.path.join(path, "x") if os.path.isdir(path) else path, "a") as file:
                    file.write(" changed")

        @stage(writable=True)
        @python_app
        def writes(inputs=()):
            for file in inputs:
                path = os.path.join(file, "x") if os.path.isdir(file) else file
                with open(path, "a") as text:
                    text.write(" changed")
            return open(inputs[0]).read()

        pilotage.load()
        inputs = [File("driver:in"), Directory("driver:dir")]
        tell(first=writes(inputs=inputs).result(), second=writes(inputs=inputs).result())
        """,
        site,
    )
    assert found["first"] == found["second"] == "text changed"
    assert (project / "in").read_text() == "text"
    assert (project / "dir/x").read_text() == "x"


def test_what_is_used_where_it_is_is_found_from_a_sandbox(run, project):
    write(project, {"in.txt": "text"})
    run(
        """
        @stage(sandbox=True)
        @bash_app
        def copy(inputs=(), outputs=(), stdout=None, stderr=None):
            return f"cat {inputs[0]} > {outputs[0]}; echo said; echo and more >&2"

        pilotage.load()
        copy(inputs=[File("in.txt")], outputs=[File("out.txt")], stdout="said", stderr=("more", "w")).result()
        copy(inputs=[ParslFile("in.txt")], outputs=[ParslFile("theirs.txt")], stdout=Path("path")).result()
        """
    )
    written = {name: (project / name).read_text() for name in ("out.txt", "said", "theirs.txt", "path")}
    assert written == {"out.txt": "text", "said": "said\n", "theirs.txt": "text", "path": "said\n"}
    assert (project / "more").read_text().endswith("and more\n")


@pytest.mark.parametrize("site", ["threads", "workers"])
def test_a_call_that_may_change_its_inputs_leaves_what_it_sees_itself_as_it_is(site, run, project):
    write(project, {"in": "text", "plain": "text"})
    found = run(
        """
        @stage(writable=True)
        @python_app
        def writes(one, inputs=()):
            for file in (one, *inputs):
                with open(file, "a") as text:
                    text.write(" changed")
            return [open(file).read() for file in (one, *inputs)]

        pilotage.load()
        tell(texts=writes(File("in"), inputs=[ParslFile("plain"), File("file:in")]).result())
        """,
        site,
    )
    assert found["texts"] == ["text changed"] * 3
    assert [(project / name).read_text() for name in ("in", "plain")] == ["text", "text"]


def test_a_join_app_hands_its_files_on(site, run, project):
    write(project, {"a.txt": "a"})
    found = run(
        """
        from parsl import join_app
        from parsl.data_provider.files import File as ParslFile

        @join_app
        def join(one, inputs=(), outputs=()):
            with open(inputs[0]) as text:
                assert text.read() == "a"
            return look(one, inputs=list(inputs), outputs=list(outputs))

        pilotage.load()
        made = look(outputs=[File("driver:made.txt")]).outputs[0]
        call = join(File("driver:a.txt"), inputs=[File("driver:a.txt"), ParslFile("a.txt"), made],
                    outputs=[File("driver:out/x.txt")])
        texts = [text for _, text in call.result()[0]]
        with open(call.outputs[0].result()) as text:
            tell(texts=texts, out=text.read())
        """,
        site,
        apps=f"{APPS}",
    )
    assert found["texts"] == ["a", "a", "a", "output 0"]
    assert found["out"] == "output 0"


def test_what_is_wrong_with_a_file_is_told_with_what_to_do(site, run_apps, project):
    write(project, {"a.txt": "a"})
    found = run_apps(
        """
        @python_app
        def within(files):
            return [open(file).read() for file in files]

        pilotage.load()
        tell(
            folder=failure(look, inputs=[Directory("driver:a.txt")]),
            missing=failure(look, inputs=[File("driver:nope")]),
            home=failure(look, inputs=[File("driver:~/nope")]),
            within=failure(within, [File("http://127.0.0.1:9/x")]),
        )
        """,
        site,
    )
    assert found["folder"]["kind"] == "StageInError"
    assert "driver:a.txt: it is a file and no folder" in found["folder"]["words"]
    assert str(project / "nope") in found["missing"]["words"]
    assert "expanduser" in found["home"]["words"]
    assert "inputs=" in found["within"]["words"]


def test_a_name_that_parsl_cuts_off_is_warned_of(run_apps, project):
    found = run_apps(
        """
        pilotage.load()
        look(outputs=[ParslFile("run #1.txt")]).result()
        look(outputs=[File("run #2.txt")]).result()
        tell()
        """,
    )
    assert (project / "run #2.txt").exists()
    assert "Parsl's File('run #1.txt') is 'run ', cut off" in found.done.stderr
    assert "#2.txt" not in found.done.stderr
