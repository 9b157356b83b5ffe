#!/bin/bash
# What an expert does by hand today: mmdebstrap, mksquashfs, xorriso. The peer that bench/run.sh measures against.
#
#   bench/expert.sh LOCK MIRROR OUT.iso
#
# Takes the package names of a lock from a mirror made by `scripts/mirror.sh MIRROR LOCK` (so nothing is downloaded),
# and compresses like the example: zstd level 15, blocks of 128 KiB, initramfs zstd level 9. The ISO boots from CD and
# USB, under BIOS and UEFI. STEPS=file appends the seconds of each step to the file. PACKER is what packs: mksquashfs, or
# another one by its path, or tar2sqfs (squashfs-tools-ng). WORK is a directory to work in that stays; without it one is made
# and removed. Needs root or unprivileged user namespaces, and mmdebstrap, squashfs-tools, xorriso, dosfstools and mtools.
set -euo pipefail

[ $# -eq 3 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
lock=$1 mirror=$(realpath "$2") iso=$(realpath -m "$3")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1747440000}
if [ -n "${WORK:-}" ]; then
  work=$WORK
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/expert.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
fi
packer=${PACKER:-mksquashfs}
steps=${STEPS:-/dev/null}
began=$(date +%s.%N)
done_with() {
  local now
  now=$(date +%s.%N)
  awk -v step="$1" -v from="$began" -v to="$now" 'BEGIN { printf "%s %.1f\n", step, to - from }' >> "$steps"
  began=$now
}

# Every package of the image, by name; those that are only taken apart for their boot loaders are not installed.
names=$(awk -F'"' '
  function out() { if (name != "" && use == "image") print name; name = use = "" }
  /^\[\[package/ {out()} /^name = /{name = $2} /^use = /{use = $2} END {out()}' "$lock" | sort -u | paste -sd,)

mkdir "$work/hooks"
cat > "$work/hooks/setup" <<'HOOK'
#!/bin/sh
# Before any package: the compressor of the initramfs, so that it is not made with another one.
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/apt/preferences.d"
# The directories are merged from the start, so the package that merges them (and perl with it) is not needed.
printf 'Package: usrmerge\nPin: release *\nPin-Priority: -1\n' > "$1/etc/apt/preferences.d/merged"
printf 'COMPRESS=zstd\nCOMPRESSLEVEL=9\n' > "$1/etc/initramfs-tools/conf.d/compression"
HOOK
chmod +x "$work/hooks/setup"
mmdebstrap --quiet --variant=apt --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount --include="$names" --aptopt='APT::Install-Recommends "false"' \
  --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io --dpkgopt=force-confold \
  --setup-hook="$work/hooks/setup \"\$1\"" \
  --customize-hook='rm -f "$1/etc/machine-id" "$1/var/lib/dbus/machine-id" && : > "$1/etc/machine-id"' \
  --customize-hook='echo selfsame > "$1/etc/hostname"' \
  bookworm "$work/root" \
  "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] file:$mirror bookworm main"
done_with mmdebstrap

tree=$work/iso
mkdir -p "$tree/live" "$tree/isolinux" "$tree/boot/grub" "$tree/.disk" "$work/esp"
cp "$work"/root/boot/vmlinuz-* "$tree/live/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$tree/live/initrd.img"
"$(dirname "$0")/pack.sh" "$packer" "$work/root" "$tree/live/filesystem.squashfs"
done_with squashfs

# Boot loaders, as files of their packages: from the tree if they are installed there, else from the mirror.
mkdir -p "$work/unpacked"
unpacked() {
  local deb
  [ ! -e "$work/root/$2" ] || { echo "$work/root/$2"; return; }
  deb=$(find "$mirror/pool" -name "$1_*.deb" | sort | tail -n 1)
  [ -n "$deb" ] || { echo "error: $1 is neither installed nor in $mirror" >&2; exit 1; }
  [ -d "$work/unpacked/$1" ] || dpkg-deb -x "$deb" "$work/unpacked/$1"
  echo "$work/unpacked/$1/$2"
}
cmdline='boot=live components console=tty0 console=ttyS0,115200'
cp "$(unpacked isolinux usr/lib/ISOLINUX/isolinux.bin)" "$tree/isolinux/"
cp "$(unpacked syslinux-common usr/lib/syslinux/modules/bios/ldlinux.c32)" "$tree/isolinux/"
mbr=$(unpacked isolinux usr/lib/ISOLINUX/isohdpfx.bin)
printf 'SERIAL 0 115200\nDEFAULT live\nTIMEOUT 10\nPROMPT 0\nLABEL live\n  LINUX /live/vmlinuz\n  INITRD /live/initrd.img\n  APPEND %s\n' \
  "$cmdline" > "$tree/isolinux/isolinux.cfg"
echo 'Debian live, by hand' > "$tree/.disk/info"
cat > "$tree/boot/grub/grub.cfg" <<GRUB
set timeout=1
menuentry live {
  linux /live/vmlinuz $cmdline
  initrd /live/initrd.img
}
GRUB
printf 'search --set=root --file /.disk/info\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' > "$work/grub.cfg"
esp=$tree/boot/grub/efi.img
truncate -s 8M "$esp"
mkfs.fat -i 4c495645 -n EFI --invariant "$esp" > /dev/null
mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/debian ::/boot ::/boot/grub
mcopy -i "$esp" "$(unpacked shim-signed usr/lib/shim/shimx64.efi.signed)" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$(unpacked grub-efi-amd64-signed usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed)" ::/EFI/BOOT/grubx64.efi
mcopy -i "$esp" "$work/grub.cfg" ::/boot/grub/grub.cfg
mcopy -i "$esp" "$work/grub.cfg" ::/EFI/debian/grub.cfg
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$(dirname "$iso")"
xorriso -as mkisofs -quiet -r -J -joliet-long -V SELFSAME_LIVE \
  -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
  -isohybrid-mbr "$mbr" -eltorito-alt-boot -e boot/grub/efi.img -no-emul-boot -isohybrid-gpt-basdat \
  -o "$iso" "$tree"
done_with iso
