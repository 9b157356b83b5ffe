#!/bin/bash
# Makes the kept inputs that fuzzing began with, of reference programs and of our own writers and fixtures. What fuzzing found
# later lies beside them; programs of other versions make other bytes, which are as good.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin" E2FSPROGS_FAKE_TIME=1600000000 SOURCE_DATE_EPOCH=1600000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# keep TARGET NAME: standard input is kept.
keep() { mkdir -p "kept/$1"; cat > "kept/$1/$2"; }

cargo run --quiet --locked --manifest-path ../Cargo.toml -p selfsame-cli --example fuzz_seeds

# A small tree with each kind of file that every format can have.
root=$work/root
mkdir -p "$root/etc/sub" "$root/many"
printf 'Welcome.\n' > "$root/etc/motd"
seq 2000 > "$root/etc/large"
head -c 3000 /dev/zero > "$root/etc/zeros"
printf 'x' > "$root/one"
: > "$root/empty"
for number in $(seq 20); do printf '%s' "$number" > "$root/many/a quite long name, number $number"; done
ln "$root/one" "$root/etc/also"
ln -s etc/motd "$root/short"
ln -s "$(printf 'x/%.0s' $(seq 60))" "$root/long"
mkfifo "$root/pipe"
setfattr -n user.note -v value "$root/one" 2> /dev/null || true
find "$root" -exec touch -h -d @1600000000 {} +

for codec in gzip lzo lz4 xz zstd; do
  mksquashfs "$root" "$work/s" -comp $codec -b 4096 -all-root -noappend -quiet -no-progress -nopad > /dev/null
  keep squashfs "mksquashfs-$codec" < "$work/s"
done
mksquashfs "$root" "$work/s" -b 4096 -all-root -noappend -quiet -no-progress -nopad -noI -noD -noF -noX > /dev/null
keep squashfs mksquashfs-plain < "$work/s"
mksquashfs "$root" "$work/s" -b 4096 -all-root -noappend -quiet -no-progress -nopad -no-fragments -always-use-fragments -exports > /dev/null
keep squashfs mksquashfs-exports < "$work/s"

erofs() {
  rm -f "$work/e"
  mkfs.erofs --quiet -T1600000000 --all-root -U6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c "${@:2}" "$work/e" "$root" > /dev/null 2>&1
  keep erofs "$1" < "$work/e"
}
erofs plain
erofs lz4 -zlz4hc
erofs legacy -zlz4hc -Elegacy-compress
erofs tail -zlz4hc -Eztailpacking
erofs fragments -zlz4hc -C16384 -Efragments

# mke2fs wants room for its tables: a few small ones.
for kind in "ext2 1024 96" "ext4 1024 128 ^has_journal" "ext4 1024 128 ^has_journal,^metadata_csum,inline_data"; do
  read -r type block size features <<< "$kind"
  rm -f "$work/x"
  mke2fs -q -F -t "$type" -b "$block" -N 48 -O "${features:-none}" -m 0 -U 6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c \
    -E hash_seed=6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c,root_owner=0:0 -d "$root" "$work/x" "${size}k"
  keep ext4 "$type${features//[^a-z_]/-}" < "$work/x"
done

head -c 65536 /dev/zero > "$work/f"
mkfs.fat -F 12 -S 512 -s 1 -r 32 -i 12345678 -n SEED --invariant "$work/f" > /dev/null
mmd -i "$work/f" ::dir && mcopy -i "$work/f" "$root/etc/motd" "::dir/A long name of a file.text"
mcopy -i "$work/f" "$root/etc/large" ::LARGE.BIN
keep fat mtools-12 < "$work/f"

head -c 40960 /dev/zero > "$work/g"
sgdisk --clear --set-alignment=1 --new=1:34:40 --typecode=1:ef00 --change-name=1:boot --new=2:41:45 "$work/g" > /dev/null
keep gpt sgdisk < "$work/g"
head -c 8192 /dev/zero > "$work/m"
printf 'label: dos\nlabel-id: 0x12345678\n1,4,c,*\n6,3,5\n7,1,83\n' | sfdisk --quiet "$work/m" > /dev/null 2>&1 || true
keep mbr sfdisk < "$work/m"

genisoimage -quiet -no-pad -R -J -V SEED -o "$work/i" "$root/etc" 2> /dev/null
keep iso9660 genisoimage < "$work/i"

