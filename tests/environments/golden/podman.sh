set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
[ -e /apps/physics.sif ] || say 'there is no image /apps/physics.sif'
mkdir "$1/bin"
cat > "$1/bin/python" <<'END OF SCRIPT'
#!/bin/sh
# Starts Python in a container.
set -ef
prefix=$(cd -P -- "${0%/bin/*}" && pwd -P)  # a run has a link to it
program=/usr/bin/podman
image=/apps/physics.sif
python=/opt/conda/bin/python

if [ ! -x "$program" ]; then
  program=$(command -v podman) || { echo "pilotage: there is no podman on $(uname -n)" >&2; exit 127; }
fi

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

# Whose end is the end of what is inside: some runtimes leave it running when they are killed.
holder=$(sed 's/.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)
PILOTAGE_HOLDER=$$,$holder,$(cat /proc/sys/kernel/random/boot_id)/$(readlink "/proc/$$/ns/pid"),$(uname -n)
export PILOTAGE_HOLDER
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD
export PYTHONNOUSERSITE=1

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
set -- --volume /home/ada/data:/home/ada/data --volume '/scratch/it'"'"'s:/data' "$@"

if [ -e /dev/nvidiactl ]; then set -- --device nvidia.com/gpu=all "$@"; fi
if [ -e /dev/kfd ]; then set -- --device /dev/kfd --device /dev/dri --group-add keep-groups "$@"; fi
set -- --one '--two=a b' "$@"

if [ "$(id -u)" != 0 ]; then set -- --userns keep-id "$@"; fi
exec "$program" run --rm --network host --pid host --ipc host --uts host --security-opt label=disable \
  --pids-limit -1 --log-driver none --env-host --env HOME="$HOME" --workdir "$here" "$@"
END OF SCRIPT
chmod 755 "$1/bin/python"
