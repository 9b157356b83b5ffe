#!/bin/bash
# What an update leaves of an image: builds examples/live by its lock, then by one that has today's state of Debian's updates
# and security archive as well, and counts the blocks of unchanged files that both have.
#
#   bench/consecutive.sh [RECIPE] [PERCENT]   fails if fewer than so many of these blocks are shared (default: 90)
#
# Needs this machine's APT sources to have bookworm, its updates and its security archive. What they hold changes, and the
# figures with it.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=${1:-examples/live}
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet --workspace --bins --examples
least=${2:-90}
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
cp -a "$recipe" "$work/before"
# The SquashFS of the ISO image beside it.
sed -i 's/^outputs = .*/outputs = ["iso", "squashfs"]/' "$work/before/selfsame.toml"
cp -a "$work/before" "$work/after"
sed -i -e 's/^suites = \["bookworm"\]/suites = ["bookworm", "bookworm-updates"]/' \
  -e 's/^\[packages\]/[archives.security]\nmirrors = ["auto"]\nsuites = ["bookworm-security"]\nkeys = "debian"\n\n&/' \
  "$work/after/selfsame.toml"
"$selfsame" lock "$work/after" --store "$work/store"
! cmp -s "$work/before/selfsame.lock" "$work/after/selfsame.lock" || { echo "error: nothing was upgraded" >&2; exit 1; }
for which in before after; do
  "$selfsame" build "$work/$which" --quiet --json --store "$work/store" --out "$work/$which.out" |
    sed -n 's/^ *"compressed": \([0-9]*\).*/'"$which"': \1 runs and fragments compressed/p'
done
target/release/examples/shared_blocks "$work"/before.out/*.squashfs "$work"/after.out/*.squashfs "$least"
