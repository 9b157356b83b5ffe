#!/bin/bash
# How the time of a cold build grows with the number of packages: prints the table of docs/performance.md.
#
#   bench/growth.sh [COUNT...]              default: 100 300 1000 2000
#
# Each size is a SquashFS (zstd 15) of Debian bookworm with some of the packages below and what they need. Locks are made
# and packages downloaded before, from this machine's own APT sources, through one store in .cache/growth; what is
# measured is a build in a store with the packages and nothing else. 2000 takes about 10 GiB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=("$@")
[ ${#counts[@]} -gt 0 ] || counts=(100 300 1000 2000)
[ -n "${SELFSAME:-}" ] || cargo build --release --locked --quiet
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
# priority, recommends, includes
declare -A sizes=(
  [100]='required false "ca-certificates","less","nano","python3","openssh-client"'
  [300]='standard false "build-essential","git","linux-image-amd64","vim"'
  [1000]='standard true "build-essential","firefox-esr","git","linux-image-amd64","xfce4"'
  [2000]='standard true "build-essential","firefox-esr","gnome","libreoffice","linux-image-amd64","xfce4"'
)
store=$PWD/.cache/growth
mkdir -p "$store"
work=$(mktemp -d "${TMPDIR:-/tmp}/growth.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

echo '| packages | downloads MiB | tree MiB | wall s | CPU s | peak MiB | wall s for 100 packages | fetch, unpack, bootstrap, install, pack s |'
echo '|---|---|---|---|---|---|---|---|'
for count in "${counts[@]}"; do
  read -r priority recommends include <<< "${sizes[$count]:?sizes are 100, 300, 1000 and 2000}"
  recipe=$work/recipe-$count
  mkdir "$recipe"
  cat > "$recipe/selfsame.toml" <<RECIPE
format = 1
[image]
name = "growth"
outputs = ["squashfs"]
epoch = "2026-08-01T00:00:00Z"
[archives.debian]
mirrors = ["auto"]
suites = ["bookworm"]
keys = "debian"
[packages]
priority = "$priority"
recommends = $recommends
include = [$include]
[squashfs]
codec = "zstd:15"
RECIPE
  "$selfsame" lock "$recipe" --quiet --store "$store" > /dev/null
  "$selfsame" build "$recipe" --until fetch --quiet --store "$store" > /dev/null
  rm -rf "$work/store" "$work/out"
  mkdir "$work/store"
  cp "$store/layout" "$work/store/"
  cp -al "$store/blobs" "$work/store/"
  /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$selfsame" build "$recipe" --offline --quiet --json \
    --store "$work/store" --out "$work/out" > "$work/report"
  seconds() { awk -F'"' -v want="$1" '/"name":/{name = $4} /"seconds":/ && name == want {gsub(/[^0-9.]/, "", $3); printf "%.1f", $3}' "$work/report"; }
  packages=$(grep -c '^use = "image"' "$recipe/selfsame.lock")
  bytes=$(awk '/^\[\[package/{inside = 1} inside && /^file = /{gsub(/[^0-9 ]/, " "); sum += $1} END {print sum / 1048576}' "$recipe/selfsame.lock")
  tree=$(awk '/ file /{for (i = 1; i <= NF; i++) if ($i ~ /^sha256:/) sum += $(i - 1)} END {print sum / 1048576}' "$work/out/growth.manifest")
  stages=$(for stage in fetch unpack bootstrap install pack; do seconds "$stage"; echo; done | paste -sd' ' | sed 's/ /, /g')
  read -r wall user system peak < "$work/time"
  awk -v n="$packages" -v bytes="$bytes" -v tree="$tree" -v wall="$wall" -v user="$user" -v sys="$system" -v peak="$peak" -v stages="$stages" \
    'BEGIN { printf "| %d | %.0f | %.0f | %.1f | %.1f | %.0f | %.1f | %s |\n", n, bytes, tree, wall, user + sys, peak / 1024, 100 * wall / n, stages }'
done