head -c 20000 /dev/zero > "$work/raw"
printf 'beginning' | dd of="$work/raw" conv=notrunc status=none
seq 900 | dd of="$work/raw" bs=512 seek=20 conv=notrunc status=none
qcow() { qemu-img convert -f raw -O qcow2 -o "$2" ${3:-} "$work/raw" "$work/q" && keep qcow2 "$1" < "$work/q"; }
qcow old compat=0.10,cluster_size=512
qcow new compat=1.1,cluster_size=512,lazy_refcounts=on
qcow packed compat=1.1,cluster_size=4096 -c
qcow zstd compat=1.1,cluster_size=4096,compression_type=zstd -c

(cd "$root" && find . | sort | cpio --quiet --reproducible -o -H newc) | keep cpio cpio
for format in odc bin; do (cd "$root" && find . | sort | cpio --quiet -o -H $format) | keep oldcpio $format; done
mkdir -p "$work/fonts/below"
printf '<fontconfig><dir>%s/fonts</dir><cachedir>%s/cache</cachedir></fontconfig>' "$work" "$work" > "$work/fonts.conf"
cp /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf "$work/fonts"
FONTCONFIG_FILE=$work/fonts.conf fc-cache -f
for cache in "$work"/cache/*; do [ ! -s "$cache" ] || keep fontconfig "$(stat -c %s "$cache")" < "$cache"; done
(cd "$root" && find . | sort | cpio --quiet --reproducible -o -H newc | gzip -9n) | keep initramfs gzip
{ (cd "$root" && printf '%s\n' . one | cpio --quiet -o -H newc); (cd "$root" && find etc | sort | cpio --quiet -o -H newc | zstd -q); } |
  keep initramfs two-parts
(cd "$root" && tar --sort=name --owner=0 --group=0 --format=gnu -c .) | keep tar gnu
(cd "$root" && tar --sort=name --owner=0 --group=0 --format=pax --xattrs -c one etc/motd short pipe long) | keep tar pax
(cd "$root" && tar --sort=name --owner=0 --group=0 --format=v7 -c one etc/motd) | keep tar v7
head -c 100000 /dev/zero > "$work/sparse" && truncate -s 0 "$work/sparse" && truncate -s 90000 "$work/sparse"
printf end | dd of="$work/sparse" bs=1 seek=70000 conv=notrunc status=none
tar -C "$work" --sparse --format=gnu -c sparse | keep tar sparse-gnu
tar -C "$work" --sparse --format=pax --sparse-version=1.0 -c sparse | keep tar sparse-pax

printf 'int one(void) { return 1; }\n' > "$work/c.c"
cc -g -c -o "$work/c.o" "$work/c.c"
keep elf object < "$work/c.o"
cc -shared -nostdlib -Wl,--build-id=sha1 -o "$work/c.so" "$work/c.o" && strip "$work/c.so"
keep elf library < "$work/c.so"
rm -f "$work/a.a" && ar rcD "$work/a.a" "$work/c.c" "$work/c.o" && keep ar gnu < "$work/a.a"
ld -m i386pep --subsystem 10 -e one --no-insert-timestamp "$work/c.o" -o "$work/p" 2> /dev/null && strip "$work/p"
keep pe ld < "$work/p"

seq 300 > "$work/text"
for program in gzip xz zstd bzip2 lz4 lzma; do
  $program -c -9 < "$work/text" | keep $program one
  { $program -c -1 < "$work/text"; printf 'more' | $program -c; } | keep $program two
done
xz -c --check=sha256 --block-size=512 < "$work/text" | keep xz blocks
xz -c -6e -T1 < "$work/text" | keep shape one
xz -c -6 --block-size=512 -T2 < "$work/text" | keep shape blocks
for program in gzip xz zstd; do $program -c < "$work/text" | keep stream $program; done
head -c 1000 "$work/text" | zstd -q -c --no-check | { printf '\350\003\0\0'; cat; } | keep patch zstd

python3 - "$work" <<'PYTHON'
import importlib.util, marshal, pathlib, sqlite3, struct, sys, zipfile, zlib
work, kept = pathlib.Path(sys.argv[1]), pathlib.Path("kept")
def keep(target, name, data):
    (kept / target).mkdir(parents=True, exist_ok=True)
    (kept / target / name).write_bytes(data)

code = compile("def one(two):\n    return [two, 'text', 1.5, None]\n", "seed.py", "exec")
keep("pyc", "time", importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 1600000000, 42) + marshal.dumps(code))
keep("pyc", "hash", importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + b"12345678" + marshal.dumps(code))

path = work / "zip"
with zipfile.ZipFile(path, "w") as z:
    for name, method in [("stored", 0), ("dir/packed", 8), ("dir/bzip2", 12), ("lzma", 14)]:
        info = zipfile.ZipInfo(name, (2026, 8, 1, 10, 20, 30))
        z.writestr(info, b"text\n" * 50, method)
    z.comment = b"a comment"
keep("zip", "methods", path.read_bytes())
with zipfile.ZipFile(path, "w") as z:
    with z.open(zipfile.ZipInfo("large", (2026, 8, 1, 10, 20, 30)), "w", force_zip64=True) as f:
        f.write(b"text\n" * 50)
keep("zip", "zip64", b"#!/bin/sh\n" + path.read_bytes())

for page, vacuum in [(512, 1), (1024, 0)]:
    path = work / f"database{page}"
    base = sqlite3.connect(path)
    base.execute(f"pragma page_size = {page}")
    base.execute(f"pragma auto_vacuum = {vacuum}")
    base.execute("create table words (id integer primary key, word text, more blob)")
    base.execute("create index by_word on words (word)")
    base.execute("create table gone (x)")
    base.executemany("insert into words values (?, ?, ?)", [(7 * n, f"word {n}", bytes([n]) * (3000 if n == 9 else n)) for n in range(30)])
    base.executemany("insert into gone values (?)", [("x" * 300,)] * 8)
    base.commit()
    base.execute("drop table gone")
    base.commit()
    base.close()
    keep("sqlite", f"page{page}", path.read_bytes())

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
chunks = [(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 0)), (b"tIME", bytes([7, 0xea, 8, 1, 10, 20, 30])),
          (b"tEXt", b"Comment\0a text"), (b"zTXt", b"More\0\0" + zlib.compress(b"text" * 9)), (b"eXIf", b"II*\0\x08\0\0\0"),
          (b"IDAT", zlib.compress(b"\0\1\2")), (b"IEND", b"")]
keep("png", "chunks", b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks) + b"behind")

late = 1600000000
page = b'<html lang="de">\n<head>\n<!-- Generated by javadoc (17) on Tue Feb 05 18:09:31 UTC 2019 -->\n<meta name="dc.created" content="2019-02-05">\n</head>\n'
keep("normalise", "html", page)
keep("normalise", "mimeinfo", b"[MIME Cache]\nb/c=x;y;\na/b=z;\n")
keep("normalise", "flat", b"bFLT" + struct.pack(">10I", 4, 72, 1, 2, 3, 4, 5, 6, 7, late))
head = struct.pack(">III", 0x27051956, 0, late) + b"\7" * 52
keep("normalise", "uimage", head[:4] + struct.pack(">I", zlib.crc32(head)) + head[8:] + b"kernel")
keep("normalise", "postscript", b"%!PS-Adobe-3.0\n%%CreationDate: (Sun Oct  9 10:00:00 2016)\n%%EndComments\n")
keep("normalise", "pdf", b"%PDF-1.7\n<</CreationDate(D:20160101120000+01'00')/ModDate (D:20160101120000Z)>>\nstream\n"
     b"<?xpacket begin=''?><x xmp:ModifyDate=\"2016-01-01T12:00:00+01:00\"><xmp:CreateDate>2016-01-01T11:00:00Z</xmp:CreateDate>\nendstream\n")
for name, prefix in [("inner", b""), ("outer", b""), ("script", b"#!/usr/bin/python3\n")]:
    path = work / name
    with zipfile.ZipFile(path, "w") as z:
        for entry, data in [("b", b"text"), ("META-INF/MANIFEST.MF", b"A: b\nBuilt-By: me\n and more\n"), ("a.html", page)]:
            info = zipfile.ZipInfo(entry, (2026, 8, 1, 10, 20, 30))
            info.extra = struct.pack("<HHBI", 0x5455, 5, 1, late) + struct.pack("<HHBBIBI", 0x7875, 11, 1, 4, 1000, 4, 1000)
            z.writestr(info, data, 8)
        ntfs = zipfile.ZipInfo("ntfs", (2026, 8, 1, 10, 20, 30))
        ntfs.extra = struct.pack("<HHIHHQQQ", 10, 32, 0, 1, 24, *[(late + 11644473600) * 10000000] * 3)
        z.writestr(ntfs, b"")
        if name == "outer":
            z.writestr("inner.jar", (work / "inner").read_bytes())
    keep("normalise", name, prefix + path.read_bytes())
PYTHON
printf 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\nmsgid "yes"\nmsgstr "ja"\nmsgid "file"\nmsgid_plural "files"\nmsgstr[0] "Datei"\nmsgstr[1] "Dateien"\n' > "$work/m.po"
msgfmt -o - "$work/m.po" | keep mo little
msgfmt --endianness=big -o - "$work/m.po" | keep mo big
