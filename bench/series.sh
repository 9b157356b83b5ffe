#!/bin/bash
# How much room a long series of snapshots takes, and whether Debian's indexes can be made again of their content: the
# tables of docs/performance.md.
#
#   bench/series.sh [DAYS]                  default: 365
#
# Takes the present InRelease and Packages.xz of bookworm, its updates, security and backports, trixie and sid through this
# machine's own apt, byte for byte. Then a year of bookworm with its companions: main changes with a point release every
# 60 days (600 packages), updates twice a week (3), security every day (20), backports every day (30). CHURN=sid is instead a
# series of sid alone, 800 packages every day; 20 days of it take as long.
set -euo pipefail
cd "$(dirname "$0")/.."

days=${1:-365}
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet -p selfsame-build --examples
program=$PWD/target/release/examples/series
work=$(mktemp -d "${TMPDIR:-/tmp}/series.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
uris=$(apt-get --print-uris update)
base_of() { sed -n "s,^'\(.*\)/dists/$1/InRelease'.*,\1,p" <<< "$uris" | head -n 1; }
base=$(base_of bookworm) security=$(base_of bookworm-security)
[ -n "$base" ] && [ -n "$security" ] || { echo "error: this machine's APT sources lack bookworm or bookworm-security" >&2; exit 1; }
mkdir -p "$work"/etc/apt/{preferences.d,apt.conf.d,trusted.gpg.d,sources.list.d} "$work"/var/lib/apt/lists/partial \
  "$work"/var/cache/apt/archives/partial "$work"/var/lib/dpkg
: > "$work/var/lib/dpkg/status"
: > "$work/none"
source="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64]"
{
  for suite in bookworm bookworm-updates bookworm-backports trixie trixie-updates trixie-backports sid; do
    echo "$source $base $suite main"
  done
  echo "$source $base bookworm contrib non-free non-free-firmware"
  echo "$source $security bookworm-security main"
  echo "$source $security trixie-security main"
} > "$work/etc/apt/sources.list"
APT_CONFIG=$work/none apt-get -q -q -o "Dir=$work" -o "Dir::State::status=$work/var/lib/dpkg/status" -o APT::Architecture=amd64 \
  -o APT::Architectures::=amd64 -o Acquire::Languages=none -o APT::Sandbox::User= -o Acquire::PDiffs=false \
  -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::GzipIndexes=true \
  -o 'Acquire::IndexTargets::deb::Packages::KeepCompressedAs=xz gz' update

lists=$work/var/lib/apt/lists
if [ "${CHURN:-}" != sid ]; then
  echo '| index | bytes | how it was made | the same again | s to find out | s in all |'
  echo '|---|---|---|---|---|---|'
  "$program" shapes "$lists"/*_Packages.xz
  echo
fi
# suite NAME STANZAS EVERY
suite() { ls "$lists"/*_dists_"$1"_InRelease "$lists"/*_dists_"$1"_main_binary-amd64_Packages.xz | paste -sd, | sed "s|^|$1=|; s|\$|,$2,$3|"; }
echo '| series | |'
echo '|---|---|'
if [ "${CHURN:-}" = sid ]; then
  "$program" "$work/store" "$days" "$(suite sid 800 1)"
else
  "$program" "$work/store" "$days" "$(suite bookworm 600 60)" "$(suite bookworm-updates 3 3)" \
    "$(suite bookworm-security 20 1)" "$(suite bookworm-backports 30 1)"
fi
