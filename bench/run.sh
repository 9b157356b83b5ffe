#!/bin/bash
# Builds an example with selfsame and with bench/expert.sh, alternating, and prints the table of docs/performance.md.
#
#   bench/run.sh [RUNS] [RECIPE]            default: 3 runs of examples/live
#
# Cold: a store with the packages and nothing else; the expert has them in a mirror made by scripts/mirror.sh, kept in
# .cache/mirror. Then builds after a change, in the same store. One run of each takes turns, so that the ratio
# of a pair says something even on a machine that is not quiet. PACKERS are what the expert may choose from ("mksquashfs
# tar2sqfs", other ones by their paths): each packs the unpacked image once, and the fastest one is taken. WITH_LIVE_BUILD=1
# builds with live-build, too, in the same run (LIVE_BUILD is a variable of its own). The long ones each begin when the disk is at rest.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-3} recipe=${2:-examples/live}
lock=$recipe/selfsame.lock
mirror=$PWD/.cache/mirror
for program in mmdebstrap mksquashfs xorriso mkfs.fat mcopy; do
  type -P "$program" > /dev/null || { echo "error: $program is missing; scripts/oracles.sh installs it" >&2; exit 1; }
done
[ -x /usr/bin/time ] || { echo "error: GNU time is missing; scripts/oracles.sh installs it" >&2; exit 1; }
[ -n "${SELFSAME:-}" ] || cargo build --release --locked --quiet
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
boot_packages=(isolinux syslinux-common shim-signed grub-efi-amd64-signed)
scripts/mirror.sh "$mirror" "$lock" "${boot_packages[@]}" tree
# Both read the packages from memory.
find "$mirror/pool" -name '*.deb' -exec cat {} + > /dev/null

work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
table=$work/table
# measured WHO RUN COMMAND...: appends "who run wall cpu peak" in seconds, seconds and MiB.
measured() {
  local who=$1 run=$2
  shift 2
  if ! /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" > "$work/stdout" 2> "$work/stderr"; then
    cat "$work/stderr" >&2
    exit 1
  fi
  read -r wall user system peak < <(tail -n 1 "$work/time")
  awk -v who="$who" -v run="$run" -v wall="$wall" -v user="$user" -v sys="$system" -v peak="$peak" \
    'BEGIN { printf "%s %d %.1f %.1f %.0f\n", who, run, wall, user + sys, peak / 1024 }' | tee -a "$table" >&2
}
# settled: nobody pays for what went before. ext4 without a journal gives no inode out again for a minute after its file was
# removed, five while that is not written, and looks at each of them for every new file: 8 % of a cold build right
# behind the removal of another tree.
settled() {
  sync -f "$work"
  sleep 61
}
# build WHO RUN RECIPE [ARGUMENT...]
build() {
  local who=$1 run=$2 recipe=$3
  shift 3
  measured "$who" "$run" "$selfsame" build "$recipe" --quiet --json --store "$work/store" --out "$work/out" \
    --mirror "debian=file:$mirror" "$@"
}
# A copy of the recipe with a change: changed NAME COMMAND...
changed() {
  local copy=$work/$1
  rm -rf "$copy"
  cp -a "$recipe" "$copy"
  (cd "$copy" && eval "$2")
  [ "$2" = : ] || ! diff -r "$recipe" "$copy" > /dev/null || { echo "error: $recipe has nothing to change: $2" >&2; exit 1; }
  echo "$copy"
}
touched=$(changed touched 'echo changed >> files/etc/issue')
hooked=$(changed hooked 'for hook in hooks/*; do echo "# changed" >> "$hook"; done')
other=$(changed other 'sed -i "s/^name = .*/name = \"other\"/; s/^hostname = .*/hostname = \"other\"/" selfsame.toml')
more=$(changed more 'sed -i "s/^  \"zstd\",$/  \"zstd\",\n  \"tree\",/" selfsame.toml')
# Another version of a package in the middle of the groups: the same files under another number.
newer=$(changed newer :)
deb=$(find "$mirror/pool" -name 'nano_*.deb' | sort | tail -n 1)
dpkg-deb -R "$deb" "$work/nano"
sed -i 's/^Version: .*/&+bench1/' "$work/nano/DEBIAN/control"
dpkg-deb --root-owner-group -b "$work/nano" "$work/nano.deb" > /dev/null
awk -v size="$(stat -c %s "$work/nano.deb")" -v digest="$(sha256sum "$work/nano.deb" | cut -d' ' -f1)" '
  /^name = /{nano = $3 == "\"nano\""}
  nano && /^version = /{sub(/"$/, "+bench1\"")}
  nano && /^file = /{$0 = "file = { size = " size ", sha256 = \"" digest "\" }"}
  nano && /^path = /{$0 = "path = \"pool/bench/nano.deb\""}
  {print}' "$recipe/selfsame.lock" > "$newer/selfsame.lock"
