#!/bin/bash
# What `selfsame diff` takes for images that differ in ways that happen, paired with cmp and, where there is one, diffoscope.
#
#   bench/diff.sh [RECIPE] [TREE]           default: examples/live, and /usr of this machine
#
# Builds the image of RECIPE, the same again, one with a changed file of the overlay, one of another time (SOURCE_DATE_EPOCH: all
# times differ) and one where 50 files and a package changed; packs 1 GiB of TREE as a SquashFS in the same ways; and makes
# ext4 file systems of 8 GiB that are nearly empty. Each is compared with the first of its kind. Wall and CPU time, peak memory
# and the ratio to selfsame are printed. diffoscope is stopped after LIMIT seconds (default 900): such a time is a lower bound.
# WHAT names the parts ("iso squashfs sparse"), STORE a store that has the packages. Images lie in TMPDIR; with
# TMPDIR=/dev/shm all is read from memory, and some 5 GiB are needed.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=${1:-examples/live} from=${2:-/usr} limit=${LIMIT:-900} what=${WHAT:-iso squashfs sparse}
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet --workspace --bins --examples
selfsame=${SELFSAME:-$PWD/target/release/selfsame} pack=$PWD/target/release/examples/pack
type -P diffoscope > /dev/null || echo 'diffoscope is not installed: no ratios' >&2
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# timed COMMAND...: sets wall, cpu (seconds), peak (MiB) and over ("over " if it was stopped). A difference is no failure.
timed() {
  local status=0
  timeout "$limit" /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" > "$work/report" 2> "$work/errors" || status=$?
  case $status in
    124) wall=$limit cpu='' peak='' over='over ' ;;
    0 | 1)
      over=''
      read -r wall cpu peak < <(tail -n 1 "$work/time" | awk '{ printf "%.2f %.2f %d\n", $1, $2 + $3, $4 / 1024 }')
      ;;
    *) cat "$work/errors" >&2; return 1 ;;
  esac
}
# The greatest peak of selfsame, and whether an aim was missed.
most=0
# compared WHAT FIRST SECOND AIM...: rows of one pair. AIM is `cmp 1.25` (at most so many times as long as cmp), `seconds 2`
# (at most), or `diffoscope 50` (at least so many times as fast).
compared() {
  local name=$1 first=$2 second=$3 ours theirs aim value
  shift 3
  cat "$first" "$second" > /dev/null
  timed cmp "$first" "$second"
  theirs=$wall
  echo "| $name | cmp | $wall | $cpu | $peak | |"
  # The median of three.
  for _ in 1 2 3; do
    timed "$selfsame" diff "$first" "$second"
    echo "$wall $cpu $peak"
  done | sort -n | sed -n 2p > "$work/median"
  read -r ours cpu peak < "$work/median"
  echo "| $name | selfsame diff | $ours | $cpu | $peak | 1 |"
  tail -n 1 "$work/report" >&2
  [ "$peak" -le "$most" ] || most=$peak
  while [ $# -gt 0 ]; do
    aim=$1 value=$2
    shift 2
    case $aim in
      cmp) verdict "$name: selfsame : cmp, at most $value" "$ours" "$theirs" "$value" -1 ;;
      seconds) verdict "$name: seconds, at most $value" "$ours" 1 "$value" -1 ;;
      diffoscope)
        type -P diffoscope > /dev/null || continue
        timed diffoscope --no-progress --text "$work/out.txt" "$first" "$second"
        echo "| $name | diffoscope | $over$wall | $cpu | $peak | $over$(awk -v a="$wall" -v b="$ours" 'BEGIN { printf "%.0f", a / b }') |"
        verdict "$name: diffoscope : selfsame, at least $value" "$wall" "$ours" "$value" 1
        ;;
    esac
  done
}
# verdict WHAT DIVIDEND DIVISOR LIMIT SIGN
verdict() {
  awk -v what="$1" -v is="$2" -v by="$3" -v limit="$4" -v sign="$5" \
    'BEGIN { is = is / by; printf("| %s | %.2f | %s |\n", what, is, (sign * is >= sign * limit) ? "yes" : "no") }' >> "$work/aims"
}
: > "$work/aims"

