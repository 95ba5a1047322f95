set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
mkdir "$1/context"
cd "$1/context"
cp "$2/definition" ./definition
tar -xf "$2/context"
export USER="${USER:-$(id -un)}"
for name in AUTHOR COMMITTER; do export "GIT_${name}_NAME=pilotage" "GIT_${name}_EMAIL=pilotage@localhost"; done
name=pilotage-${1##*/}
ch-image build -t "$name" -f definition .
ch-convert -i ch-image -o dir "$name" "$1/image"
ch-image delete "$name"
cd "$1"
rm -rf "$1/context"