! cmp -s "$recipe/selfsame.lock" "$newer/selfsame.lock" || { echo "error: the lock has no nano" >&2; exit 1; }
mkdir -p "$mirror/pool/bench"
cp "$work/nano.deb" "$mirror/pool/bench/nano.deb"
"$selfsame" build "$newer" --until fetch --quiet --store "$work/packages" --mirror "debian=file:$mirror" > /dev/null
rm -r "$mirror/pool/bench"
"$selfsame" build "$recipe" --until fetch --quiet --store "$work/packages" --mirror "debian=file:$mirror" > /dev/null
"$selfsame" lock "$more" --quiet --store "$work/packages" --mirror "debian=file:$mirror" > /dev/null
"$selfsame" build "$more" --until fetch --quiet --store "$work/packages" --mirror "debian=file:$mirror" > /dev/null
# Packs all of it once with each packer, for the expert to choose.
mkdir "$work/whole"
while read -r path; do dpkg-deb -x "$mirror/$path" "$work/whole"; done < <(grep -o 'pool/[^"[:space:]]*\.deb' "$lock" | sort -u)
fastest=''
for packer in ${PACKERS:-mksquashfs tar2sqfs}; do
  type -P "$packer" > /dev/null || { echo "packer $packer is not installed" >&2; continue; }
  began=$(date +%s%N)
  bench/pack.sh "$packer" "$work/whole" "$work/packed"
  took=$(($(date +%s%N) - began))
  echo "packer $packer: $((took / 1000000)) ms" >&2
  rm -f "$work/packed"
  [ -n "$fastest" ] && [ "$took" -ge "$fastest" ] || { fastest=$took; export PACKER=$packer; }
done
rm -rf --one-file-system "$work/whole"
for run in $(seq "$runs"); do
  # A store and a directory of the expert's own for each run: what removing the old ones costs is nobody's.
  rm -rf --one-file-system "$work/store" "$work/out" "$work/expert.iso" "$work/expert"
  mkdir "$work/store" "$work/expert"
  cp -a "$work/packages/blobs" "$work/packages/layout" "$work/store/"
  : > "$work/steps"
  settled
  STEPS=$work/steps WORK=$work/expert measured expert "$run" bench/expert.sh "$lock" "$mirror" "$work/expert.iso"
  settled
  build cold "$run" "$recipe"
  cp "$work/stdout" "$work/stages"
  build again "$run" "$recipe"
  build touched "$run" "$touched"
  cp "$work/stdout" "$work/touched.json"
  build hooked "$run" "$hooked"
  build other "$run" "$other"
  build more "$run" "$more"
  build newer "$run" "$newer"
  # The floor of a small change: the image written and hashed once.
  measured floor "$run" sh -c "cat $work/out/*.iso > $work/copy && sha256sum $work/copy"
  if [ -n "${WITH_LIVE_BUILD:-}" ]; then
    rm -rf --one-file-system "$work/expert"
    settled
    STEPS=$work/steps bench/live-build.sh "$lock" > "$work/live-build" || failed='live-build'
    cat "$work/live-build" >&2
    awk -v run="$run" '/^live-build/ { printf "live-build %d %s %s %s\n", run, $2, $5, $9 }' "$work/live-build" >> "$table"
  fi
