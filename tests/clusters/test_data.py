"""Files and folders of tasks on nodes that see nothing of the laptop's, and the laptop nothing of their store."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusters.cluster_run import wait_for
from pilotage.clusters.surroundings import address

pytestmark = pytest.mark.slow

SITE = """
[site.lab]
scheduler = "slurm"
login = "{login}"
python = "{python}"
run_folder = "/home/cluster/runs"
nodes_per_block = 2
max_workers_per_node = 1
walltime = "00:10:00"
exclusive = false

[site.lab.staging.s3]
endpoint_url = "{endpoint}"
copied_by = "{by}"
"""
SCRIPT = """
import json, os, sys
import parsl, pilotage
from pilotage import Directory, File

@parsl.python_app
def both(number, inputs=(), outputs=()):
    import os, shutil
    mine, stored = map(str, inputs)
    home, store = map(str, outputs)
    seen = sorted(os.path.relpath(os.path.join(at, name), mine) for at, below, files in os.walk(mine)
                  for name in [*below, *files])
    for source, target in ((mine, store), (stored, home)):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return os.uname().nodename, seen, len(os.listdir(stored))

@parsl.python_app
def summed(inputs=(), outputs=()):
    import hashlib
    with open(outputs[0], "w") as file:
        file.write(hashlib.md5(open(inputs[0], "rb").read()).hexdigest())

found = []
with parsl.load():
    for number in range(6):
        found.append(both(
            number, inputs=[Directory("driver:inputs"), Directory("s3://data/in")],
            outputs=[Directory(f"driver:home/{number}"), Directory(f"s3://data/out/{number}")],
        ))
    large = [summed(inputs=[File("driver:large #1")], outputs=[File(f"driver:sums/{number}")]) for number in range(4)]
    results = [one.result() for one in found]
    [one.result() for one in large]
print(json.dumps(results))
"""
MOTO = "import sys; from moto.server import main; main(sys.argv[1:])"
CREDENTIALS = "[default]\naws_access_key_id = AKIDTESTS\naws_secret_access_key = very-secret\nregion = us-east-1\n"
FILES = {
    "plain.txt": b"plain\n",
    "empty": b"",
    "a b/with 'quotes' and \"more\"": b"quoted\n",
    "a b/#hash %20 ?q": b"hash\n",
    "a b/.hidden": b"hidden\n",
    "\u00fcml\u00e4ut": "gr\u00fc\u00df\n".encode(),
    "binary": bytes(range(256)) * 4000,
}


@contextmanager
def server(laptop, host, bind):
    """Run a real S3 server on a host."""
    log = laptop.outside(f"{laptop.home}/moto.log")
    with open(log, "wb") as out:
        words = laptop.argv(sys.executable, "-c", MOTO, "-H", bind, "-p", "5000", host=host)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=laptop.command.env())
    try:
        wait_for(lambda: b"Running on" in log.read_bytes(), "the S3 server is up", 90)
        yield f"http://{bind}:5000"
    finally:
        for pid, line in laptop.running().items():
            if MOTO in line:
                os.kill(pid, 9)
        process.wait()


CLIENT = """
import json, sys
from botocore.session import Session
client = Session().create_client("s3", endpoint_url=sys.argv[1])
if sys.argv[2] == "fill":
    client.create_bucket(Bucket="data")
    for name, text in json.loads(sys.stdin.read()).items():
        client.put_object(Bucket="data", Key=f"in/{name}", Body=bytes.fromhex(text))
else:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="data")
    keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
    print(json.dumps({key: client.get_object(Bucket="data", Key=key)["Body"].read().hex() for key in keys}))
