#!/bin/bash
# Fetches what other people's programs are tested with into a directory and unpacks it there. It is under the GPL and is not
# kept here.
#
#   scripts/fixtures.sh DIR                         test data of diffoscope: what comparers are judged by
#   scripts/fixtures.sh DIR strip-nondeterminism    files before and after it: what normalisers are judged by
#
# Prints the directory with the test data. pip fetches diffoscope from the index that this machine has for it, apt the source package
# of strip-nondeterminism from the archive in this machine's own sources, as root and as anybody else. Nothing is installed.
set -euo pipefail

[ $# -eq 1 ] || [ "$#-${2:-}" = 2-strip-nondeterminism ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"

# Checks the digest of $new/FILE, unpacks it, and renames it to NAME: nobody sees a half of it.
unpack() {
  local file=$1 digest=$2 name=$3
  echo "$digest  $new/$file" | sha256sum --quiet -c >&2
  mkdir "$new/tree"
  tar -xf "$new/$file" -C "$new/tree" --strip-components=1 --no-same-owner
  mv "$new/tree" "$name" 2> /dev/null || [ -d "$name" ]
}

diffoscope() {
  local version=332 digest=da858807ce2535f1bb5c3942020b01c7aef14f870257c964b70cd4e1f2333206
  local name=diffoscope-$version
  if [ ! -d "$name" ]; then
    echo "diffoscope==$version --hash=sha256:$digest" > "$new/requirements.txt"
    python3 -m pip download --quiet --no-deps --no-binary diffoscope --require-hashes --no-cache-dir \
      --requirement "$new/requirements.txt" --dest "$new" >&2
    unpack "$name.tar.gz" "$digest" "$name"
  fi
  echo "$PWD/$name/tests/data"
}

strip_nondeterminism() {
  local version=1.13.1 digest=0bde4b23edd6cdb82fcdc4745ef9dc8ca0743e7c7e4fb2ea0bf78c76511f49f3 suite=bookworm base state=$new/apt
  local name=strip-nondeterminism-$version
  if [ ! -d "$name" ]; then
    # apt itself says where it would fetch from. A private one asks there for sources, too.
    base=$(apt-get --print-uris update | sed -n "s,^'\(.*\)/dists/$suite/InRelease'.*,\1,p" | head -n 1)
    [ -n "$base" ] || { echo "error: this machine's APT sources have no suite $suite" >&2; exit 1; }
    mkdir -p "$state"/etc/apt/{preferences.d,apt.conf.d,trusted.gpg.d,sources.list.d} "$state"/var/lib/apt/lists/partial \
      "$state"/var/cache/apt/archives/partial "$state"/var/lib/dpkg
    : > "$state/var/lib/dpkg/status"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $base $suite main" > "$state/etc/apt/sources.list"
    local options=(-o "Dir=$state" -o "Dir::State::status=$state/var/lib/dpkg/status" -o APT::Sandbox::User=
      -o Acquire::Languages=none -o Acquire::Retries=3)
    apt-get "${options[@]}" -q update >&2
    (cd "$new" && apt-get "${options[@]}" -q source --download-only --tar-only "strip-nondeterminism=$version-1" >&2)
    unpack "strip-nondeterminism_$version.orig.tar.bz2" "$digest" "$name"
  fi
  echo "$PWD/$name/t"
}

new=$(mktemp -d "$PWD/.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
case ${2:-} in
  '') diffoscope ;;
  *) strip_nondeterminism ;;
esac
