#!/bin/sh
# Makes plain.sqfs: everything the reader knows, in metadata that is stored as it is. As root, with mksquashfs 4.5.1:
#   sh fixture.sh plain.sqfs
set -eu
image=$(realpath "$1")
root=$(mktemp -d)
cd "$root"
mkdir dir dir/below
printf 'hello\n' >small
ln small dir/hard
head -c 9000 /dev/zero | tr '\0' x >blocks
truncate -s 20000 sparse
ln -s small link
mkfifo pipe
mknod null c 1 3
mknod disk b 8 1
for n in $(seq 1 12); do printf '%s' "$n" >"dir/below/a name of some length, number $n"; done
setfattr -n user.one -v 1 small
setfattr -n user.long -v "$(head -c 100 /dev/zero | tr '\0' y)" dir
setfattr -n trusted.two -v 2 link -h
setfattr -n user.long -v "$(head -c 100 /dev/zero | tr '\0' y)" blocks
setfattr -n user.three -v 3 blocks
find . -exec touch -h -d @1600000000 {} +
rm -f "$image"
mksquashfs . "$image" -comp gzip -b 4096 -noI -noId -noX -noF -mkfs-time 1600000000 -no-progress >/dev/null
cd /
rm -r "$root"
