"""The shell scripts by which environments are looked after on a host, each for ``sh -c``; see `store`.

A host has a folder with, for each environment, a folder that is called by its digest. It is one only when it has a
``.pilotage.json``, which is written last. Who makes one holds the lock of its digest, which ends with the processes
that have it: what a killed one has left is begun anew.
"""

MARK = ".pilotage.json"
"""In an environment: what it is. Its time is when it was last asked for."""
FACTS = r"""
umask 077; echo "pilotage facts"; uname -sm | tr 'A-Z ' 'a-z-'
getconf GNU_LIBC_VERSION 2>/dev/null || echo; printf '%s\n' "$HOME"
for name; do
  path=$(command -v -- "$name" 2>/dev/null) && case $path in /*) printf '%s=%s\n' "$name" "$path";; esac
done
:
"""
"""Say what the host is, and which of the programs that are given it has."""
ASK = r"""
set -e; umask 077; mkdir -p -- "$1/files"; cd -- "$1"; chmod 700 .
if [ -e "$2/.pilotage.json" ]; then
  touch -- "$2/.pilotage.json"; if [ -n "$3" ]; then ln -sfn -- "$1/$2" "$3"; fi; echo whole; exit 0
fi
while read -r name; do if [ -e "files/$name" ]; then touch -- "files/$name"; else echo "$name"; fi; done
"""
"""Say ``whole`` where an environment is there, and link to it; else which of the files read are not."""
TAKE = r"""
set -e; umask 077; cd -- "$1/files"; new=$(mktemp -d ./.new-XXXXXX); trap 'rm -rf -- "$new"' EXIT
tar -xmof - -C "$new"; for one in "$new"/*; do mv -f -- "$one" .; done
"""
"""Take files from an archive."""
PART = r"""
set -e; umask 077; cd -- "$1/files"; if [ "$3" = 0 ]; then rm -f -- ".part-$2"; fi
[ "$(wc -c < ".part-$2" 2>/dev/null || echo 0)" = "$3" ] || { echo "another has sent it meanwhile" >&2; exit 1; }
cat >> ".part-$2"; if [ "$4" = last ]; then mv -f -- ".part-$2" "$2"; fi
"""
"""Take the next part of a large file, which begins at a number of bytes."""
BUILD = r"""
set -e; umask 077; cd -- "$1"; base=$1 digest=$2 link=$3 limit=$4 build=$5 check=$6
exec 9>>".$digest.lock"
if command -v flock >/dev/null; then
  flock -w "$limit" 9 || { echo "another run builds it, for too long" >&2; exit 75; }
fi
if [ ! -e "$digest/.pilotage.json" ]; then
  rm -rf -- "$digest" ".$digest.files"
  trap 'rm -rf -- "$base/$digest" "$base/.$digest.files"' EXIT; trap 'exit 143' HUP INT TERM
  mkdir -- "$digest" ".$digest.files"; mark=".$digest.files/.mark"
  { IFS= read -r line; printf '%s\n' "$line" > "$mark"
    while read -r name as; do ln -- "files/$name" ".$digest.files/$as"; done; }
  if ! (cd -- "$digest"; exec sh -c "$build" sh "$base/$digest" "$base/.$digest.files") </dev/null >".$digest.log" 2>&1
  then
    tail -c 4000 ".$digest.log" >&2
    { head -c 65536 /dev/zero > "$digest/.probe"; } 2>/dev/null || echo "No space left on device" >&2
    exit 1
  fi
  if [ -n "$check" ]; then sh -c "$check" sh "$base/$digest" "$base/.$digest.files" </dev/null >&2; fi
  mv -- "$mark" "$digest/.pilotage.json"
  trap - EXIT HUP INT TERM; rm -rf -- ".$digest.files"; echo built
fi
touch -- "$digest/.pilotage.json"; if [ -n "$link" ]; then ln -sfn -- "$base/$digest" "$link"; fi
"""
"""Make an environment, where it is not there, from what is read: its mark, and the files by their names."""
LIST = r"""
cd -- "$1" 2>/dev/null || exit 0
for one in */; do one=${one%/}
  case $one in files) continue;; esac
  if [ -e "$one/.pilotage.json" ]; then
    printf '%s %s %s ' "$one" "$(stat -c %Y -- "$one/.pilotage.json")" "$(du -sk -- "$one" | cut -f1)"
    for link in "$2"/*/environment; do
      if [ "$link" -ef "$one" ]; then printf '%s:' "$(basename -- "$(dirname -- "$link")")"; fi
    done
    printf ' %s\n' "$(head -n 1 -- "$one/.pilotage.json")"
  fi
done
"""
"""Say of each environment its digest, when it was asked for last, its KiB, the runs that link to it, and its mark."""
REMOVE = r"""
set -e; umask 077; cd -- "$1"; [ -e "$2" ] || exit 0
exec 8>>".$2.use" 9>>".$2.lock"
if command -v flock >/dev/null; then
  flock -n 9 || { echo "it is being built"; exit 0; }; flock -n 8 || { echo "a run uses it"; exit 0; }
fi
for link in "$3"/*/environment; do
  if [ "$link" -ef "$2" ]; then echo "used by $(basename -- "$(dirname -- "$link")")"; exit 0; fi
done
rm -f -- "$2/.pilotage.json"; rm -rf -- "$2" ".$2.log" ".$2.files"; echo removed
"""
"""Remove an environment that no run links to."""
SWEEP = r"""
cd -- "$1" 2>/dev/null || exit 0
if command -v flock >/dev/null; then
  for lock in .*.lock; do
    one=${lock#.}; one=${one%.lock}; [ -e "$lock" ] || continue
    if [ ! -e "$one/.pilotage.json" ]; then
      ( flock -n 9 && rm -rf -- "$one" ".$one.files" ) 9>>"$lock"
    fi
  done
fi
find files -mindepth 1 -maxdepth 1 -mtime "+$2" -links 1 -exec rm -rf -- {} + 2>/dev/null
find . -maxdepth 1 -type f -name '.*.*' -mtime "+$2" | while IFS= read -r file; do  # locks and logs
  one=${file#./.}; if [ ! -e "${one%.*}" ]; then rm -f -- "$file"; fi
done
:
"""
"""Remove what was left half made, and files that nobody has asked for."""
