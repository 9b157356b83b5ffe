#!/bin/bash
# Makes (or completes) a directory mirror with a part of a Debian suite: the original signed InRelease, the exact
# Packages.xz, and the packages that are asked for, in their places in the pool.
#
#   scripts/mirror.sh DIR                                  the indexes only
#   scripts/mirror.sh DIR examples/live/selfsame.lock      and every package a lock names
#   scripts/mirror.sh DIR nano busybox                     and these packages
#
# Then: selfsame build ... --mirror debian=file:/absolute/DIR
#
# Everything comes through this machine's own apt, from the archive in its own sources, and is verified by it.
# Running it again fetches only what is missing. SUITE and ARCH choose another suite or architecture.
set -euo pipefail

suite=${SUITE:-bookworm}
arch=${ARCH:-amd64}
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
mkdir -p "$1"
mirror=$(cd "$1" && pwd)
shift
die() { echo "error: $*" >&2; exit 1; }

# apt itself says where it would fetch from, whatever the form of its sources.
base=$(apt-get --print-uris update | sed -n "s,^'\(.*\)/dists/$suite/InRelease'.*,\1,p" | head -n 1)
[ -n "$base" ] || die "this machine's APT sources have no suite $suite"

# A private apt: its state lies in the mirror, so that the next run only asks whether something changed.
state=$mirror/.apt
mkdir -p "$state"/etc/apt/{preferences.d,apt.conf.d,trusted.gpg.d,sources.list.d} "$state"/var/lib/apt/lists/partial \
  "$state"/var/cache/apt/archives/partial "$state"/var/lib/dpkg "$state"/download
: > "$state/var/lib/dpkg/status"
echo "deb [signed-by=$keyring arch=$arch] $base $suite main" > "$state/etc/apt/sources.list"
options=(
  -o "Dir=$state" -o "Dir::State::status=$state/var/lib/dpkg/status" -o "APT::Architecture=$arch"
  -o "APT::Architectures::=$arch" -o Acquire::Languages=none -o APT::Sandbox::User=
  -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3 -o Acquire::PDiffs=false
  # Keep the xz bytes exactly as they were signed; the default packs them anew.
  -o Acquire::GzipIndexes=true -o 'Acquire::IndexTargets::deb::Packages::KeepCompressedAs=xz gz'
)
apt-get "${options[@]}" -q update >&2

lists=$state/var/lib/apt/lists
release=$(ls "$lists"/*_dists_"$suite"_InRelease)
index=$(ls "$lists"/*_dists_"$suite"_main_binary-"$arch"_Packages.xz)
dist=$mirror/dists/$suite
packages=$dist/main/binary-$arch
mkdir -p "$packages/by-hash/SHA256"
digest=$(sha256sum "$index" | cut -d' ' -f1)
grep -q "^ $digest .* main/binary-$arch/Packages.xz$" "$release" || die "apt kept other bytes than those that are signed"
# The index before the InRelease that names it, each by rename: a reader never sees a half of a state.
cp "$index" "$packages/.new" && mv "$packages/.new" "$packages/Packages.xz"
ln -f "$packages/Packages.xz" "$packages/by-hash/SHA256/$digest"
cp "$release" "$dist/.new" && mv "$dist/.new" "$dist/InRelease"

# What is wanted, as paths in the pool (from locks) or as names.
paths=$state/paths names=$state/names table=$state/table
: > "$paths"; : > "$names"
for argument in "$@"; do
  if [ -f "$argument" ]; then
    grep -o 'pool/[^"[:space:]]*\.deb' "$argument" >> "$paths" || die "$argument names no package"
  else
    echo "$argument" >> "$names"
  fi
done
sort -u -o "$paths" "$paths"

# One line for each package of the index: path, name, version, architecture, size, SHA-256.
xz -dc "$packages/Packages.xz" | awk -F': ' '
  /^Package: /{name=$2} /^Version: /{version=$2} /^Architecture: /{arch=$2} /^Filename: /{file=$2} /^Size: /{size=$2}
  /^SHA256: /{hash=$2} /^$/{print file, name, version, arch, size, hash}' > "$table"
wanted=$state/wanted
awk -v names="$names" -v paths="$paths" '
  BEGIN { while ((getline line < names) > 0) name[line]; while ((getline line < paths) > 0) path[line] }
  $1 in path || $2 in name { print; delete path[$1]; found[$2] }
  END {
    for (p in path) { print "error: not in this state of the archive: " p > "/dev/stderr"; bad = 1 }
    for (n in name) if (!(n in found)) { print "error: no package " n > "/dev/stderr"; bad = 1 }
    exit bad
  }' "$table" > "$wanted"

# Fetch what is missing, a hundred at a time.
fetch=$state/fetch
while read -r path name version architecture size _; do
  [ "$(stat -c %s "$mirror/$path" 2>/dev/null || true)" = "$size" ] || echo "$path $name $version $architecture"
done < "$wanted" > "$fetch"
while mapfile -t -n 100 batch && [ ${#batch[@]} -gt 0 ]; do
  requests=()
  for line in "${batch[@]}"; do
    read -r _ name version architecture <<< "$line"
    [ "$architecture" = all ] && requests+=("$name=$version") || requests+=("$name:$architecture=$version")
  done
  (cd "$state/download" && apt-get "${options[@]}" -q download "${requests[@]}" >&2)
  for line in "${batch[@]}"; do
    read -r path name version architecture <<< "$line"
    mkdir -p "$mirror/${path%/*}"
    # apt names the file after the version and writes the colon of an epoch as %3a.
    mv "$state/download/${name}_${version//:/%3a}_$architecture.deb" "$mirror/$path"
  done
done < "$fetch"

# apt verified each download; this also finds what was damaged since.
while read -r path _ _ _ _ hash; do echo "$hash  $path"; done < "$wanted" > "$state/sums"
[ ! -s "$state/sums" ] || (cd "$mirror" && sha256sum --quiet -c "$state/sums") \
  || die "remove the damaged files and run this again"
echo "$mirror: $suite $(sed -n 's/^Date: //p' "$dist/InRelease"), $(wc -l < "$wanted") packages, $(wc -l < "$fetch") of them new" >&2
