#!/bin/bash
# Installs the reference programs that tests compare with (Debian and Ubuntu). Without root it only says which are
# missing. Tests skip a missing program, but fail when the environment variable CI is set.
set -euo pipefail

# program package
needed='
apt-get apt
bsdtar libarchive-tools
bzip2 bzip2
cc gcc
chromium chromium
/bin/busybox busybox-static
cmark-gfm cmark-gfm
cpio cpio
debootstrap debootstrap
diffoscope diffoscope-minimal
dpkg-deb dpkg
fdisk fdisk
fsck.fat dosfstools
git git
gpg gpg
gpgv gpgv
isoinfo genisoimage
lz4 lz4
mcopy mtools
mkfs.erofs erofs-utils
mkfs.ext4 e2fsprogs
mksquashfs squashfs-tools
mmdebstrap mmdebstrap
mount mount
msgfmt gettext
newuidmap uidmap
objcopy binutils
objdump binutils
openssl openssl
perl perl
pip3 python3-pip
pngcheck pngcheck
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
python3 python3
qemu-img qemu-utils
qemu-system-x86_64 qemu-system-x86
readelf binutils
script bsdutils
sgdisk gdisk
strace strace
tar tar
tar2sqfs squashfs-tools-ng
time time
unsquashfs squashfs-tools
unzip unzip
xorriso xorriso
xz xz-utils
zstd zstd
/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
'
PATH=$PATH:/usr/sbin:/sbin
missing=()
while read -r program package; do
  # `time` is also a word of the shell: -P looks on the path alone, and takes absolute names.
  [ -z "$program" ] || [ -e "$program" ] || type -P "$program" > /dev/null || missing+=("$package")
done <<< "$needed"
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "missing reference programs; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install -y --no-install-recommends "${missing[@]}"
