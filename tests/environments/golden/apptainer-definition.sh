set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
mkdir "$1/context"
cd "$1/context"
cp "$2/definition" ./definition
apptainer build "$1/image.sif" definition
cd "$1"
rm -rf "$1/context"
