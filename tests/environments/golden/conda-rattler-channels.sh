set -eu; umask 077
prefix=$1 files=$2
work=$prefix/.building; mkdir -- "$work"
trap 'rm -rf -- "$work"' EXIT; trap 'exit 143' HUP INT TERM
for name in $(env | sed -n 's/^\(PYTHON[A-Z]*\|VIRTUAL_ENV\|CONDA_PREFIX\)=.*/\1/p'); do unset "$name"; done
export TMPDIR="$work"
# The last line of what fails is what is told, without anybody's password.
attempt() {
  what=$1; shift
  said=$("$@" 2>&1) && return
  said=$(printf '%s\n' "$said" | sed 's#://[^/@ ]*@#://***@#g; s#/t/[^/ ]*/#/t/***/#g')
  printf '%s\n' "$said"
  printf '%s: %s\n' "$what" "$(printf '%s\n' "$said" | tail -n 12 | tr -s '\n\t ' ' ')"
  exit 1
}
cat > "$work/explicit.txt" <<'END'
@EXPLICIT
https://h/c/linux-64/python-3.11.9-h1_cpython.conda#aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
https://h/c/linux-64/numpy-2.1.0-py311_0.tar.bz2#aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
END
for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3 /usr/libexec/platform-python; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then break; fi
  python=
done
if [ -z "$python" ]; then echo "there is no Python 3.10 or newer here, which py-rattler needs" >&2; exit 1; fi
attempt "py-rattler cannot be unpacked" \
  "$python" -I -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' \
  "$files"/py_rattler-1-cp310-abi3-any.whl "$work/rattler"
attempt "py-rattler cannot install the packages" \
  "$python" -I "$files/link_packages.py" "$work/rattler" "$prefix" "$work" "$work/explicit.txt"
while read -r name; do set -- "$@" "$files/$name"; done <<'END'
pilotage-1-py3-none-any.whl
END
shift 2
attempt "wheels cannot be installed" "$prefix/bin/python" -I "$files/unpack_wheels.py" "$@"
shell=/bin/sh
for script in "$prefix"/etc/conda/activate.d/*.sh; do
  if [ -e "$script" ]; then shell=$(command -v bash || echo /bin/sh); fi
done
{ printf '#!%s\n' "$shell"; cat -- "$files/start"; } > "$prefix/bin/pilotage-python"
chmod 700 "$prefix/bin/pilotage-python"
"$prefix/bin/python" -I -m compileall -q -j 2 "$prefix/lib/python"*/site-packages >/dev/null 2>&1 || :

# start
# This environment's Python, in what `conda activate` would set.
prefix=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
export CONDA_PREFIX="$prefix" CONDA_DEFAULT_ENV="$prefix" CONDA_SHLVL=1 PATH="$prefix/bin:$PATH"
export A=1
export B='it'"'"'s
$two'
activate() {
  for script in "$prefix"/etc/conda/activate.d/*.sh; do if [ -r "$script" ]; then . "$script" >&2; fi; done
}
activate
exec "$prefix/bin/python" "$@"