# Builds the image of a recipe: build OUT RECIPE
build() { "$selfsame" build "$2" --quiet --store "${STORE:-$work/store}" --out "$work/$1" > /dev/null; }
iso() {
  local image number
  build first "$recipe"
  cp -a "$recipe" "$work/touched.recipe"
  echo changed >> "$work/touched.recipe/files/etc/issue"
  build touched "$work/touched.recipe"
  SOURCE_DATE_EPOCH=1700000000 build later "$recipe"
  # A package more, and 50 files of the overlay.
  cp -a "$recipe" "$work/more.recipe"
  sed -i 's/^  "zstd",$/  "zstd",\n  "tree",/' "$work/more.recipe/selfsame.toml"
  mkdir -p "$work/more.recipe/files/etc/many"
  for number in $(seq 50); do echo "file $number" > "$work/more.recipe/files/etc/many/$number"; done
  "$selfsame" lock "$work/more.recipe" --quiet --store "${STORE:-$work/store}" > /dev/null
  build more "$work/more.recipe"
  image=$(basename "$work"/first/*.iso)
  cp "$work/first/$image" "$work/again.iso"
  echo "ISO image: $(stat -c %s "$work/again.iso") bytes" >&2
  compared 'ISO, the same' "$work/first/$image" "$work/again.iso" cmp 1.25
  compared 'ISO, one file' "$work/first/$image" "$work/touched/$image" seconds 2 diffoscope 100
  compared 'ISO, all times' "$work/first/$image" "$work/later/$image" diffoscope 50
  compared 'ISO, 50 files and a package' "$work/first/$image" "$work/more/$image" diffoscope 50
  rm -rf --one-file-system "$work"/{first,touched,later,more,again.iso,store}
}
# The first GiB of a directory, in the order of its names.
squashfs() {
  local tree=$work/tree number file
  mkdir "$tree"
  # Names with line ends are left out.
  (cd "$from" && find . -xdev -type f -size -65536k ! -name $'*\n*' -printf '%p\t%s\n' | LC_ALL=C sort |
    awk -F'\t' '{ if ((all += $2) <= 2 ^ 30) print $1 }' | tar -c --no-recursion --verbatim-files-from --files-from=-) |
    tar -x -C "$tree"
  packed() { "$pack" "$tree" "$work/$1.squashfs" zstd:3 131072 "$(nproc)" "$work/blocks" > /dev/null; }
  packed first
  cp "$work/first.squashfs" "$work/again.squashfs"
  file=$(cd "$tree" && find . -type f -size -8 -size +0 | LC_ALL=C sort | sed -n 1p)
  cp -p "$tree/$file" "$work/kept"
  echo changed >> "$tree/$file"
  packed touched
  mv "$work/kept" "$tree/$file"
  mkdir "$tree/many"
  for number in $(seq 50); do echo "file $number" > "$tree/many/$number"; done
  packed more
  rm -r "$tree/many"
  find "$tree" -exec touch --no-dereference --date=@1700000000 {} +
  packed later
  rm -rf --one-file-system "$tree"
  echo "SquashFS: $(stat -c %s "$work/first.squashfs") bytes" >&2
  compared 'SquashFS, the same' "$work/first.squashfs" "$work/again.squashfs" cmp 1.25
  compared 'SquashFS, one file' "$work/first.squashfs" "$work/touched.squashfs" seconds 2 diffoscope 100
  compared 'SquashFS, all times' "$work/first.squashfs" "$work/later.squashfs" diffoscope 50
  compared 'SquashFS, 50 files' "$work/first.squashfs" "$work/more.squashfs" diffoscope 50
  rm -rf --one-file-system "$work"/*.squashfs "$work/blocks"
}
sparse() {
  local number
  mkdir "$work/few"
  for number in 1 2 3; do
    seq "$number" 20000 > "$work/few/numbers"
    truncate -s 8G "$work/disk$number"
    mkfs.ext4 -q -F -U 7f6e1b5a-0000-4000-8000-000000000001 -E hash_seed=7f6e1b5a-0000-4000-8000-000000000002 \
      -d "$work/few" "$work/disk$number"
  done
  echo 'other' | dd of="$work/disk3" bs=1 seek=8589934000 conv=notrunc status=none
  cp --sparse=always "$work/disk1" "$work/disk4"
  compared 'ext4 of 8 GiB, the same' "$work/disk1" "$work/disk4" cmp 1.25
  compared 'ext4 of 8 GiB, a file' "$work/disk1" "$work/disk2"
  compared 'ext4 of 8 GiB, a file and free space' "$work/disk1" "$work/disk3"
  rm -f "$work"/disk?
}
echo '| what | who | wall s | CPU s | peak MiB | times as long as selfsame |'
echo '|---|---|---|---|---|---|'
for part in $what; do "$part"; done
verdict 'peak of selfsame in MiB, at most 256' "$most" 1 256 -1
printf '\n| aim | is | met |\n|---|---|---|\n'
cat "$work/aims"
