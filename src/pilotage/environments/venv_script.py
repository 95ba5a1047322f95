"""The script that makes a virtual environment on a host, from what has been taken along."""

from __future__ import annotations

import shlex

from pilotage.environments.interpreter import Interpreter

UV, PIP, TREE, REQUIREMENTS = "uv", "pip.zip", "python.tar.gz", "requirements.txt"
"""Names of what goes along beside the wheels."""
BEGIN = r"""set -eu
umask 077
for name in $(env | sed -nE 's/^(PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX%s)=.*/\1/p'); do unset "$name"; done
export TMPDIR="$1/.new" UV_CACHE_DIR="$1/.new/cache" UV_CONCURRENT_INSTALLS=4 UV_NO_PROGRESS=1 NO_COLOR=1
export UV_PYTHON_DOWNLOADS=never PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -- "$1/.new"
# All that a tool has said is in one line at the end, and no password of an index is.
attempt() {
  what=$1; shift
  said=$("$@" 2>&1) && return
  said=$(printf '%%s\n' "$said" | sed 's#://[^/@ ]*@#://***@#g')
  printf '%%s\n' "$said"
  printf '%%s: %%s\n' "$what" "$(printf '%%s\n' "$said" | tail -n 12 | tr -s '\n\t ' ' ')"
  exit 1
}
"""
OWN = "|UV_[A-Z_]*|PIP_[A-Z_]*"
"""More variables that are taken away: what a person there has told uv and pip is not for what goes along."""
UNPACK = """\
mkdir -- "$1/python"
attempt "the driver's Python cannot be unpacked" tar -xzof "$2/{tree}" -C "$1/python"
python=$1/python/bin/python{version}
"""
CHECK = """\
attempt "no Python {version}: $python" "$python" -I -c '
import sys, ssl, zlib, ctypes
have = "%d.%d" % sys.version_info[:2]
have == "{version}" or sys.exit("it is Python " + have)'
"""
COMPILE = """\
attempt "Python's own modules cannot be compiled" "$python" -m compileall -q "$1/python/lib/python{version}"
"""
WITH_UV = """\
attempt "uv cannot make it" "$uv" venv --quiet --allow-existing --python "$python" "$1"
"""
WITH_PIP = """\
attempt "venv cannot make it" "$python" -m venv {options}"$1"
"""
UV_INSTALL = 'attempt "uv cannot install" "$uv" pip install --quiet --python "$1/bin/python"'
PIP_INSTALL = 'attempt "pip cannot install" "$1/bin/python" {pip} install --quiet --no-cache-dir'
UV_WHEELS = " --offline --no-index --no-deps --link-mode copy --compile-bytecode"
PIP_WHEELS = " --no-index --no-deps --compile"


def build(source: Interpreter, tool: str, *, carried: bool, named: bool) -> str:
    """Return the script.

    Parameters
    ----------
    source: the Python that it is made from.
    tool: what installs: `UV` or `PIP` for those that go along, the path of the host's uv, or nothing for the pip that
        comes with its Python.
    carried: whether there are wheels.
    named: whether there is a list of requirements, which it gets by its own configuration.
    """
    lines = [BEGIN % ("" if named else OWN)]
    if not named:
        lines.append("export UV_NO_CONFIG=1 PIP_CONFIG_FILE=/dev/null\n")
    if source.archive is not None:
        lines.append(UNPACK.format(tree=TREE, version=source.version))
    else:
        lines.append(f"python={shlex.quote(source.path)}\n")
    lines.append(CHECK.format(version=source.version))
    if source.archive is not None:
        lines.append(COMPILE.format(version=source.version))
    lines += _with_pip(tool, carried, named) if tool in (PIP, "") else _with_uv(tool, carried, named)
    lines.append('rm -rf -- "$1/.new"\n')
    return "".join(lines)


def _with_uv(tool: str, carried: bool, named: bool) -> list[str]:
    lines = ['uv=$2/uv; chmod 500 "$uv"\n'] if tool == UV else [f"uv={shlex.quote(tool)}\n"]
    lines.append(WITH_UV)
    if named:
        lines.append(f'{UV_INSTALL} --no-deps --link-mode copy --compile-bytecode -r "$2/{REQUIREMENTS}"\n')
    if carried:
        lines.append(f'{UV_INSTALL}{UV_WHEELS} "$2"/*.whl\n')
    return lines


def _with_pip(tool: str, carried: bool, named: bool) -> list[str]:
    lines = [WITH_PIP.format(options="--without-pip " if tool == PIP else "")]
    install = PIP_INSTALL.format(pip=f'"$2/{PIP}/pip"' if tool == PIP else "-m pip")
    if named:
        lines.append(f'{install} --no-deps --compile -r "$2/{REQUIREMENTS}"\n')
    if carried:
        lines.append(f'{install}{PIP_WHEELS} "$2"/*.whl\n')
    return lines
