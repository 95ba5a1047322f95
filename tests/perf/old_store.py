"""Makes an MLflow store in its old file form, such as the published histories of parsl-perf have: no MLflow is needed.

Git keeps no empty folders, runs have come from several versions of a script, and some are no measurements at all.
"""

import zlib

META = """\
artifact_uri: mlflow-artifacts:/{experiment}/{run}/artifacts
end_time: {end}
entry_point_name: ''
experiment_id: '{experiment}'
lifecycle_stage: {stage}
run_id: {run}
run_name: {name}
source_name: ''
source_type: 4
source_version: ''
start_time: {start}
status: {status}
tags: []
user_id: someone
"""
EXPERIMENT = """\
artifact_location: mlflow-artifacts:/{experiment}
creation_time: 1751328000000
experiment_id: '{experiment}'
last_update_time: 1751328000000
lifecycle_stage: active
name: {name}
"""
NUMBER = "731904455120087316"
PARAMS = {
    "cores_per_worker": "1",
    "nodes_per_block": "1",
    "cores_per_node": "16",
    "min_blocks": "1",
    "max_blocks": "2",
    "max_nodes": "2",
    "max_cores": "32",
}


def metrics(tps, iterations=3):
    """What the published script keeps: the last iteration alone, as step 0."""
    return {
        "num_iterations": [(iterations, 0)],
        "num_tasks": [(tps * 120 // 1, 0)],
        "submission_s": [(61.25, 0)],
        "submission_tps": [(tps * 1.9375, 0)],
        "runtime_s": [(120.328125, 0)],
        "runtime_tps": [(tps, 0)],
    }


def tags(provider="LocalProvider", **more):
    return {
        "Parsl version": "2025.8.4",
        "Parsl Executor": "HighThroughputExecutor",
        "Parsl Provider": provider,
        "mlflow.source.name": "/home/someone/run-parsl-perf.py",
        "mlflow.source.git.commit": "5d0c7b0a4e6f9e8d7c6b5a493827161504f3e2d1",
        "mlflow.user": "someone",
        **more,
    }


EACH_STEP = {
    "num_tasks": [(10, 0), (2400, 1), (30000, 2)],
    "runtime_s": [(0.03, 0), (2.7, 1), (33.1, 2)],
    "runtime_tps": [(310.5, 0), (880, 1), (905.25, 2)],
}
NO_STEPS = {"num_tasks": [(10, 0), (2500, 0)], "runtime_tps": [(300.5, 0), (890.25, 0)]}
BROKEN_OFF = {"num_iterations": [(2, 0)], "num_tasks": [(512, 0)], "submission_s": [(0.5, 0)]}
ODD = {**metrics(950.5), "folder/inner": [(1.5, 0)], "nan": [("nan", 0), ("inf", 1)]}
ODD_PARAMS = {"path/of": "007", "long": "x" * 3000, "text": "été", "number": "2.5", "flag": "True"}
DELETED = "deleted\ndeleted_time: 1756000000000"
RUNS = [
    # name as meta.yaml has it, what it holds, and why it does not count
    ("box-8cpu", {"metrics": metrics(842.5), "params": PARAMS}, None),
    ("box-8cpu", {"metrics": metrics(861.0), "params": PARAMS}, None),
    ("batch-two-nodes", {"metrics": metrics(1012.75), "tags": tags("SlurmProvider"), "params": PARAMS}, None),
    ("pods", {"metrics": metrics(163.4), "tags": tags("KubernetesProvider")}, None),
    ("each step", {"metrics": EACH_STEP, "params": PARAMS}, None),
    ("no steps given", {"metrics": NO_STEPS}, None),
    ("'odd: name, \"quoted\"'", {"metrics": ODD, "tags": tags(note="two\nlines"), "params": ODD_PARAMS}, None),
    ("my-run-name-4", {"metrics": {"accuracy": [(0.5, 0), (0.75, 1)]}, "tags": {}}, "placeholder"),
    ("placeholder", {"metrics": metrics(900.0)}, "placeholder"),
    ("box-0", {"metrics": {"num_tasks": [(0, 0)], "runtime_tps": [(0.0, 0)]}}, "placeholder"),
    ("bold-otter-512", {"metrics": {}}, "placeholder"),
    ("box-8cpu", {"metrics": BROKEN_OFF}, "unfinished"),
    ("box-8cpu", {"metrics": metrics(700.0), "status": 4}, "failed"),
    ("box-8cpu", {"metrics": metrics(701.0), "status": 1, "end": "null"}, "unfinished"),
    ("box-8cpu", {"metrics": metrics(702.0), "status": 5}, "killed"),
    ("box-8cpu", {"metrics": metrics(703.0), "stage": DELETED}, "deleted"),
]


def make(root, runs=RUNS, experiment="parsl-perf-exp-01"):
    """Write a store.

    Returns what it holds, by run: name, why it does not count, params, tags, metrics as [(timestamp, value, step)].
    """
    base = root / NUMBER
    base.mkdir(parents=True)
    (base / "meta.yaml").write_text(EXPERIMENT.format(experiment=NUMBER, name=experiment))
    held = {}
    for place, (name, what, why) in enumerate(runs):
        start = 1752000000000 + place * 86_400_000
        run = f"{zlib.crc32(f'{name}{place}'.encode()):08x}" * 4
        values = {"tags": tags(), "params": {}, "stage": "active", "status": 3, "end": start + 1400, **what}
        meta = {key: values[key] for key in ("stage", "status", "end")}
        folder = base / run
        _write(folder / "meta.yaml", META.format(experiment=NUMBER, run=run, name=name, start=start, **meta))
        points = {}
        for metric, pairs in values["metrics"].items():
            points[metric] = [(start + 1000 + 10 * i, float(value), step) for i, (value, step) in enumerate(pairs)]
            _write(folder / "metrics" / metric, "".join(f"{t} {v} {s}\n" for t, v, s in points[metric]))
        for kind in ("params", "tags"):
            for key, value in values[kind].items():
                _write(folder / kind / key, value)
        held[run] = {
            "name": name.strip("'"),
            "why": why,
            "metrics": points,
            "params": values["params"],
            "tags": values["tags"],
        }
    return held


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
