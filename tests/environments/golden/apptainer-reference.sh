set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
apptainer pull "$1/image.sif" docker://physics/code:1.2
