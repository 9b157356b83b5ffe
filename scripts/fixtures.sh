#!/bin/bash
# Fetches the source package of diffoscope into a directory and unpacks it there. Its test data is what comparers of
# other people are judged by; it is under the GPL and is not kept here.
#
#   scripts/fixtures.sh DIR      prints the directory with the test data
#
# pip fetches it from the index that this machine has for it, as root and as anybody else. Nothing of it is installed.
set -euo pipefail
version=332
digest=da858807ce2535f1bb5c3942020b01c7aef14f870257c964b70cd4e1f2333206

[ $# -eq 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
name=diffoscope-$version
if [ ! -d "$name" ]; then
  new=$(mktemp -d "$PWD/.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  echo "diffoscope==$version --hash=sha256:$digest" > "$new/requirements.txt"
  python3 -m pip download --quiet --no-deps --no-binary diffoscope --require-hashes --no-cache-dir \
    --requirement "$new/requirements.txt" --dest "$new" >&2
  # pip looked at the digest; what is unpacked is looked at again.
  echo "$digest  $new/$name.tar.gz" | sha256sum --quiet -c >&2
  tar -xzf "$new/$name.tar.gz" -C "$new" --no-same-owner
  # By rename: nobody sees a half of it.
  mv "$new/$name" "$name" 2> /dev/null || [ -d "$name" ]
fi
echo "$PWD/$name/tests/data"
