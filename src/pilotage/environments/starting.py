"""The shell scripts that start Python in a container, as if it were a Python of the host: ``bin/python`` of a container
environment.

What has to be seen inside is known only on the node: the folders that are given by ``--see``, those among the
arguments, and the current one, under the same paths. The job's environment passes, but what would lead Python or the
loader to the host's own software. The host's process numbers, network and shared memory are the container's: by them
the node guard knows its driver, and workers their manager.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

PROGRAMS = {"apptainer": "apptainer", "singularity": "singularity", "podman": "podman", "charliecloud": "ch-run"}
"""What starts a container, by the site's ``runtime``."""

_BEGIN = r"""#!/bin/sh
# Starts Python in a container.
set -ef
prefix=$(cd -P -- "${0%/bin/*}" && pwd -P)  # a run has a link to it
"""
_SEEN = r"""
folders=
see() {  # a folder that is to be seen inside under its own path, and where it really is
  place=$1
  while [ ! -d "$place" ]; do case $place in */*) place=${place%/*}; place=${place:-/};; *) return 0;; esac; done
  real=$(cd -P -- "$place" 2>/dev/null && pwd -P) || return 0
  see_one "$real"
  if [ "$real" != "$place" ]; then see_one "$place"; fi
}
see_one() {
  case $1/ in  # the image's own
    //|/bin/*|/boot/*|/dev/*|/etc/*|/lib/*|/lib32/*|/lib64/*|/proc/*|/sbin/*|/sys/*) return 0;;
    /usr/|/usr/bin/*|/usr/lib/*|/usr/lib64/*|/usr/libexec/*|/usr/local/*|/usr/sbin/*|/usr/share/*) return 0;;
    /home/|/media/|/mnt/|/opt/|/run/|/srv/|/var/|/var/lib/) return 0;;
  esac
  case $1 in *[:,]*|*"$newline"*)
    echo "pilotage: $1 is not seen in the container: its name has a colon, a comma or a line break" >&2; return 0;;
  esac
  IFS=$newline
  for known in $folders; do case $1/ in "$known"/*) unset IFS; return 0;; esac; done
  unset IFS
  folders=$folders$newline$1
}
newline='
'
here=$(pwd)
for folder in "$HOME" /tmp "${TMPDIR:-/tmp}" "$prefix" "$here"; do see "$folder"; done
while :; do case $1 in --see=*) see "${1#*=}"; shift;; *) break;; esac; done
for argument; do
  case $argument in
    /*) see "$argument";;
    --*=/*) see "${argument#*=}";;
  esac
done
"""
_CLEAN = r"""
# Whose end is the end of what is inside: some runtimes leave it running when they are killed.
holder=$(sed 's/.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)
PILOTAGE_HOLDER=$$,$holder,$(cat /proc/sys/kernel/random/boot_id)/$(readlink "/proc/$$/ns/pid"),$(uname -n)
export PILOTAGE_HOLDER
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD
export PYTHONNOUSERSITE=1
"""
_PROGRAM = r"""
if [ ! -x "$program" ]; then
  program=$(command -v {name}) || {{ echo "pilotage: there is no {name} on $(uname -n)" >&2; exit 127; }}
fi
"""
_APPTAINER = r"""
set -- "$image" "$python" "$@"
IFS=$newline
for folder in $folders; do case $folder in "$HOME"|/tmp) ;; *) set -- --bind "$folder" "$@";; esac; done
unset IFS
"""
_APPTAINER_GPUS = r"""
if [ -e /dev/nvidiactl ]; then set -- --nv "$@"; fi
if [ -e /dev/kfd ]; then set -- --rocm "$@"; fi
"""
_APPTAINER_END = r"""
exec "$program" exec --pwd "$here" "$@"
"""
_PODMAN_IMAGE = r"""
# The host's would hold in an image that says none: home is seen inside, and may have programs for the host there.
inside=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PATH=$inside:$PATH  # podman itself finds its helpers by it
export PATH
if [ -d "$image" ]; then
  set -- --env "PATH=$inside" --rootfs "$image:O" "$python" "$@"
else
  name=localhost/pilotage:${prefix##*/}
  if ! "$program" image exists "$name"; then  # each node may have images of its own
    loaded=$("$program" load --quiet --input "$image" | sed -n 's/^Loaded image[^:]*: *//p')
    if [ -z "$loaded" ]; then echo "pilotage: podman takes $image for no image; podman save makes one"; exit 127; fi
    if [ "$loaded" != "$name" ]; then "$program" tag "$loaded" "$name"; fi
  fi >&2
  set -- --pull never --entrypoint "$python" "$name" "$@"
fi
IFS=$newline
for folder in $folders; do set -- --volume "$folder:$folder" "$@"; done
unset IFS
"""
_PODMAN_GPUS = r"""
if [ -e /dev/nvidiactl ]; then set -- --device nvidia.com/gpu=all "$@"; fi
if [ -e /dev/kfd ]; then set -- --device /dev/kfd --device /dev/dri --group-add keep-groups "$@"; fi
"""
_PODMAN_END = r"""
if [ "$(id -u)" != 0 ]; then set -- --userns keep-id "$@"; fi
exec "$program" run --rm --network host --pid host --ipc host --uts host --security-opt label=disable \
  --pids-limit -1 --log-driver none --env-host --env HOME="$HOME" --workdir "$here" "$@"
"""
_CHARLIECLOUD = r"""
export USER="${USER:-$(id -un)}"
if [ -d "$image" ]; then  # where there is nothing to mount on, it makes nothing
  IFS=$newline
  for folder in $folders $inside; do
    if [ ! -d "$image$folder" ]; then mkdir -p -- "$image$folder"; fi
  done
  unset IFS
fi
set -- "$image" -- "$python" "$@"
IFS=$newline
for folder in $folders; do case $folder in /tmp) ;; *) set -- --bind "$folder" "$@";; esac; done
unset IFS
case $("$program" --help) in *--write-fake*) set -- --write-fake "$@";; esac
if [ -e "$image/ch/environment" ]; then set -- --set-env "$@"; fi
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
"""
_CHARLIECLOUD_END = r"""
exec "$program" --cd "$here" "$@"
"""


