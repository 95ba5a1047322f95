"""The shell scripts by which environments are looked after on a host, each for ``sh -c``; see `store`.

A host has a folder with, for each environment, a folder that is called by its digest. It is one only when it has a
``.pilotage.json``, which is written last. Who makes one holds the lock of its digest, which ends with the processes
that have it: what a killed one has left is begun anew.
"""

MARK = ".pilotage.json"
"""In an environment: what it is. Its time is when it was last asked for."""
CONTENTS = "lib/python3*/site-packages/* conda-meta/*.json"
"""In an environment: what is noted of it when it has been made, and looked for whenever it is asked for."""
CHANGED = r"""
changed() {  # say what an environment has no more
  if [ -e "$1/.contents" ]; then
    while IFS= read -r one; do if [ ! -e "$1/$one" ]; then echo "changed ${one##*/}"; fi; done <"$1/.contents"
  fi
}
"""
FACTS = r"""
umask 077; echo "pilotage facts"; uname -sm | tr 'A-Z ' 'a-z-'
libc() {  # some hosts have no getconf; glibc itself is a program that tells, and its ldd does
  getconf GNU_LIBC_VERSION && return
  for file in /lib/*-linux-gnu*/libc.so.6 /lib64/libc.so.6 /usr/lib64/libc.so.6 /usr/lib/libc.so.6; do "$file"; done
  ldd --version | head -n 1
}
libc 2>/dev/null | sed -nE 's/^(glibc|GNU C Library.* release version|ldd.*[)]) ([0-9]+[.][0-9]+).*/glibc \2/p' |
  { read -r found; echo "$found"; }
printf '%s\n' "$HOME"
for name; do
  path=$(command -v -- "$name" 2>/dev/null) && case $path in /*) printf '%s=%s\n' "$name" "$path";; esac
done
:
"""
"""Say what the host is, and which of the programs that are given it has."""
LOCK = r"""
lock() {  # 1 where another has it, or has it for too long; a disk that knows no locks is as if there were no flock
  if command -v flock >/dev/null; then flock "$@" 2>/dev/null || [ "$?" != 1 ]; fi
}
"""
EACH = "each='" + 32 * "?" + "'\n"
"""What the name of an environment looks like, beside hex digits: in the folder may be what is not ours."""
HAS = r"""
if [ -e "$1/.pilotage.json" ] && [ -x "$2" ]; then echo whole; fi
"""
"""Say ``whole`` where an environment is there, and its Python."""
ASK = (
    CHANGED
    + r"""
set -e; umask 077; mkdir -p -- "$1/files"; cd -- "$1"
[ -O . ] && [ -z "$(find . -prune -perm -2)" ] || { echo "others may write to the folder" >&2; exit 1; }
if [ -n "$3" ]; then ln -sfn -- "$1/$2" "$3"; fi  # first: who removes one looks for links last
if [ -e "$2/.pilotage.json" ] && ! [ -x "$4" ]; then rm -f -- "$2/.pilotage.json"; fi  # somebody has removed its Python
touch -c -- "$2/.pilotage.json"
if [ -e "$2/.pilotage.json" ]; then
  gone=$(changed "$2"); if [ -z "$gone" ]; then echo whole; exit 0; fi
  printf '%s\n' "$gone"; if [ -n "$3" ]; then rm -f -- "$3"; fi; exit 0
fi
while read -r name; do if [ -e "files/$name" ]; then touch -- "files/$name"; else echo "$name"; fi; done
"""
)
"""Link to an environment, and say ``whole`` where it is there; where some of it has been removed, say ``changed`` with
each such thing, and do not link to it; else say which of the files read are not there."""
TAKE = r"""
set -e; umask 077; cd -- "$1/files"; new=$(mktemp -d ./.new-XXXXXX); trap 'rm -rf -- "$new"' EXIT
tar -xmof - -C "$new"; for one in "$new"/*; do mv -f -- "$one" .; done
"""
"""Take files from an archive."""
PART = r"""
set -e; umask 077; cd -- "$1/files"; part=.part-$2-$3
size() { if [ -e "$part" ]; then wc -c < "$part"; else echo 0; fi; }
[ "$(size)" -eq "$4" ] || { echo "a part of it is not there any more" >&2; exit 1; }
cat >> "$part"
[ "$(size)" -eq "$5" ] || { rm -f -- "$part"; echo "it has not come whole" >&2; exit 1; }
if [ "$6" = last ]; then mv -f -- "$part" "$2"; fi
"""
"""Take the next part of a large file from one sender, by the numbers of bytes at which it begins and ends.

What is read ends too where a connection does.
"""
BUILD = (
    LOCK
    + r"""
set -e; umask 077; cd -- "$1"; base=$1 digest=$2 link=$3 limit=$4 size=$5 check=$6
exec 9>>".$digest.lock"; touch -- ".$digest.lock"
lock -w "$limit" 9 || { echo "another run builds it, for too long" >&2; exit 75; }
if [ ! -e "$digest/.pilotage.json" ]; then
  rm -rf -- "$digest" ".$digest.files"
  trap 'rm -rf -- "$base/$digest" "$base/.$digest.files"' EXIT; trap 'exit 143' HUP INT TERM
  mkdir -- "$digest" ".$digest.files"; mark=".$digest.files/.mark"
  { IFS= read -r line; printf '%s\n' "$line" > "$mark"
    while read -r name as && [ -n "$name" ]; do  # some disks have links within one folder only, or none
      ln -- "files/$name" ".$digest.files/$as" 2>/dev/null || cp -- "files/$name" ".$digest.files/$as"
      printf '%s %s\n' "$name" "$as" >> "$mark-files"
    done
    cat > "$mark-build"; }
  [ "$(wc -c < "$mark-build")" -eq "$size" ] || { echo "what was sent has not come whole" >&2; exit 1; }
  build=$base/$mark-build
  if ! (cd -- "$digest"; exec sh "$build" "$base/$digest" "$base/.$digest.files") </dev/null >".$digest.log" 2>&1
  then
    tail -c 4000 ".$digest.log" >&2
    { head -c 65536 /dev/zero > "$digest/.probe"; } 2>/dev/null || echo "No space left on device" >&2
    if command -v sha256sum >/dev/null; then
      while read -r name as; do
        if [ "$(sha256sum < "files/$name" | cut -c 1-64)" != "$name" ]; then
          rm -f -- "files/$name"; echo "files were damaged there after they were sent, and are removed: try again" >&2
        fi
      done < "$mark-files"
    fi
    exit 1
  fi
  if [ -n "$check" ]; then sh -c "$check" sh "$base/$digest" "$base/.$digest.files" </dev/null >&2; fi
  (cd -- "$digest"; ls -d CONTENTS 2>/dev/null | grep -v '/__pycache__$' >.contents) || :
  mv -- "$mark" "$digest/.pilotage.json"
  trap - EXIT HUP INT TERM; rm -rf -- ".$digest.files"; echo built
fi
touch -- "$digest/.pilotage.json"; if [ -n "$link" ]; then ln -sfn -- "$base/$digest" "$link"; fi
""".replace("CONTENTS", CONTENTS)
)
"""Make an environment, where it is not there, from what is read: its mark, the files by their names, an empty line, and
the script that builds it, of so many bytes; as an argument that could be too long."""
LIST = r"""
cd -- "$1" 2>/dev/null || exit 0
for one in */; do
  one=${one%/}; runs=
  used=$(stat -c %Y -- "$one/.pilotage.json" 2>/dev/null) || continue
  size=$(du -sk -- "$one" 2>/dev/null | cut -f1); mark=$(head -n 1 -- "$one/.pilotage.json" 2>/dev/null)
  for link in "$2"/*/environment; do
    if [ "$link" -ef "$one" ]; then runs=$runs$(basename -- "$(dirname -- "$link")"):; fi
  done
  printf '%s\t%s\t%s\t%s\t%s\n' "$one" "$used" "${size:-0}" "$runs" "$mark"
done
"""
"""Say of each environment its digest, when it was asked for last, its KiB, the runs that link to it, and its mark."""
REMOVE = (
    LOCK
    + r"""
set -e; umask 077; cd -- "$1"; [ -e "$2" ] || { echo "it is not there"; exit 0; }
exec 8>>".$2.use" 9>>".$2.lock"
lock -n 9 || { echo "it is being built"; exit 0; }; lock -n 8 || { echo "a run uses it"; exit 0; }
mark=$2/.pilotage.json; if [ -e "$mark" ]; then mv -f -- "$mark" "$2/.going"; fi  # who links to it now does not find it
for link in "$3"/*/environment; do
  if [ "$link" -ef "$2" ]; then
    if [ -e "$2/.going" ]; then mv -- "$2/.going" "$mark"; fi
    echo "used by $(basename -- "$(dirname -- "$link")")"; exit 0
  fi
done
rm -rf -- "$2" ".$2.log" ".$2.files"; echo removed
"""
)
"""Remove an environment that no run links to."""
CLEAR = (
    EACH
    + r"""
cd -- "$1" 2>/dev/null || exit 0
for lock in .$each.lock; do
  one=${lock#.}; one=${one%.lock}; case $one in *[!0-9a-f]*) continue;; esac
  if [ ! -e "$one/.pilotage.json" ]; then
    ( flock -n 9 && [ ! -e "$one/.pilotage.json" ] && rm -rf -- "$one" ".$one.files" ) 9>>"$lock"
  fi
done 2>/dev/null
find files -mindepth 1 -maxdepth 1 -mtime "+$2" -links 1 \( -name "$each$each" ! -name '*[!0-9a-f]*' \
  -o -name ".part-$each$each*" \) -exec rm -f -- {} + 2>/dev/null
find files -mindepth 1 -maxdepth 1 -mtime "+$2" -name '.new-??????' -exec rm -rf -- {} + 2>/dev/null
find . -maxdepth 1 -type f -name ".$each.*" -mtime "+$2" | while IFS= read -r file; do  # locks and logs
  one=${file#./.}; one=${one%%.*}; case $one in *[!0-9a-f]*) continue;; esac
  if [ ! -e "$one" ]; then rm -f -- "$file"; fi
done
for one in $each/.pilotage.json; do stat -c '%Y %n' -- "$one" 2>/dev/null; done
:
"""
)
"""Remove what was left half made, and files that nobody has asked for; say when each environment was asked for last."""
