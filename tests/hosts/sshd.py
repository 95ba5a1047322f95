"""A real sshd on a loopback port, with keys of its own; as root in mounts of its own: it wants a user and a folder."""

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

from pilotage.clusters import packages
from pilotage.errors import PilotageError

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
{more}
"""
CLIENT = """
Host far
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""
SECOND = """
UsePAM yes
KbdInteractiveAuthentication yes
PermitRootLogin yes
AuthenticationMethods publickey,keyboard-interactive
"""
PAM = """
auth required pam_unix.so
account required pam_permit.so
session required pam_permit.so
"""
MOUNTS = "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && mount --bind {folder}/passwd /etc/passwd && exec "


class Sshd:
    """One sshd; ``folder`` is where its keys and settings are. With a ``code``, it asks for that after the key."""

    def __init__(self, folder, more="", code=None):
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o700)
        self.root = packages.fetch(["openssh-server"]) if not Path("/usr/sbin/sshd").exists() else Path("/")
        for name in ("host_key", "user_key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(keygen, check=True, capture_output=True)
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        self.port = free_port()
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        known = {"port": self.port, "folder": self.folder, "user": getpass.getuser(), "more": more}
        first = "" if code is None else SECOND  # of two settings the first holds
        (self.folder / "sshd_config").write_text(first + SERVER.format(**known))
        (self.folder / "ssh_config").write_text(CLIENT.format(**known))
        accounts = Path("/etc/passwd").read_text()
        if "\nsshd:" not in accounts:
            accounts += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
        (self.folder / "passwd").write_text(accounts)
        self.mounts = MOUNTS
        if code is not None:
            self._ask_for(code)
        self.options = ("-F", str(self.folder / "ssh_config"))
        self.process = None

    def _ask_for(self, code):
        (self.folder / "pam.d").mkdir()
        (self.folder / "pam.d" / "sshd").write_text(PAM)
        made = subprocess.run(["openssl", "passwd", "-6", code], check=True, capture_output=True, text=True)
        (self.folder / "shadow").write_text(f"{getpass.getuser()}:{made.stdout.strip()}:19000:0:99999:7:::\n")
        mounts = ["mount --bind {folder}/pam.d /etc/pam.d", "mount --bind {folder}/shadow /etc/shadow"]
        self.mounts = " && ".join([*mounts, MOUNTS])

    def start(self):
        """Start it, and wait until it answers."""
        command = [str(self.root / "usr/sbin/sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if os.getuid() == 0:
            script = self.mounts.format(folder=shlex.quote(str(self.folder))) + shlex.join(command)
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        libraries = self.root / f"usr/lib/{os.uname().machine}-linux-gnu"
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as tried:
                if tried.recv(4) == b"SSH-":
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def program(self, folder):
        """Write a program ``ssh`` that knows this server as ``far``, into a new folder; return the PATH with it first.

        The user's own settings are in the home folder of the password file, wherever HOME is.
        """
        folder.mkdir()
        script = f'#!/bin/sh\nexec {shutil.which("ssh")} {shlex.join(self.options)} "$@"\n'
        (folder / "ssh").write_text(script)
        (folder / "ssh").chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def lock(self, passphrase):
        """Give the user's key a passphrase."""
        change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(self.folder / "user_key")]
        subprocess.run(change, check=True, capture_output=True)

    def stop(self):
        """End it; what goes on over it goes on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def reason():
    """Return why there can be no sshd here, None where there can."""
    if Path("/usr/sbin/sshd").exists():
        return None
    try:
        packages.fetch(["openssh-server"])
    except PilotageError as error:
        return str(error)
    return None