def start(
    runtime: str,
    program: str,
    image: str,
    python: str,
    *,
    binds: Sequence[str] = (),
    gpus: bool = False,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the script.

    Parameters
    ----------
    runtime: apptainer, singularity, podman or charliecloud.
    program: where it was found; on a node where it is not, it is looked for by its name.
    image: its path; ``{prefix}`` in it is the environment's folder.
    python: the Python in it.
    binds: ``PATH`` or ``PATH:INSIDE``.
    environment: more variables; ``{prefix}`` in a value is the environment's folder.
    """
    inside = [bind.split(":")[1] if ":" in bind else bind for bind in binds]
    parts = [
        _BEGIN,
        f"program={shlex.quote(program)}\nimage={_path(image)}\npython={shlex.quote(python)}\n",
        _PROGRAM.format(name=PROGRAMS[runtime]),
        _SEEN,
        _CLEAN,
        "".join(f"export {name}={_path(value)}\n" for name, value in (environment or {}).items()),
    ]
    # What is put before the arguments stands in the end in front of what was put before it.
    if runtime == "podman":
        given = [part for bind in binds for part in ("--volume", bind if ":" in bind else f"{bind}:{bind}")]
        parts += [_PODMAN_IMAGE, _before(given), _PODMAN_GPUS if gpus else "", _before(options), _PODMAN_END]
    elif runtime == "charliecloud":
        given = [part for bind in binds for part in ("--bind", bind)]
        parts += [f"inside={shlex.quote(chr(10).join(inside))}\n", _CHARLIECLOUD, _before(given), _before(options)]
        parts += [_CHARLIECLOUD_END]
    else:
        given = [part for bind in binds for part in ("--bind", bind)]
        parts += [_APPTAINER, _before(given), _APPTAINER_GPUS if gpus else "", _before(options), _APPTAINER_END]
    return "".join(parts)


def _before(words: Sequence[str]) -> str:
    return f'set -- {shlex.join(words)} "$@"\n' if words else ""


def _path(text: str) -> str:
    """Return a path as the shell needs it."""
    before, found, after = text.partition("{prefix}")
    return f'"$prefix"{shlex.quote(after) if after else ""}' if found and not before else shlex.quote(text)
