#!/bin/bash
# SquashFS alone: selfsame beside mksquashfs, gensquashfs and tar2sqfs on one tree, as a table for docs/performance.md.
#
#   bench/squashfs.sh [DIRECTORY]        default: the packages of examples/live, unpacked
#   bench/squashfs.sh --many [COUNT...]  selfsame alone, directories of so many small files
#
# CODECS and JOBS choose the rows ("gzip:9 xz:6 zstd:15 lz4:12", "2 1"), BLOCK the block size in bytes, RUNS how often
# each is measured, taking turns: the fastest run is told, and the median of the ratios of all rounds, which is what counts
# where two are about as fast as each other. PEERS names the peers, each
# `label=command`, the label beginning with mksquashfs, gensquashfs or tar2sqfs (which reads a tar); those that are not
# installed are said. Rows are measured while BENCH_LOCK is held, one lock for each run, so that measurements on one
# machine wait for each other.
#
# Selfsame packs with an empty store (cold) and again with the blocks of that run (warm). Everything reads from memory; with
# TMPDIR=/dev/shm it writes there, too.
set -euo pipefail
cd "$(dirname "$0")/.."

codecs=${CODECS:-gzip:9 xz:6 zstd:15 lz4:12} jobs=${JOBS:-2 1} block=${BLOCK:-131072} runs=${RUNS:-3}
lock=${BENCH_LOCK:-/tmp/bench.lock}
mapfile -t peers < <(tr ';' '\n' <<< "${PEERS:-mksquashfs=mksquashfs;gensquashfs=gensquashfs;tar2sqfs=tar2sqfs}")
[ -x /usr/bin/time ] || { echo "error: GNU time is missing; scripts/oracles.sh installs it" >&2; exit 1; }
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet -p selfsame-build --examples
programs=$PWD/target/release/examples
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# measured COMMAND...: sets wall, cpu (seconds) and peak (MiB).
measured() {
  if ! flock "$lock" /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" > "$work/stdout" 2> "$work/stderr"; then
    cat "$work/stderr" >&2
    exit 1
  fi
  read -r wall cpu peak < <(tail -n 1 "$work/time" | awk '{ printf "%.2f %.2f %.0f\n", $1, $2 + $3, $4 / 1024 }')
}

# row WHO CODEC JOBS COMMAND...: measures once, and keeps it for `table`.
row() {
  local who=$1 codec=$2 count=$3
  shift 3
  rm -f "$work/image"
  sync -f "$work"
  measured "$@"
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$who" "$codec" "$count" "$wall" "$cpu" "$peak" "$(stat -c %s "$work/image")" \
    >> "$work/rows"
}
# left_out WHO WHY: said once in the table and on standard error.
left_out() { echo "| $codec | $threads | $1 | $2 | | | | |" >> "$work/missing"; echo "$1: $2" >&2; }
# The fastest run of each, and the ratio to the cold run of the same round: median and each.
table() {
  awk -F'\t' '
    function median(list, count,   i, j, swap) {
      for (i = 2; i <= count; i++)
        for (j = i; j > 1 && list[j - 1] > list[j]; j--) { swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap }
      return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
    }
    { if (!($1 in runs)) order[++n] = $1
      run = ++runs[$1]; wall[$1, run] = $4
      if (run == 1 || $4 < best[$1]) { best[$1] = $4; rest[$1] = sprintf("%.2f | %s | %s", $5, $6, $7) }
      codec = $2; jobs = $3 }
    END { for (k = 1; k <= n; k++) { who = order[k]; ratios = ""
      for (r = 1; r <= runs[who]; r++) {
        list[r] = wall[who, r] / wall["selfsame, cold", r]
        ratios = ratios sprintf("%s%.2f", r > 1 ? ", " : "", list[r])
      }
      printf "| %s | %s | %s | %.2f | %s | %.2f (%s) |\n", codec, jobs, who, best[who], rest[who], median(list, runs[who]), ratios } }' "$work/rows"
  cat "$work/missing"
}

# Options of a peer for a codec.
of_mksquashfs() {
  local level=${1#*:}
  case $1 in
    gzip:* | zstd:*) echo "-comp ${1%%:*} -Xcompression-level $level" ;;
    xz:6) echo "-comp xz" ;;
    xz:6:x86) echo "-comp xz -Xbcj x86" ;;
    lz4:12) echo "-comp lz4 -Xhc" ;;
    *) return 1 ;;
  esac
}
of_squashfs_tools_ng() {
  local level=${1#*:}
  case $1 in
    gzip:* | zstd:*) echo "-c ${1%%:*} -X level=$level" ;;
    xz:6) echo "-c xz -X level=6" ;;
    lz4:12) echo "-c lz4 -X hc" ;;
    *) return 1 ;;
  esac
}

