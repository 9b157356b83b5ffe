#!/bin/sh
# The tests that take chances, as often as a release needs it; CI takes each a few times. Some 60 minutes on two processors.
#
#   scripts/gates.sh
#
# KILLS: how often a command is killed. FAULTS: how many calls of each kind fail, one after the other. CUTS: moments of a
# power cut, besides those of each sync. SETS: sets of packages for which apt must choose the same. FLIPS: bits that are changed in
# each kind of image, all of which `diff` must name. MUTANTS: damaged packages, which dpkg-deb must read as they are read here.
# MUTATIONS: how many times as many damaged inputs as in CI each reader must withstand. TREES: pairs of random trees that each
# reference program writes, and that must be read as it reads them.
set -eu
cd "$(dirname "$0")/.."
export CI=1 KILLS="${KILLS:-50}" FAULTS="${FAULTS:-300}" CUTS="${CUTS:-200}" SETS="${SETS:-100}" FLIPS="${FLIPS:-600}" \
  MUTANTS="${MUTANTS:-10000}" MUTATIONS="${MUTATIONS:-10}" TREES="${TREES:-50}"
cargo test -p selfsame-cli --locked --test it -- hardship:: hard_tag:: powercut:: crash:: rot::
cargo test -p selfsame-cli --locked --test examples -- tags::
cargo test -p selfsame-image --locked --test media
cargo test -p selfsame-image --locked --test archives -- damaged
cargo test -p selfsame-cli --locked --test fuzz -- readers
