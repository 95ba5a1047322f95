"""flux run of the fake Flux: tasks of a job, inside the instance that ``flux batch`` has made.

What it prints no recording tells; a task's environment and the labels are as the manual pages have them.
"""

import getopt
import os
import signal
import subprocess
import threading

NAMES = ["nodes=", "ntasks=", "exclusive", "label-io", "setopt="]


def run(arguments):
    """Run the tasks; return the highest exit code."""
    chosen, command = getopt.getopt(arguments, "N:n:o:x", NAMES)
    known = dict(chosen)
    nodes = int(known.get("--nodes", known.get("-N", 1)))
    tasks = int(known.get("--ntasks", known.get("-n", nodes)))
    if nodes > int(os.environ["FLUX_JOB_NNODES"]):
        return 1, "", f"flux-run: ERROR: need {nodes} nodes\n"
    label = "--label-io" in known
    processes = [_start(command, rank, tasks, label) for rank in range(tasks)]

    def pass_on(number, frame):
        for process, _ in processes:
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    codes = [process.wait() for process, _ in processes]
    for _, readers in processes:
        for reader in readers:
            reader.join(5)
    return max(code if code >= 0 else 128 - code for code in codes), "", ""


def _start(command, rank, tasks, label):
    environment = {**os.environ, "FLUX_TASK_RANK": str(rank), "FLUX_TASK_LOCAL_ID": "0", "FLUX_JOB_SIZE": str(tasks)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    readers = []
    for source, target in ((process.stdout, 1), (process.stderr, 2)):
        prefix = f"{rank}: ".encode() if label else b""
        thread = threading.Thread(target=_copy, args=(source, target, prefix), daemon=True)
        thread.start()
        readers.append(thread)
    return process, readers


def _copy(source, target, prefix):
    for line in source:
        os.write(target, prefix + line)
