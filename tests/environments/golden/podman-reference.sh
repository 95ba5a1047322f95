set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
name=localhost/pilotage:${1##*/}
podman image exists physics/code:1.2 || podman pull --quiet physics/code:1.2
podman tag physics/code:1.2 "$name"
podman save --quiet --output "$1/image.tar" "$name"