"""


def content(folder):
    """Return the files of a folder, links as what they point to."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            key = os.path.relpath(path, folder)
            found[key] = f"-> {os.readlink(path)}" if os.path.islink(path) else Path(path).read_bytes()
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("host", "by"), [("head", "worker"), ("laptop", "driver")])
@pytest.mark.parametrize("login", ["head", "head-gateway"])
def test_inputs_and_outputs_are_here_and_in_a_bucket(laptop, host, by, login):
    where = "127.0.0.1" if host == "laptop" else address(0)
    home = laptop.home if host == "laptop" else "/home/cluster"
    for name, data in FILES.items():
        path = laptop.outside(f"{laptop.home}/inputs/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    inputs = laptop.outside(f"{laptop.home}/inputs")
    (inputs / "nothing/here").mkdir(parents=True)
    (inputs / "link").symlink_to("a b/.hidden")
    (inputs / "plain.txt").chmod(0o755)
    laptop.outside(f"{laptop.home}/large #1").write_bytes(os.urandom(1 << 20) * 40)
    laptop.place("script.py", SCRIPT)
    laptop.place("client.py", CLIENT)
    (laptop.far() / "client.py").write_text(CLIENT)
    credentials = (laptop.outside(home) if host == "laptop" else laptop.far()) / ".aws"
    credentials.mkdir()
    (credentials / "credentials").write_text(CREDENTIALS)
    assert laptop.run("test", "-e", f"{laptop.home}/inputs", host="node1").returncode != 0  # they see nothing of it
    with server(laptop, host, where) as endpoint:
        site = SITE.format(login=login, python=sys.executable, endpoint=endpoint, by=by)
        laptop.place(".config/pilotage/pilotage.toml", site)
        texts = json.dumps({name: data.hex() for name, data in FILES.items()})
        client = [sys.executable, f"{home}/client.py", endpoint]
        filled = laptop.run(*client, "fill", host=host, input=texts)
        assert filled.returncode == 0, filled.stderr
        done = laptop.pilotage("run", "--site", "lab", "script.py", timeout=400)
        assert done.returncode == 0, done.stderr
        listed = laptop.run(*client, "list", host=host, timeout=120)
        assert listed.returncode == 0, listed.stderr
        bucket = {name: bytes.fromhex(data) for name, data in json.loads(listed.stdout).items()}
    results = json.loads(done.stdout)
    assert {one[0] for one in results} == {"node1", "node2"}
    assert all("nothing/here" in one[1] and one[2] == len({name.split("/")[0] for name in FILES}) for one in results)
    for number in range(6):
        assert content(laptop.outside(f"{laptop.home}/home/{number}")) == FILES
        out = {
            name.removeprefix(f"out/{number}/"): data
            for name, data in bucket.items()
            if name.startswith(f"out/{number}/")
        }
        expected = {**FILES, "link": FILES["a b/.hidden"], "nothing/here/": b""}
        assert {name: data for name, data in out.items() if name != ""} == expected
    sums = [laptop.outside(f"{laptop.home}/sums/{number}").read_text() for number in range(4)]
    assert len(set(sums)) == 1
    moved = laptop.pilotage("show", "@last", "--json").stdout
    rows = json.loads(moved)["moves"]
    large = sum(row["bytes"] for row in rows if row["direction"] == "in" and row["place"] == "driver")
    assert large < 2.5 * (40 << 20), rows  # once a node, not once a task
    nothing_is_left(laptop)
    for path in (credentials / "credentials", laptop.far() / "client.py"):
        path.unlink()
    credentials.rmdir()


def nothing_is_left(laptop):
    end = time.monotonic() + 30
    while found := left(laptop):
        assert time.monotonic() < end, found
        time.sleep(0.5)


def left(laptop):
    """Return what is left of data on any host: parts of files, and folders of tasks; /tmp is a host's own."""
    found = []
    for host in ("node1", "node2", "head"):
        found += laptop.run("sh", "-c", "ls -d /tmp/pilotage-* 2>/dev/null", host=host).stdout.split()
    found += [str(path) for path in laptop.outside(laptop.home).rglob("*.part")]
    runs = laptop.run("ls", "-A", "/home/cluster/runs", host="head").stdout.split()
    return found + [name for name in runs if name != "code"]
