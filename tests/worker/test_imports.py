"""What runs on compute nodes needs Parsl and cloudpickle, and nothing else of ours."""

import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).parents[2] / "src" / "pilotage" / "worker"
BARE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {refused!r} or (top == "pilotage" and name.count(".") and not name.startswith("pilotage.worker")):
            raise ImportError(f"{{name}} is not there on a worker")

sys.meta_path.insert(0, Refuse())
for name in {modules!r}:
    importlib.import_module(name)
print("imported", len({modules!r}))
"""


def test_a_bare_environment_is_enough():
    modules = [f"pilotage.worker.{path.stem}" for path in sorted(WORKER.glob("*.py")) if path.stem != "__init__"]
    refused = ["click", "rich", "pydantic", "tomlkit", "jinja2", "fsspec", "matplotlib", "kubernetes", "numpy"]
    program = BARE.format(refused=refused, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"imported {len(modules)}\n", done.stderr
    control = subprocess.run(
        [sys.executable, "-c", program + "import pilotage.sites.models\n"], capture_output=True, text=True
    )
    assert "is not there on a worker" in control.stderr
