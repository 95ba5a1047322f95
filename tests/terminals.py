"""A program on a real pseudo-terminal, typed into and read as a person would."""

import contextlib
import os
import pty
import select
import subprocess
import termios
import time


class Terminal:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, argv, env):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 100))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""

        def take():
            os.setsid()
            import fcntl

            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(argv, env=env, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take)

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, text, timeout=30):
        end = time.monotonic() + timeout
        while text.encode() not in self.seen:
            assert time.monotonic() < end, f"{text!r} never came: {self.seen!r}"
            self._read(0.1)
        return self.seen.decode(errors="replace")

    def _read(self, timeout):
        if select.select([self.master], [], [], timeout)[0]:
            with contextlib.suppress(OSError):
                self.seen += os.read(self.master, 65536)

    def finish(self, timeout=30):
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f"still running: {self.seen!r}"
            self._read(0.1)
        while select.select([self.master], [], [], 0.1)[0]:
            before = self.seen
            self._read(0)
            if self.seen == before:
                break
        return self.process.returncode

    def text(self):
        return self.seen.decode(errors="replace")
