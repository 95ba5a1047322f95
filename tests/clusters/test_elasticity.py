"""Blocks come with the work and go with it, as the scheduler sees them."""

import subprocess
import time

from program import PROGRAM

SCRIPT = """
import sys, time
from pathlib import Path
import parsl
from parsl import python_app

@python_app
def work(number):
    import time
    time.sleep(1)
    return number

with parsl.load():
    print(sum(future.result() for future in [work(number) for number in range(40)]), flush=True)
    end = time.monotonic() + 60
    while not Path(sys.argv[1]).exists() and time.monotonic() < end:
        time.sleep(0.1)
"""


def test_from_none_to_three_blocks_and_back_to_none(slurm, pilotage, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = ["init_blocks=0", "min_blocks=0", "max_blocks=3", "config.max_idletime=2"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    argv = [PROGRAM, "run", "--site", "slurm-lab", *chosen, "script.py", "--", tmp_path / "go"]
    process = subprocess.Popen(
        slurm.host("head").command(list(map(str, argv)), str(tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=pilotage.env(),
    )
    seen = []
    end = time.monotonic() + 60
    while time.monotonic() < end and not (seen and max(seen) == 3 and seen[-1] == 0):
        seen.append(slurm.host("head").run(["squeue", "--noheader", "--states=R"]).count("\n"))
        time.sleep(0.2)
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.split()) == (0, ["780"]), err
    assert seen[0] == 0
    assert max(seen) == 3
    assert seen[-1] == 0, "idle blocks are given back while the script goes on"