many() {
  local count tree=$work/tree
  [ $# -gt 0 ] || set -- 10000 100000 300000 1000000
  echo '| files | codec | jobs | wall s | CPU s | peak MiB | bytes | wall ms per 1,000 files | what it says |'
  echo '|---|---|---|---|---|---|---|---|---|'
  for count; do
    "$programs/many_files" "$tree" "$count"
    for threads in $jobs; do
      measured "$programs/pack" "$tree" "$work/image" zstd:3 "$block" "$threads"
      awk -v count="$count" -v jobs="$threads" -v wall="$wall" -v cpu="$cpu" -v peak="$peak" \
        -v size="$(stat -c %s "$work/image")" -v says="$(cat "$work/stdout")" \
        'BEGIN { printf "| %d | zstd:3 | %s | %.2f | %.2f | %s | %s | %.1f | %s |\n", count, jobs, wall, cpu, peak, size,
          wall * 1e6 / count, says }'
    done
    rm -rf --one-file-system "$tree"
  done
}

if [ "${1:-}" = --many ]; then
  shift
  many "$@"
  exit
fi

if [ $# -gt 0 ]; then
  tree=$(realpath "$1")
else
  scripts/mirror.sh "$PWD/.cache/mirror" examples/live/selfsame.lock > /dev/null
  tree=$work/tree
  mkdir "$tree"
  while read -r path; do dpkg-deb -x ".cache/mirror/$path" "$tree"; done \
    < <(grep -o 'pool/[^"[:space:]]*\.deb' examples/live/selfsame.lock | sort -u)
fi
[ -n "$(ls -A "$tree")" ] || { echo "error: $tree is empty" >&2; exit 1; }
find "$tree" -type f -exec cat {} + > /dev/null
echo "Tree: $(find "$tree" | wc -l) names, $(du -s --apparent-size -m "$tree" | cut -f 1) MiB. Blocks of $block bytes." >&2
echo '| codec | jobs | who | wall s | CPU s | peak MiB | bytes | wall, who : cold, median (each round) |'
echo '|---|---|---|---|---|---|---|---|'
for codec in $codecs; do
  for threads in $jobs; do
    : > "$work/rows"
    : > "$work/missing"
    for ((run = 0; run < runs; run++)); do
      # A new store for each run, none removed in between: ext4 is slow to make files right after many were removed.
      store=$(mktemp -d "$work/store.XXXXXX")
      pack=("$programs/pack" "$tree" "$work/image" "$codec" "$block" "$threads" "$store")
      row 'selfsame, cold' "$codec" "$threads" "${pack[@]}"
      row 'selfsame, warm' "$codec" "$threads" "${pack[@]}"
      for peer in "${peers[@]}"; do
        who=${peer%%=*} command=${peer#*=}
        if ! type -P "${command%% *}" > /dev/null; then
          [ "$run" -gt 0 ] || left_out "$who" 'not installed'
          continue
        fi
        case $who in
          mksquashfs*) options=$(of_mksquashfs "$codec") || options=none ;;
          *) options=$(of_squashfs_tools_ng "$codec") || options=none ;;
        esac
        if [ "$options" = none ]; then
          [ "$run" -gt 0 ] || left_out "$who" 'has no such codec'
          continue
        fi
        case $who in
          mksquashfs*)
            # shellcheck disable=SC2086 # commands and options are several words
            row "$who" "$codec" "$threads" $command "$tree" "$work/image" $options -b "$block" -processors "$threads" \
              -noappend -no-progress -quiet ;;
          gensquashfs*)
            # shellcheck disable=SC2086
            row "$who" "$codec" "$threads" $command -D "$tree" -k -x -e -q -f -b "$block" -j "$threads" $options "$work/image" ;;
          tar2sqfs*)
            [ -f "$work/tree.tar" ] || tar -C "$tree" -c --sort=name -f "$work/tree.tar" .
            # shellcheck disable=SC2016,SC2086 # the inner shell expands, to redirect its input
            row "$who" "$codec" "$threads" sh -c 'tar=$1; shift; exec "$@" < "$tar"' - "$work/tree.tar" \
              $command -q -f -b "$block" -j "$threads" $options "$work/image" ;;
        esac
      done
    done
    table
    rm -rf --one-file-system "$work"/store.*
  done
done
