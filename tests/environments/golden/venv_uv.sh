set -eu
umask 077
for name in $(env | sed -nE 's/^(PYTHON[A-Z]*|VIRTUAL_ENV|CONDA_PREFIX|UV_[A-Z_]*|PIP_[A-Z_]*)=.*/\1/p'); do unset "$name"; done
export TMPDIR="$1/.new" UV_CACHE_DIR="$1/.new/cache" UV_CONCURRENT_INSTALLS=4 UV_NO_PROGRESS=1 NO_COLOR=1
export UV_PYTHON_DOWNLOADS=never PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -- "$1/.new"
# All that a tool has said is in one line at the end, and no password of an index is.
attempt() {
  what=$1; shift
  said=$("$@" 2>&1) && return
  said=$(printf '%s\n' "$said" | sed 's#://[^/@ ]*@#://***@#g')
  printf '%s\n' "$said"
  printf '%s: %s\n' "$what" "$(printf '%s\n' "$said" | tail -n 12 | tr -s '\n\t ' ' ')"
  exit 1
}
export UV_NO_CONFIG=1 PIP_CONFIG_FILE=/dev/null
python='/opt/python 3/bin/python3.11'
attempt "no Python 3.11: $python" "$python" -I -c '
import sys, ssl, zlib, ctypes
have = "%d.%d" % sys.version_info[:2]
have == "3.11" or sys.exit("it is Python " + have)'
uv=$2/uv; chmod 500 "$uv"
attempt "uv cannot make it" "$uv" venv --quiet --allow-existing --python "$python" "$1"
attempt "uv cannot install" "$uv" pip install --quiet --python "$1/bin/python" --offline --no-index --no-deps --link-mode copy --compile-bytecode "$2"/*.whl
rm -rf -- "$1/.new"
