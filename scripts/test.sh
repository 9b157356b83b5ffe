#!/bin/bash
# Everything a change must pass: reference programs, layout, lints, documentation, every test, the examples built and
# compared with README's digests, and their ISO booted from CD under BIOS and from USB under UEFI.
#
#   scripts/test.sh          a missing reference program skips its tests
#   CI=1 scripts/test.sh     a missing reference program is a failure (what .ci/run does)
#
# Only one profile is compiled (dev: our code optimised a little, dependencies well), so that a clean clone needs
# under 40 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
SECONDS=0
step() {
  # After `||` nothing ends the shell: the status must be handed on by hand.
  local began=$SECONDS status=0
  printf '\n== %s\n' "$*"
  "$@" || status=$?
  printf '== %d s, %d s in all\n' $((SECONDS - began)) "$SECONDS"
  return "$status"
}
documentation() { RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked --quiet; }
tests() { cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"; }
nothing_left() {
  local left
  left=$(git status --porcelain --untracked-files=all)
  [ -z "$left" ] || { echo "the tests changed the working tree:"; echo "$left"; return 1; }
}

if ! step scripts/oracles.sh; then
  [ -z "${CI:-}" ] || exit 1
fi
before=$(git status --porcelain --untracked-files=all)
step cargo fmt --check
step cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step documentation
result=0
step tests || result=$?
printf '\n== what the test runners said\n'
grep -E '^(     Running|   Doc-tests|test result)' "$log" || true
grep -E '^test .* FAILED$|^skipped: ' "$log" | sort | uniq -c || true
# Only a tree that was clean before can show what the tests left behind.
[ -n "$before" ] || step nothing_left
exit "$result"
