"""A headless Chromium for tests, driven through a pipe: what a page asks for, complains of, and looks like."""

import base64
import contextlib
import fcntl
import functools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LOCK = Path(tempfile.gettempdir()) / "pilotage-tests-chromium.lock"
INSTALLATION = (
    ["apt-get", "update"],
    ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


def program():
    """Return the browser's path; root installs it from Debian's packages. Skips the test where there is none."""
    path, reason = _program()
    if path is None:
        pytest.skip(f"there is no Chromium: {reason}")
    return path


@functools.cache
def _program():
    """Return the browser's path, or None and the reason."""
    if path := _found():
        return path, ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None, "on Debian, apt install chromium fonts-dejavu-core"
    with LOCK.open("w") as lock:  # one process of the session installs it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _found() is None:
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for argv in INSTALLATION:
                done = subprocess.run(argv, env=env, capture_output=True, text=True)
                if done.returncode:
                    words = done.stderr.strip().splitlines()
                    return None, f"{' '.join(argv[:2])} failed: {words[-1] if words else done.returncode}"
    return _found(), "apt-get has not brought it"


def _found():
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Page:
    """One page; ``requests`` are the addresses that it asked for, ``complaints`` what its console says went wrong."""

    def __init__(self, browser, session):
        self.browser = browser
        self.session = session
        self.requests = []
        self.complaints = []

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def open(self, url, limit=30):
        self.call("Page.enable")
        self.call("Network.enable")
        self.call("Log.enable")
        self.call("Runtime.enable")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'", limit)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, limit=30):
        """Wait until an expression is true."""
        end = time.monotonic() + limit
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}; the page says: {self.text()[:500]}"
            time.sleep(0.1)

    def text(self):
        return self.evaluate("document.body.innerText")

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme, media=""):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path):
        """Write what the window shows; see `resize`."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(str([one.get("value") for one in params["args"]]))


class Browser:
    """A Chromium with a home of its own; `close` leaves nothing of it."""

    LIMIT = 60

    def __init__(self, home):
        chromium = program()  # before anything is open: it may skip the test
        self._number = 0
        self._pages = {}
        self._answers = {}
        self._rest = b""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads descriptor 3 and writes to 4; a plain sh may know no number above 9.
        argv = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', chromium, *FLAGS]
        self._process = subprocess.Popen(
            [*argv, f"--user-data-dir={home}"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def page(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._pages[session] = Page(self, session)
        return self._pages[session]

    def call(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.LIMIT
        while self._number not in self._answers:
            self._read(end - time.monotonic())
        answer = self._answers.pop(self._number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _read(self, limit):
        ready, _, _ = select.select([self._in], [], [], max(0, limit))
        assert ready, "the browser does not answer"
        piece = os.read(self._in, 1 << 20)
        assert piece, "the browser has ended"
        *lines, self._rest = (self._rest + piece).split(b"\0")
        for line in lines:
            message = json.loads(line)
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]]._note(message["method"], message["params"])

    def close(self):
        processes = [self._process.pid]
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        _, left = psutil.wait_procs([one for one in processes if isinstance(one, psutil.Process)], timeout=10)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
