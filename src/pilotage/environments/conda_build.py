"""The script by which a conda environment is made on its host, from archives that are there or by channels' URLs.

Everything that conda, mamba, micromamba or py-rattler would keep elsewhere is in a folder of the environment while it
is built: package caches, lists of environments, root prefixes. Rendering is pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from pilotage.environments.conda_solve import Package

STARTER = "pilotage-python"
"""In ``bin``: starts Python in the environment as it is once activated."""
WHERE = """\
set -eu; umask 077
prefix=$1 files=$2
work=$prefix/.building; mkdir -- "$work"
trap 'rm -rf -- "$work"' EXIT; trap 'exit 143' HUP INT TERM
for name in $(env | sed -n 's/^\\(PYTHON[A-Z]*\\|VIRTUAL_ENV\\|CONDA_PREFIX\\)=.*/\\1/p'); do unset "$name"; done
export TMPDIR="$work"
# The last line of what fails is what is told, without anybody's password.
attempt() {
  what=$1; shift
  said=$("$@" 2>&1) && return
  said=$(printf '%s\\n' "$said" | sed 's#://[^/@ ]*@#://***@#g; s#/t/[^/ ]*/#/t/***/#g')
  printf '%s\\n' "$said"
  printf '%s: %s\\n' "$what" "$(printf '%s\\n' "$said" | tail -n 12 | tr -s '\\n\\t ' ' ')"
  exit 1
}
"""
CARRIED = """\
echo @EXPLICIT > "$work/explicit.txt"; mkdir -p "$work/channel/noarch" "$work/channel/{platform}"
while read -r subdir name; do
  as=$work/channel/$subdir/$name; ln -- "$files/$name" "$as" 2>/dev/null || ln -s -- "$files/$name" "$as"
  printf '%s\\n' "file://$as" | sed 's/%/%25/g; s/ /%20/g' >> "$work/explicit.txt"
done <<'END'
{lines}
END
"""
FETCHED = """\
cat > "$work/explicit.txt" <<'END'
@EXPLICIT
{lines}
END
"""
CONDA = """\
mkdir -- "$prefix/conda-meta"; : > "$prefix/conda-meta/history"
export CONDA_PKGS_DIRS="$work/packages" CONDA_REGISTER_ENVS=false MAMBA_REGISTER_ENVS=false
attempt "{name} cannot install the packages" \\
  {tool} install --yes --quiet{options} --prefix "$prefix" --file "$work/explicit.txt"
"""
RATTLER = """\
for python in {pythons}; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < {oldest})' 2>/dev/null; then break; fi
  python=
done
if [ -z "$python" ]; then echo "there is no Python {dotted} or newer here, which py-rattler needs" >&2; exit 1; fi
attempt "py-rattler cannot be unpacked" \\
  "$python" -I -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' \\
  "$files"/{wheel} "$work/rattler"
attempt "py-rattler cannot install the packages" \\
  "$python" -I "$files/link_packages.py" "$work/rattler" "$prefix" "$work" "$work/explicit.txt"
"""
PYTHONS = (  # whatever may run py-rattler there
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "/usr/bin/python3",
    "/usr/libexec/platform-python",
)
WHEELS = """\
while read -r name; do set -- "$@" "$files/$name"; done <<'END'
{lines}
END
shift 2
attempt "wheels cannot be installed" "$prefix/bin/python" -I "$files/unpack_wheels.py" "$@"
"""
START = """\
shell=/bin/sh
for script in "$prefix"/etc/conda/activate.d/*.sh; do
  if [ -e "$script" ]; then shell=$(command -v bash || echo /bin/sh); fi
done
{ printf '#!%s\\n' "$shell"; cat -- "$files/start"; } > "$prefix/bin/{starter}"
chmod 700 "$prefix/bin/{starter}"
"$prefix/bin/python" -I -m compileall -q -j 2 "$prefix/lib/python"*/site-packages >/dev/null 2>&1 || :
"""
ACTIVATE = """\
# This environment's Python, in what `conda activate` would set.
prefix=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
export CONDA_PREFIX="$prefix" CONDA_DEFAULT_ENV="$prefix" CONDA_SHLVL=1 PATH="$prefix/bin:$PATH"
"""
ACTIVATE_REST = """\
activate() {
  for script in "$prefix"/etc/conda/activate.d/*.sh; do if [ -r "$script" ]; then . "$script" >&2; fi; done
}
activate
exec "$prefix/bin/python" "$@"
"""


def script(
    packages: Sequence[Package],
    *,
    platform: str,
    tool: str,
    carried: bool,
    wheels: Sequence[str] = (),
    rattler: str = "",
    oldest: tuple[int, int] = (3, 10),
) -> str:
    """Return the build script; its arguments are the environment's folder and that of the files.

    Parameters
    ----------
    platform: conda's name of the host's.
    tool: path there of conda, mamba or micromamba; nothing where py-rattler is taken along.
    carried: whether the archives are among the files, by their names; else they are fetched there.
    wheels: names of files that are installed after the packages, in this order.
    rattler: name of the file with py-rattler's wheel.
    oldest: the oldest Python that py-rattler runs in.
    """
    parts = [WHERE]
    if carried:
        lines = [f"{package.subdir} {package.file_name}" for package in packages]
        parts.append(CARRIED.format(platform=platform, lines="\n".join(lines)))
    else:
        lines = [f"{package.url}{_digest(package, rattler=bool(rattler))}" for package in packages]
        parts.append(FETCHED.format(lines="\n".join(lines)))
    if rattler:
        parts.append(
            RATTLER.format(
                pythons=" ".join(PYTHONS),
                oldest=oldest,
                dotted="{}.{}".format(*oldest),
                wheel=shlex.quote(rattler),
            )
        )
    else:
        name = tool.rpartition("/")[2]
        parts.append(CONDA.format(tool=shlex.quote(tool), name=name, options=_options(name, carried=carried)))
    if wheels:
        parts.append(WHEELS.format(lines="\n".join(wheels)))
    return "".join([*parts, START.replace("{starter}", STARTER)])


def start(variables: Mapping[str, str]) -> str:
    """Return how the environment's Python is started, but for the first line: with its variables and activation."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    return "".join([ACTIVATE, *lines, ACTIVATE_REST])


def _digest(package: Package, *, rattler: bool) -> str:
    """Return what follows a URL: every conda knows an md5 there, and a sha256 only newer ones."""
    if rattler:
        return f"#{package.sha256}"
    return f"#{package.md5}" if package.md5 else ""


def _options(name: str, *, carried: bool) -> str:
    offline = " --offline" if carried else ""
    return offline + (' --no-rc --root-prefix "$work/root"' if name == "micromamba" else "")
