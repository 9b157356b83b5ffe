#!/bin/bash
# What mkosi takes for a SquashFS of the packages of a lock (it makes no hybrid live ISO images).
#
#   bench/mkosi.sh LOCK
#
# Packages come from a mirror made by scripts/mirror.sh in .cache/mirror, over the loopback interface. Compressed like
# examples/live: zstd level 15, blocks of 128 KiB. Needs root and Debian 12's mkosi, which it installs. Then selfsame builds
# the same SquashFS from a store with the packages and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -eq 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
lock=$(realpath "$1") mirror=$PWD/.cache/mirror
type -P mkosi > /dev/null || apt-get install -y -q --no-install-recommends mkosi > /dev/null
[ -n "${SELFSAME:-}" ] || cargo build --release --locked --quiet
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
scripts/mirror.sh "$mirror" "$lock" isolinux syslinux-common shim-signed grub-efi-amd64-signed

work=$(mktemp -d "${TMPDIR:-/tmp}/mkosi.XXXXXX")
server=
clean() {
  [ -z "$server" ] || kill "$server"
  rm -rf --one-file-system "$work"
}
trap clean EXIT
python3 -m http.server --bind 127.0.0.1 --directory "$mirror" 18081 > /dev/null 2>&1 &
server=$!
printf '#!/bin/sh\nexec mksquashfs "$@" -comp zstd -Xcompression-level 15 -b 128K\n' > "$work/mksquashfs"
chmod +x "$work/mksquashfs"
mapfile -t names < <(awk -F'"' '
  function out() { if (name != "" && use == "image") print name; name = use = "" }
  /^\[\[package/ {out()} /^name = /{name = $2} /^use = /{use = $2} END {out()}' "$lock" | sort -u)
mkdir "$work/in" "$work/out"
cd "$work/in"
# systemd-nspawn wants /run to be in memory, and no bus where there is none.
mkdir -p /run/systemd/nspawn
in_memory='mount -t tmpfs none /run/systemd/nspawn && exec "$@"'
if ! /usr/bin/time -o "$work/time" -f '%e %U %S %M' unshare -m sh -c "$in_memory" sh mkosi --nspawn-keep-unit yes --distribution debian --release bookworm --architecture x86_64 \
  --mirror http://127.0.0.1:18081 --format plain_squashfs --mksquashfs "$work/mksquashfs" --with-network yes \
  $(printf -- '--package %s ' "${names[@]}") --output "$work/out/image.squashfs" build > "$work/log" 2>&1; then
  tail -n 30 "$work/log" >&2
  exit 1
fi
cd - > /dev/null
read -r wall user system peak < "$work/time"
recipe=$work/recipe
cp -R "$(dirname "$lock")" "$recipe"
sed -i 's/^outputs = .*/outputs = ["squashfs"]/' "$recipe/selfsame.toml"
"$selfsame" lock "$recipe" --quiet --store "$work/store" --mirror "debian=file:$mirror" > /dev/null
"$selfsame" build "$recipe" --until fetch --quiet --store "$work/store" --mirror "debian=file:$mirror" > /dev/null
mkdir "$work/cold"
cp -a "$work/store/blobs" "$work/store/layout" "$work/cold/"
/usr/bin/time -o "$work/time" -f '%e %U %S %M' "$selfsame" build "$recipe" --quiet --offline --store "$work/cold" --out "$work/out" > /dev/null
read -r own_wall own_user own_system own_peak < "$work/time"
echo '| who | wall s | CPU s | peak MiB | bytes |'
echo '|---|---|---|---|---|'
row() { awk -v who="$1" -v wall="$2" -v user="$3" -v sys="$4" -v peak="$5" -v bytes="$6" \
  'BEGIN { printf "| %s | %.1f | %.1f | %.0f | %d |\n", who, wall, user + sys, peak / 1024, bytes }'; }
row "$(mkosi --version)" "$wall" "$user" "$system" "$peak" "$(stat -c %s "$work/out/image.squashfs")"
row selfsame "$own_wall" "$own_user" "$own_system" "$own_peak" "$(stat -c %s "$work/out/live.squashfs")"
awk -v peer="$wall" -v own="$own_wall" 'BEGIN { printf "| mkosi : selfsame | %.2f | | | |\n", peer / own }'
