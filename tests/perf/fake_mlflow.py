"""An MLflow server of a hundred lines, whose faults can be chosen: it fails, is slow, or dies in the middle."""

import itertools
import json
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FakeMlflow:
    """In memory; ``fault`` is asked before each request: its number, its name; an HTTP status, "die", or seconds.

    Attributes
    ----------
    runs: by id: info, params, tags, metrics as {name: [(timestamp, value, step)]}.
    files: bytes by path.
    asked: the name of each request, such as ``runs/log-batch``.
    """

    def __init__(self, port=0):
        self.experiments, self.runs, self.files, self.asked = {}, {}, {}, []
        self.dead = False
        self.fault = lambda number, name: None
        self._ids = itertools.count(1)
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self._answer({key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()})

            def do_POST(self):
                self._answer(json.loads(self._body() or b"{}"))

            def do_PUT(self):
                if fake.dead:
                    self.close_connection = True
                    return
                fake.files[urlsplit(self.path).path.partition("/artifacts/")[2]] = self._body()
                self._send(200, {})

            def _body(self):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer(self, body):
                name = urlsplit(self.path).path.partition("/mlflow/")[2]
                fake.asked.append(name)
                if fake.dead:  # a connection that was open before
                    self.close_connection = True
                    return
                fault = fake.fault(len(fake.asked), name)
                if fault == "die":
                    fake.dead = True
                    threading.Thread(target=fake.stop).start()
                    self.close_connection = True
                    return
                if isinstance(fault, float):
                    time.sleep(fault)
                elif fault:
                    code = "INTERNAL_ERROR" if fault >= 500 else "INVALID_PARAMETER_VALUE"
                    self._send(fault, {"error_code": code, "message": "a fault of the test's"})
                    return
                call = getattr(fake, "_" + re.sub(r"\W", "_", name), None)
                if call is None:
                    self._send(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": name})
                    return
                answer = call(body)
                self._send(404 if "error_code" in answer else 200, answer)

            def _send(self, status, answer):
                text = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:  # who asked has gone
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.uri = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self):
        self.dead = True
        self._server.shutdown()
        self._server.server_close()

    def again(self):
        """Return a server at the same address that holds the same."""
        other = FakeMlflow(self.port)
        other.experiments, other.runs, other.files = self.experiments, self.runs, self.files
        other._ids = self._ids
        return other

    def active(self):
        return [run for run in self.runs.values() if run["info"]["lifecycle_stage"] == "active"]

    def points(self, run):
        """Return all values of a run, sorted."""
        return sorted((name, *point) for name, points in run["metrics"].items() for point in points)

    def _shown(self, run):
        latest = {name: max(points, key=lambda point: (point[2], point[0])) for name, points in run["metrics"].items()}
        metrics = [{"key": k, "timestamp": t, "value": v, "step": s} for k, (t, v, s) in latest.items()]
        pairs = {kind: [{"key": k, "value": v} for k, v in run[kind].items()] for kind in ("params", "tags")}
        return {"info": run["info"], "data": {"metrics": metrics, **pairs}}

    def _experiments_get_by_name(self, body):
        for experiment in self.experiments.values():
            if experiment["name"] == body["experiment_name"]:
                return {"experiment": experiment}
        return {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}

    def _experiments_create(self, body):
        number = str(next(self._ids))
        self.experiments[number] = {
            "experiment_id": number,
            "name": body["name"],
            "lifecycle_stage": "active",
            "artifact_location": "mlflow-artifacts:/x",
        }
        return {"experiment_id": number}

    def _runs_search(self, body):
        key, value = re.fullmatch(r"tags\.`(.*)` = '(.*)'", body["filter"]).groups()
        found = [run for run in self.runs.values() if run["tags"].get(key) == value]
        return {"runs": [self._shown(run) for run in found]}

    def _runs_create(self, body):
        number = uuid.uuid4().hex  # MLflow's client remembers them for as long as its process lives
        info = {
            "run_id": number,
            "run_uuid": number,
            "run_name": body["run_name"],
            "experiment_id": body["experiment_id"],
            "user_id": "",
            "status": "RUNNING",
            "start_time": body["start_time"],
            "artifact_uri": f"mlflow-artifacts:/x/{number}/artifacts",
            "lifecycle_stage": "active",
        }
        tags = {tag["key"]: tag["value"] for tag in body.get("tags", [])}
        self.runs[number] = {"info": info, "params": {}, "tags": tags, "metrics": {}}
        return {"run": self._shown(self.runs[number])}

    def _runs_get(self, body):
        return {"run": self._shown(self.runs[body["run_id"]])}

    def _runs_log_batch(self, body):
        run = self.runs[body["run_id"]]
        assert len(body.get("metrics", [])) <= 1000
        assert len(body.get("params", [])) <= 100
        assert len(body.get("tags", [])) <= 100
        for one in body.get("metrics", []):
            run["metrics"].setdefault(one["key"], []).append((int(one["timestamp"]), one["value"], int(one["step"])))
        for one in body.get("params", []):
            assert run["params"].setdefault(one["key"], one["value"]) == one["value"], "a parameter was changed"
            assert len(one["value"]) <= 6000
        run["tags"].update({one["key"]: one["value"] for one in body.get("tags", [])})
        return {}

    def _runs_set_tag(self, body):
        self.runs[body["run_id"]]["tags"][body["key"]] = body["value"]
        return {}

    def _runs_update(self, body):
        self.runs[body["run_id"]]["info"].update(status=body["status"], end_time=body.get("end_time"))
        return {"run_info": self.runs[body["run_id"]]["info"]}

    def _runs_delete(self, body):
        self.runs[body["run_id"]]["info"]["lifecycle_stage"] = "deleted"
        return {}

    def _metrics_get_history(self, body):
        points = self.runs[body["run_id"]]["metrics"].get(body["metric_key"], [])
        return {"metrics": [{"key": body["metric_key"], "timestamp": t, "value": v, "step": s} for t, v, s in points]}
