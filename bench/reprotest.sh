#!/bin/bash
# reprotest on the corpus of leaks (fixtures/leaks), beside what `selfsame check` finds in it.
#
#   bench/reprotest.sh [RUNS]      default: 1
#
# reprotest builds the corpus as a program would be built: a script runs each leak and leaves what it prints in a file. It does so
# twice, with all its variations that work here, and compares the files. Prints for each leak whether it was found, and a sum;
# which variation was at fault reprotest does not tell of a file. Needs root, reprotest, disorderfs, faketime and locales-all.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-1}
command -v reprotest > /dev/null || { echo "error: reprotest is missing: apt install reprotest" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/source"
cp -r fixtures/leaks "$work/source/"
# Each leak as the hook of the test runs it: in a directory of its own, in a shell of its own.
cat > "$work/source/build" <<'BUILD'
#!/bin/sh
mkdir -p out
for leak in leaks/*; do
  name=$(basename "$leak")
  mkdir "work-$name"
  (cd "work-$name" && sh "../$leak") > "out/$name" 2> /dev/null || :
  rm -rf "work-$name"
done
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw -cf out.tar out
BUILD
chmod +x "$work/source/build"
for run in $(seq "$runs"); do
  store=$work/$run
  (cd "$work/source" && reprotest --no-diffoscope --store-dir "$store" --vary "${VARY:-+all}" -c ./build . out.tar -- null) \
    > "$work/log" 2>&1 || :
  mkdir -p "$work/control-$run" "$work/experiment-$run"
  one=$(find "$store" -path "*control*" -name out.tar 2> /dev/null | head -1 || :)
  other=$(find "$store" -path "*experiment*" -name out.tar 2> /dev/null | head -1 || :)
  [ -n "$one" ] && [ -n "$other" ] || { tail -20 "$work/log" >&2; echo "error: reprotest left nothing to compare" >&2; exit 1; }
  tar -xf "$one" -C "$work/control-$run"
  tar -xf "$other" -C "$work/experiment-$run"
done
found=0 all=0 missed=
for leak in fixtures/leaks/*; do
  name=$(basename "$leak")
  all=$((all + 1))
  seen=
  for run in $(seq "$runs"); do
    [ -e "$work/control-$run/out/$name" ] || { echo "error: no output of $name" >&2; exit 1; }
    cmp -s "$work/control-$run/out/$name" "$work/experiment-$run/out/$name" || seen=yes
  done
  if [ -n "$seen" ]; then found=$((found + 1)); else missed="$missed $name"; fi
done
echo "found: $found of $all; missed:$missed"