done

echo
echo "$(nproc) processors, $(awk '/MemTotal/{printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), $runs paired runs of $recipe at $(git describe --always --dirty), medians; the expert packs with ${PACKER:-mksquashfs}"
echo
echo '| who | wall s | CPU s | peak MiB | wall, expert : who (each pair) |'
echo '|---|---|---|---|---|'
awk '
  function median(who, column,   n, i, j, swap, values) {
    n = 0
    for (i = 1; i <= rows; i++) if (name[i] == who) values[++n] = cell[i, column]
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && values[j - 1] > values[j]; j--) { swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap }
    return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
  }
  { rows++; name[rows] = $1; run[rows] = $2; for (c = 3; c <= 5; c++) cell[rows, c] = $c; wall[$1, $2] = $3; if ($2 > last) last = $2 }
  END {
    label["expert"] = "bench/expert.sh"; label["cold"] = "cold"; label["again"] = "nothing changed"
    label["touched"] = "one file of the overlay changed"; label["hooked"] = "a hook changed"
    label["other"] = "another image of the same packages"; label["more"] = "one package added"; label["newer"] = "one package upgraded"
    label["floor"] = "copy and sha256sum of the ISO"
    label["live-build"] = "bench/live-build.sh"
    count = split("expert live-build cold again touched hooked other more newer floor", order, " ")
    for (k = 1; k <= count; k++) {
      who = order[k]; ratios = ""
      if (!((who, 1) in wall)) continue
      for (r = 1; r <= last; r++) if ((who, r) in wall) ratios = ratios sprintf("%s%.2f", r > 1 ? ", " : "", wall["expert", r] / (wall[who, r] > 0 ? wall[who, r] : 0.01))
      printf "| %s | %.1f | %.1f | %.0f | %s |\n", label[who], median(who, 3), median(who, 4), median(who, 5), ratios
    }
    print "\n| aim | measured | met |\n|---|---|---|"
    cold = median("cold", 3)
    aim("cold, expert : selfsame, at least 1.8", median("expert", 3) / cold, 1.8, 1)
    if (("live-build", 1) in wall) aim("cold, live-build : selfsame, at least 4", median("live-build", 3) / cold, 4, 1)
    aim("another image of the same packages, expert : selfsame, at least 3", median("expert", 3) / median("other", 3), 3, 1)
    aim("one file changed, at most 3 s", median("touched", 3), 3, -1)
    aim("one file changed, at most 1.5 times the copy and hash", median("touched", 3) / median("floor", 3), 1.5, -1)
    aim("one package added, at most 30 % of a cold build", 100 * median("more", 3) / cold, 30, -1)
    aim("nothing changed, at most 0.5 s", median("again", 3), 0.5, -1)
  }
  function aim(what, is, limit, sign) { printf("| %s | %.2f | %s |\n", what, is, (sign * is >= sign * limit) ? "yes" : "no") }' "$table"
echo
echo "| stage | seconds (last cold run) |"
echo "|---|---|"
awk -F'"' '/"name":/{name = $4} /"seconds":/{gsub(/[^0-9.]/, "", $3); printf "| %s | %.1f |\n", name, $3}' "$work/stages"
sed 's/^live-build: /live-build, /; t; s/^/expert: /' "$work/steps" | sed 's/\(.*\) \(.*\)/| \1 | \2 |/'
echo
wc -c "$work"/out/*.iso "$work/expert.iso" | sed '/total/d' >&2
[ -z "${failed:-}" ] || { echo "error: $failed failed; its row is missing" >&2; exit 1; }
