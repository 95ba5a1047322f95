set -e
say() { printf "%s\n" "$1" >&2; exit 1; }
ch-image pull physics/code:1.2 pilotage-physics-code-1.2
ch-convert -i ch-image -o dir pilotage-physics-code-1.2 "$1/image"
