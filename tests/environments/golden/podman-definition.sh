set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
mkdir "$1/context"
cd "$1/context"
cp "$2/definition" ./definition
tar -xf "$2/context"
name=localhost/pilotage:${1##*/}
podman build --network host --tag "$name" --file definition .
podman save --quiet --output "$1/image.tar" "$name"
cd "$1"
rm -rf "$1/context"
