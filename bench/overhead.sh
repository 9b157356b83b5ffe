#!/bin/bash
# What the sandbox costs: programs as builds run them, in selfsame's sandbox and in a plain chroot, taking turns.
#
#   bench/overhead.sh [ROUNDS]     default: 5
#
# Three kinds of work in the tree of examples/live: mkinitramfs (18,000 short processes), dpkg and tar (which query, verify,
# pack and unpack), and gzip (a program that only counts). The chroot has /proc, /sys and /dev mounted, as live-build and mmdebstrap do it,
# and libeatmydata's effect from a file system in memory: what the sandbox saves by suppressing fsync is not counted as its
# speed. Prints the median of each and of the ratios of pairs. Needs root, squashfs-tools, and 4 GB of memory for the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
[ "$(id -u)" = 0 ] || { echo "error: chroot needs root" >&2; exit 1; }
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet -p selfsame-cli -p selfsame-build --bins --examples
work=$(mktemp -d -p /dev/shm bench.XXXXXX)
root=$work/root
leave() {
  for dir in dev sys proc; do umount "$root/$dir" 2> /dev/null || :; done
  rm -rf --one-file-system "$work"
}
trap leave EXIT

# The tree of the image, with what the image leaves out made again where these programs need it.
target/release/selfsame build examples/live --quiet --out "$work/out" > /dev/null
image=$work/out/live.squashfs
[ -e "$image" ] || image=$(ls "$work"/out/*.squashfs 2> /dev/null | head -1 || :)
if [ -z "$image" ]; then
  command -v osirrox > /dev/null || { echo "error: xorriso is missing; scripts/oracles.sh installs it" >&2; exit 1; }
  osirrox -indev "stdio:$work/out/live.iso" -extract /live/filesystem.squashfs "$work/tree.squashfs" > /dev/null 2>&1
  image=$work/tree.squashfs
fi
unsquashfs -no-progress -quiet -d "$root" "$image" > /dev/null
mkdir -p "$root/tmp" "$root/var/lib/apt/lists"
version=$(ls "$root/lib/modules" | head -1)
packages=$(awk '/^Package: /{name = $2} /^Architecture: all/{print name}' "$root/var/lib/dpkg/status" | head -40 | paste -sd' ')

works=("mkinitramfs -o /tmp/initrd $version"
  "for round in 1 2 3 4 5 6 7 8; do dpkg-query -L $packages | sort -u > /tmp/list; dpkg --verify $packages || :; dpkg-divert --list > /dev/null; tar -C / -cf /tmp/all.tar usr/share usr/bin; mkdir -p /tmp/out; tar -C /tmp/out -xf /tmp/all.tar; rm -rf /tmp/out /tmp/all.tar; done"
  "cat /usr/bin/* 2> /dev/null | head -c 60000000 | gzip -9 > /tmp/gz")
names=(mkinitramfs "dpkg and tar" gzip)

# seconds COMMAND...: how long it takes.
seconds() {
  local begin end
  begin=$(date +%s%N)
  "$@" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  end=$(date +%s%N)
  awk -v a="$begin" -v b="$end" 'BEGIN { printf "%.3f\n", (b - a) / 1e9 }'
}
plain() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot "$root" sh -c "$1"
}
mounted() {
  mount -t proc proc "$root/proc"; mount -t sysfs sys "$root/sys"; mount -t devtmpfs dev "$root/dev"
}
unmounted() {
  umount "$root/dev" "$root/sys" "$root/proc"
}
median() {
  sort -n | awk '{ all[NR] = $1 } END { printf "%.3f", NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'
}

echo "| work | chroot, s | sandbox, s | sandbox : chroot, median of $rounds pairs (least, most) |"
echo "|---|---|---|---|"
for index in "${!works[@]}"; do
  : > "$work/pairs"
  for round in $(seq "$rounds"); do
    # Either is the first one as often.
    for who in $((round % 2)) $(((round + 1) % 2)); do
      if [ "$who" = 0 ]; then
        mounted; a=$(seconds plain "${works[index]}"); unmounted
      else
        b=$(seconds target/release/examples/in_sandbox "$root" sh -c "${works[index]}")
      fi
    done
    echo "$a $b" >> "$work/pairs"
  done
  a=$(cut -d' ' -f1 "$work/pairs" | median)
  b=$(cut -d' ' -f2 "$work/pairs" | median)
  ratios=$(awk '{ print $2 / $1 }' "$work/pairs" | sort -n)
  echo "| ${names[index]} | $a | $b | $(median <<< "$ratios") ($(head -1 <<< "$ratios"), $(tail -1 <<< "$ratios")) |"
done
