#!/bin/bash
# Every measurement of docs/performance.md, one after the other, as one page.
#
#   bench/all.sh [RUNS]                     default: 1 run each
#
# Takes some two hours on two processors, root, 30 GiB of disk, and an otherwise idle machine. What a peer is missing for is
# said, and the rest is measured all the same. Needs what scripts/oracles.sh installs.
set -uo pipefail
cd "$(dirname "$0")/.."

runs=${1:-1} failed=()
cargo build --release --locked --quiet --workspace --bins --examples || exit 1
export SELFSAME=$PWD/target/release/selfsame BUILT=1
part() {
  echo
  echo "## $1"
  echo
  shift
  "$@" || { failed+=("$*"); echo; echo "(failed: $*)"; }
}
echo "# selfsame $(git describe --always --dirty) on $(nproc) processors, $(date -u +%Y-%m-%d)"
part 'A live image: cold, warm, after changes, by hand and with live-build' env WITH_LIVE_BUILD=1 bench/run.sh "$runs"
part 'What an update leaves' bench/consecutive.sh
part 'SquashFS alone' env RUNS="$runs" bench/squashfs.sh
part 'Many small files' bench/squashfs.sh --many
part 'By number of packages' bench/growth.sh
part 'Differences' bench/diff.sh
part 'Normalising files' bench/normalise.sh
part 'A year of snapshots' bench/series.sh
part 'Serving' bench/serve.sh
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
