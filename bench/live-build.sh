#!/bin/bash
# What live-build takes for the packages of a lock: the peer that Debian's own live images are made with.
#
#   bench/live-build.sh LOCK [OUT.iso]
#
# Its packages come from this machine's own APT sources into live-build's cache, in a first build that is not counted;
# then it builds again from that cache, and the wall time, CPU time and peak memory of that build are printed. It
# compresses like examples/live: zstd level 15, blocks of 128 KiB, without the initramfs, which lies beside it in the image.
# How its packages differ from those of the lock is said. Needs root, and installs live-build and debootstrap. STEPS=file
# appends the seconds of each step to the file.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
lock=$(realpath "$1") iso=${2:-}
[ -z "$iso" ] || iso=$(realpath -m "$iso")
type -P lb > /dev/null && type -P debootstrap > /dev/null || apt-get install -y -q live-build debootstrap > /dev/null
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1785542400}
base=$(apt-get --print-uris update | sed -n "s,^'\(.*\)/dists/bookworm/InRelease'.*,\1,p" | head -n 1)
[ -n "$base" ] || { echo "error: this machine's APT sources have no suite bookworm" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/live-build.XXXXXX")
# live-build mounts into its chroot; a failed build may leave that.
clean() {
  local mount
  for mount in $(awk -v work="$work" 'index($2, work) == 1 {print $2}' /proc/mounts | sort -r); do umount "$mount"; done
  rm -rf --one-file-system "$work"
}
trap clean EXIT
cd "$work"
# Kernel and live-boot are live-build's own business.
names=$(awk -F'"' '
  function out() { if (name != "" && use == "image") print name; name = use = "" }
  /^\[\[package/ {out()} /^name = /{name = $2} /^use = /{use = $2} END {out()}' "$lock" | grep -v '^linux-image' | sort -u)
lb config --mode debian --distribution bookworm --architectures amd64 --archive-areas main \
  --mirror-bootstrap "$base" --mirror-chroot "$base" --mirror-binary "$base" --parent-mirror-bootstrap "$base" \
  --security false --updates false --backports false --apt-recommends false --apt-indices false \
  --firmware-binary false --firmware-chroot false --memtest none --debian-installer none --win32-loader false \
  --bootloaders syslinux,grub-efi --binary-images iso-hybrid --initramfs live-boot --linux-flavours amd64 \
  --chroot-squashfs-compression-type zstd --chroot-squashfs-compression-level 15 --checksums none --zsync false \
  > config.log 2>&1 || { cat config.log >&2; exit 1; }
echo "$names" > config/package-lists/lock.list.chroot
mkdir -p config/rootfs
echo 'boot/initrd.img*' > config/rootfs/excludes
lb build > first.log 2>&1 || { tail -n 50 first.log >&2; exit 1; }
lb clean > /dev/null 2>&1
rm -rf cache/bootstrap
lb config > /dev/null 2>&1
began=$(date +%s.%N)
for step in bootstrap chroot binary; do
  /usr/bin/time -a -o times -f '%e %U %S %M' lb "$step" > "$step.log" 2>&1 || { tail -n 50 "$step.log" >&2; exit 1; }
  now=$(date +%s.%N)
  awk -v step="$step" -v from="$began" -v to="$now" 'BEGIN { printf "live-build: %s %.1f\n", step, to - from }' \
    >> "${STEPS:-/dev/null}"
  began=$now
done
awk '{ wall += $1; cpu += $2 + $3; if ($4 > peak) peak = $4 }
  END { printf "live-build %.1f s wall, %.1f s CPU, peak %d MiB\n", wall, cpu, peak / 1024 }' times
# Names of packages in the image, without the architecture.
installed=$(awk '{ sub(/:.*/, "", $1); print $1 }' chroot.packages.live | grep -v '^linux-image' | sort -u)
echo "live-build has beside the packages of the lock: $(comm -13 <(echo "$names") <(echo "$installed") | paste -sd' ')" >&2
echo "live-build lacks of the packages of the lock: $(comm -23 <(echo "$names") <(echo "$installed") | paste -sd' ')" >&2
made=$(ls ./*.iso)
wc -c "$made" >&2
[ -z "$iso" ] || mv "$made" "$iso"
