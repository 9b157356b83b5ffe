#!/bin/bash
# What `selfsame diff` takes for images that differ in a way that happens, against cmp and, where there is one, diffoscope.
#
#   bench/diff.sh [RECIPE]                  default: examples/live
#
# Builds the image, the same again, one with a changed file of the overlay and one of another time (SOURCE_DATE_EPOCH: all times
# differ), and compares each with the first. Wall and CPU time and peak memory are printed. diffoscope is stopped after
# LIMIT seconds (default 600): a time of that length is a lower bound.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=${1:-examples/live} limit=${LIMIT:-600}
[ -n "${SELFSAME:-}" ] || cargo build --release --locked --quiet
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# build OUT RECIPE: the image of a recipe
build() { "$selfsame" build "$2" --quiet --store "${STORE:-$work/store}" --out "$work/$1" > /dev/null; }
build first "$recipe"
cp -a "$recipe" "$work/touched"
echo changed >> "$work/touched/files/etc/issue"
build touched "$work/touched"
SOURCE_DATE_EPOCH=1700000000 build later "$recipe"
mkdir "$work/again"
cp "$work"/first/*.iso "$work/again"
image=$(basename "$work"/first/*.iso)

# measured WHAT COMMAND...: prints a row. A difference is no failure.
measured() {
  local what=$1 status=0
  shift
  timeout "$limit" /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" > "$work/report" 2> "$work/errors" || status=$?
  case $status in
    124) echo "| $what | over $limit | | |" ;;
    0 | 1) tail -n 1 "$work/time" | awk -v what="$what" '{ printf "| %s | %.2f | %.2f | %d |\n", what, $1, $2 + $3, $4 / 1024 }' ;;
    *) cat "$work/errors" >&2; return 1 ;;
  esac
}
echo "| what | wall s | CPU s | peak MiB |"
echo "|---|---|---|---|"
for other in again touched later; do
  cat "$work/first/$image" "$work/$other/$image" > /dev/null
  measured "$other: cmp" cmp "$work/first/$image" "$work/$other/$image"
  measured "$other: selfsame diff" "$selfsame" diff "$work/first/$image" "$work/$other/$image"
  tail -n 1 "$work/report" >&2
  if [ "$other" != again ] && type -P diffoscope > /dev/null; then
    measured "$other: diffoscope" diffoscope --no-progress --text "$work/out.txt" "$work/first/$image" "$work/$other/$image"
  fi
done
