"""A real MLflow server goes away while a benchmark runs, and comes back; its page shows the curves."""

import contextlib
import json
import subprocess
import time
from urllib.parse import urlencode

import psutil
import pytest

from browser import Browser
from perf import pages
from perf.made_up import record
from pilotage.perf import folder, mlflow_child, page, tracking
from pilotage.perf.logged import SENT_TAG
from program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # MLflow and the browser may have to be installed
RUN = ("perf", "run", "--site", "threads", "--repeat", "2", "--time", "0.5", "--settle", "0")


class Server:
    """``mlflow server`` with a store and artefacts of its own."""

    def __init__(self, interpreter, place):
        self.port = pages.free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._place = place
        self._argv = [str(interpreter), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self._argv += ["--workers", "1", "--backend-store-uri", f"sqlite:///{place}/mlflow.db"]
        self._argv += ["--artifacts-destination", str(place / "artifacts")]
        self._process = None

    def up(self):
        env = {**mlflow_child.environment(), **page.SWITCHES, "TMPDIR": str(self._place)}
        with (self._place / "server.log").open("a") as log:
            self._process = psutil.Popen(
                self._argv, env=env, cwd=self._place, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 180
        while pages.status(self.uri) != 200:
            assert self._process.poll() is None, (self._place / "server.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.2)

    def kill(self):
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [*self._process.children(recursive=True), self._process]
            for one in family:
                one.kill()
            psutil.wait_procs(family, timeout=10)
        self._process.wait()

    def get(self, name, **query):
        with pages.OPENER.open(f"{self.uri}/api/2.0/mlflow/{name}?{urlencode(query)}", timeout=30) as answer:
            return json.load(answer)

    def runs(self):
        """Return the experiment's id and its runs: tags by name, and all points, sorted."""
        number = self.get("experiments/get-by-name", experiment_name="parsl-perf")["experiment"]["experiment_id"]
        request = pages.urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/runs/search",
            json.dumps({"experiment_ids": [number]}).encode(),
            {"Content-Type": "application/json"},
        )
        with pages.OPENER.open(request, timeout=30) as answer:
            runs = json.load(answer).get("runs", [])
        return number, [self._whole(run) for run in runs]

    def _whole(self, run):
        number = run["info"]["run_id"]
        points = []
        for name in {one["key"] for one in run["data"]["metrics"]}:
            told = self.get("metrics/get-history", run_id=number, metric_key=name)["metrics"]
            points += [(name, int(one["timestamp"]), float(one["value"]), int(one["step"])) for one in told]
        files = self.get("artifacts/list", run_id=number)["files"]
        return {
            "id": number,
            "tags": {one["key"]: one["value"] for one in run["data"]["tags"]},
            "points": sorted(points),
            "files": {one["path"] for one in files},
        }


@pytest.fixture
def server(monkeypatch, tmp_path):
    interpreter = pages.real(monkeypatch)
    place = tmp_path / "server"
    place.mkdir()
    one = Server(interpreter, place)
    one.up()
    yield one
    one.kill()


def wanted(one):
    return sorted((name, *point) for name, points in tracking.run_of(one, "x", "0").metrics.items() for point in points)


def begin(pilotage, project, uri):
    """Start a benchmark; return it once its first session is under way."""
    words = project / "words"
    with words.open("w") as file:
        env = pilotage.env(MLFLOW_TRACKING_URI=uri)
        process = subprocess.Popen([PROGRAM, *RUN], env=env, stdout=subprocess.DEVNULL, stderr=file)
    end = time.monotonic() + 120
    while "iteration 1" not in words.read_text():
        assert process.poll() is None, words.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "session 2 of 2" not in words.read_text()
    return process, words


def test_a_server_that_goes_away_mid_run_has_all_of_it_in_the_end(server, pilotage, project):
    process, words = begin(pilotage, project, server.uri)
    server.kill()
    assert process.wait(150) == 0, words.read_text()
    assert "1 record waits for MLflow" in words.read_text()
    assert "nothing listens there" in words.read_text()
    (one,) = folder.read_all([project / "results"]).records.values()
    assert len(one.finished) == 2
    server.up()
    done = pilotage("perf", "sync")
    assert (done.returncode, done.stdout) == (0, "1 sent\n"), done.stderr
    _, (run,) = server.runs()
    assert run["tags"]["pilotage.record"] == one.id
    assert SENT_TAG in run["tags"]
    assert run["points"] == wanted(one)
    assert {"record.json", "logs", "figures", folder.config_path(one).name} <= run["files"]
    assert pilotage("perf", "sync").stdout == "nothing waits\n"
    assert len(server.runs()[1]) == 1


# The steps and values that the line of each chart in sight goes through.
CHARTS = """
[...document.querySelectorAll('.js-plotly-plot')].filter(one => one.checkVisibility() && one.querySelector('.js-line'))
  .map(one => [...one.data[0].x].map((step, place) => [step, one.data[0].y[place]]))
"""


def test_its_page_draws_a_curve_of_each_metric(server, pilotage, tmp_path):
    one = record("abcd-1", count=5)
    path = folder.write(one, tmp_path)
    assert pilotage("perf", "sync", path, "--tracking-uri", server.uri).returncode == 0
    experiment, (run,) = server.runs()
    metrics = tracking.run_of(one, "x", "0").metrics
    browser = Browser(tmp_path / "browser")
    try:
        page = browser.page()
        page.resize(1400, 5000)  # a chart is drawn when it comes into sight
        page.open(f"{server.uri}/#/experiments/{experiment}/runs/{run['id']}/model-metrics", limit=120)
        try:
            page.wait(f"{CHARTS.strip()}.length === {len(metrics)}", limit=120)
            drawn = page.evaluate(CHARTS)
            words = page.text()
        finally:
            page.picture(tmp_path / "curves.png")
    finally:
        browser.close()
    for name, points in metrics.items():
        assert [[point.step, point.value] for point in points] in drawn, name
        assert name.rpartition("/")[2] in words
    assert len(metrics["runtime_tps"]) == 15
