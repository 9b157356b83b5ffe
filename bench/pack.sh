#!/bin/bash
# Packs a tree as the examples do: zstd level 15, blocks of 128 KiB, without the initramfs, which lies beside it in an image.
#
#   bench/pack.sh PACKER TREE OUT.squashfs       PACKER: mksquashfs, tar2sqfs, or the path of another version of either
set -euo pipefail

[ $# -eq 3 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
if [ "${1##*/}" = tar2sqfs ]; then
  tar -C "$2" -c --sort=name --xattrs --exclude='./boot/initrd.img*' . |
    "$1" -q -f -c zstd -X level=15 -b 131072 -j "$(nproc)" "$3"
else
  "$1" "$2" "$3" -comp zstd -Xcompression-level 15 -b 128K -noappend -no-progress -quiet \
    -wildcards -e 'boot/initrd.img*' > /dev/null
fi
