#!/bin/bash
# Runs libFuzzer on the readers of foreign bytes (fuzz/src/lib.rs), two at a time, and prints what came of each.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     SECONDS of processor time for each (600), TARGETs all by default
#
# Needs a nightly compiler and cargo-fuzz (`cargo install cargo-fuzz --locked`). What is found new is added to fuzz/corpus,
# which Git ignores; the status is 1 if a target panics, takes more than 10 s for an input, 256 MiB in one piece or 1 GiB in
# all, and the input lies in fuzz/artifacts then. It belongs into fuzz/kept with its mend: `cargo +nightly fuzz tmin TARGET FILE`
# makes it small. JOBS: how many at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=600
[[ ${1:-} =~ ^[0-9]+$ ]] && { seconds=$1; shift; }
host=$(rustc -vV | sed -n 's/^host: //p')
programs=$PWD/fuzz/target/$host/release
formats=$(sed -n 's/^ *Self::[A-Za-z0-9]* => "\(.*\)",$/\1/p' crates/image/src/detect.rs)
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z0-9]*\)"$/\1/p' fuzz/Cargo.toml)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Targets that need files put them where no disk is waited for.
export TMPDIR; TMPDIR=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
trap 'rm -rf "$work" "$TMPDIR"' EXIT

if [ $# -eq 1 ]; then cargo +nightly fuzz build "$1"; else cargo +nightly fuzz build; fi

# one TARGET: runs it until it had its time, and writes a line to $work/TARGET.
one() {
  local target=$1 used=0 runs=0 status=0 log="$work/$1.log" more=() line
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  case $target in
    detect | compare | normalise) for format in $formats; do more+=("fuzz/kept/$format"); done ;;
  esac
  local TIMEFORMAT='%U %S'
  while [ "$used" -lt "$seconds" ] && [ $status -eq 0 ]; do
    # The clock on the wall runs at least as fast as that of one thread.
    { time ASAN_OPTIONS=quarantine_size_mb=8:detect_leaks=0 "$programs/$target" -max_total_time=$((seconds - used)) -timeout=10 \
      -malloc_limit_mb=256 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
      "fuzz/corpus/$target" "fuzz/kept/$target" "${more[@]}" > "$log" 2>&1 || status=$?; } 2> "$work/$target.time"
    read -r user system < <(tail -1 "$work/$target.time")
    line=$(awk -v u="$user" -v s="$system" 'BEGIN { printf "%d", u + s + 1 }')
    used=$((used + line))
    line=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    runs=$((runs + ${line:-0}))
  done
  local edges peak corpus result=ok
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | tr -dc 0-9 || true)
  peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
  corpus=$(find "fuzz/corpus/$target" -type f | wc -l)
  [ $status -eq 0 ] || result=$(grep -m1 -E '^SUMMARY|panicked|ERROR: libFuzzer' "$log" || echo "status $status")
  printf '%-12s %7s %11s %7s %7s %6s  %s\n' "$target" "$used" "$runs" "${edges:-?}" "$corpus" "${peak:-?}" "$result" | tee "$work/$target"
  [ $status -eq 0 ] || { cp "$log" "fuzz/artifacts/$target/log"; touch "$work/failed"; }
}

printf '%-12s %7s %11s %7s %7s %6s  %s\n' target 'CPU s' executions edges corpus 'peak MiB' result
for target in "$@"; do
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || true; done
  one "$target" &
done
wait
[ ! -e "$work/failed" ]
