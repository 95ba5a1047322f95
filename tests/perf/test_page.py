"""`perf ui`: MLflow's page is up, answers, and leaves nothing, however it is ended."""

import json
import os
import signal
import socket
import threading
import time
from http.server import HTTPServer

import jsonschema
import pytest

from perf import pages
from perf.made_up import record
from perf.stand_in_mlflow import Handler
from pilotage.paths import TrackingFolder
from pilotage.perf import folder, page, page_environment, shapes
from program import PROGRAM
from terminals import Terminal

WAYS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"]


@pytest.fixture(params=["stand-in", pytest.param("mlflow", marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def shown(request, monkeypatch, tmp_path):
    """What the page is made of; returns whether it is MLflow itself."""
    if request.param == "mlflow":
        pages.real(monkeypatch)
        return True
    pages.stand_in(monkeypatch, tmp_path)
    return False


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    return pages.stand_in(monkeypatch, tmp_path)


@pytest.fixture
def other():
    """Another's server, which answers all that MLflow's page is asked for; returns its port."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def folders():
    return list(TrackingFolder.standard().pages.iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_it_is_up_answers_and_leaves_nothing(shown, way, pilotage, tmp_path):
    started = pages.Started(pilotage, tmp_path)
    url = started.url()
    assert pages.status(url) == 200
    assert pages.status(url, "/") == 200
    assert shown or len(pages.workers(tmp_path)) == 2
    assert len(pilotage.left_behind()) > 2
    started.process.send_signal(getattr(signal, way))
    assert started.ends() == (-9 if way == "SIGKILL" else 0), started.words.read_text()
    assert pages.gone(pilotage) == []
    assert shown or pages.workers(tmp_path) == []
    assert pages.status(url) is None
    if way == "SIGKILL":
        assert len(folders()) == 1
        assert page.sweep() == []
    else:
        assert started.words.read_text().endswith("stopping MLflow's page\n")
    assert folders() == []


def test_ctrl_c_in_a_terminal_is_the_commands_alone(stand_in, pilotage, tmp_path):
    terminal = Terminal([PROGRAM, "perf", "ui", "--no-open"], pilotage.env())
    terminal.wait_for("Ctrl-C stops it")
    terminal.type("\x03")
    assert terminal.finish() == 0
    assert "stopping MLflow's page" in terminal.text()
    assert pages.gone(pilotage) == []
    assert pages.workers(tmp_path) == []
    assert folders() == []


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_ended_before_it_answers(stand_in, way, pilotage, tmp_path):
    started = pages.Started(pilotage, tmp_path, STAND_IN_SLOW="600")
    started.wait_for("starting MLflow's page")
    while not (tmp_path / "workers").exists():
        assert started.process.poll() is None
        time.sleep(0.02)
    started.process.send_signal(getattr(signal, way))
    assert started.ends() in (130, -9), started.words.read_text()
    assert pages.gone(pilotage) == []
    assert pages.workers(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="processes are found by their environment")
def test_what_a_killed_guard_has_left_is_ended_by_the_next_command(stand_in, pilotage, tmp_path):
    started = pages.Started(pilotage, tmp_path)
    url = started.url()
    guard = started.guard()
    guard.suspend()  # it must not see that the command has ended
    started.process.kill()
    started.ends()
    guard.kill()
    left = pages.workers(tmp_path)
    assert left, "a control: nothing is there to be ended"
    again = pages.Started(pilotage, tmp_path)
    assert again.url() != url
    assert not set(left) & set(pages.workers(tmp_path))
    assert len(folders()) == 1
    again.process.send_signal(signal.SIGINT)
    assert again.ends() == 0
    assert pages.gone(pilotage) == []


def test_a_page_that_ends_by_itself_is_told_of(stand_in, pilotage, tmp_path):
    started = pages.Started(pilotage, tmp_path)
    started.url()
    # The workers have become children of the guard's.
    (server,) = (one for one in started.guard().children() if one.pid not in pages.workers(tmp_path))
    server.kill()
    assert started.ends() == 1
    assert "MLflow's page has ended by itself" in started.words.read_text()
    assert pages.gone(pilotage) == []
    assert folders() == []


def test_a_port_that_is_anothers_is_refused(stand_in, pilotage, other):
    done = pilotage("perf", "ui", "--no-open", "--port", str(other))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"port {other} is in use" in done.stderr
    assert "hint: leave --port away, or name another" in done.stderr


def test_another_who_takes_the_chosen_port_is_not_shown(stand_in, monkeypatch, other, tmp_path):
    """Between the choice of a port and MLflow's start it may become another's, who answers, too."""
    ports = iter([other, free := pages.free_port()])
    monkeypatch.setattr(page, "_free_port", lambda: next(ports))
    said = []
    with page.page("sqlite:////nothing.db", port=None, say=said.append) as shown:
        assert shown.url == f"http://127.0.0.1:{free}"
        assert len(pages.workers(tmp_path)) == 2
    assert pages.status(f"http://127.0.0.1:{free}") is None
    assert pages.workers(tmp_path) == []
    assert folders() == []


def test_what_is_told_to_programs(stand_in, pilotage, tmp_path):
    port = pages.free_port()
    started = pages.Started(pilotage, tmp_path, "--json", "--port", str(port), "--quiet")
    text = started.process.stdout.readline()
    while not text.endswith("}\n"):
        text += started.process.stdout.readline()
    found = json.loads(text)
    jsonschema.validate(found, shapes.schema("perf-ui"))
    store = f"sqlite:///{TrackingFolder.standard().database}"
    assert found == {
        "schema_version": 1,
        "url": f"http://127.0.0.1:{port}",
        "store": store,
        "pid": started.process.pid,
    }
    os.kill(found["pid"], signal.SIGTERM)
    assert started.ends() == 0
    assert started.words.read_text() == ""


def test_a_server_has_its_page_already(pilotage):
    done = pilotage("perf", "ui", "--no-open", "--tracking-uri", "http://127.0.0.1:9", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("perf-ui"))
    assert found["url"] == "http://127.0.0.1:9"
    assert found["pid"] is None


@pytest.fixture
def silent():
    """A server that takes connections and never answers; returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.slow
def test_an_installation_that_was_killed_or_fails_leaves_no_half(monkeypatch, pilotage, tmp_path, silent):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    index = {"PIP_INDEX_URL": f"http://127.0.0.1:{silent}/simple", "PIP_CONFIG_FILE": os.devnull}
    started = pages.Started(pilotage, tmp_path, **index)
    started.wait_for("installing mlflow==")
    pip = page_environment.folder() / "bin" / "pip"
    while not pip.exists():
        assert started.process.poll() is None
        time.sleep(0.02)
    started.process.kill()
    started.ends()
    assert pages.gone(pilotage) == []
    index["PIP_INDEX_URL"] = f"http://127.0.0.1:{pages.free_port()}/simple"
    done = pilotage("perf", "ui", "--no-open", env={**index, "PIP_RETRIES": "0"})
    assert done.returncode == 1
    assert "MLflow cannot be installed" in done.stderr
    assert "hint: is there a network?" in done.stderr
    assert not (page_environment.folder() / "ready").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mlflows_page_has_the_records(monkeypatch, pilotage, tmp_path):
    pages.real(monkeypatch)
    one = record("abcd-1")
    path = folder.write(one, tmp_path)
    assert pilotage("perf", "sync", path).stdout == "1 sent\n"
    started = pages.Started(pilotage, tmp_path)
    url = started.url()
    with pages.OPENER.open(url + "/", timeout=30) as answer:
        assert "<title>MLflow</title>" in answer.read().decode()
    ask = url + "/api/2.0/mlflow/experiments/get-by-name?experiment_name=parsl-perf"
    with pages.OPENER.open(ask, timeout=30) as answer:
        assert json.load(answer)["experiment"]["lifecycle_stage"] == "active"
    started.process.send_signal(signal.SIGINT)
    assert started.ends() == 0
