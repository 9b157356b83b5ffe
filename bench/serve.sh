#!/bin/bash
# `selfsame snapshot serve` against nginx, both serving the same tag of examples/live on the loopback interface.
#
#   bench/serve.sh [SECONDS]                default: 10 seconds for each figure
#
# Small: the smallest package; large: the largest. wrk asks with 64 connections for the small one and with 4 for the large
# one. Installs wrk and nginx where it is root. nginx sends files with sendfile(2) from two workers, without a log.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
for program in wrk nginx; do
  type -P "$program" > /dev/null || PATH=$PATH:/usr/sbin type -P "$program" > /dev/null \
    || apt-get install -y -q --no-install-recommends "$program" > /dev/null
done
[ -n "${SELFSAME:-}" ] || cargo build --release --locked --quiet
selfsame=${SELFSAME:-$PWD/target/release/selfsame}
mirror=$PWD/.cache/mirror
scripts/mirror.sh "$mirror" examples/live/selfsame.lock isolinux syslinux-common shim-signed grub-efi-amd64-signed

work=$(mktemp -d "${TMPDIR:-/tmp}/serve.XXXXXX")
pids=()
clean() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2> /dev/null || true
  wait
  rm -rf --one-file-system "$work"
}
trap clean EXIT
chmod 755 "$work"
"$selfsame" snapshot tag examples/live "$work/tag" --quiet --store "$work/store" --mirror "debian=file:$mirror" > /dev/null
chmod -R a+rX "$work/tag"
serial=$(sed -n 's/^serial = "\(.*\)"/\1/p' "$work/tag/selfsame.lock" | head -n 1)

"$selfsame" snapshot serve --listen 127.0.0.1:0 --tag "$work/tag" --offline --store "$work/store" > "$work/ready" &
pids+=($!)
cat > "$work/nginx.conf" <<CONF
worker_processes 2;
pid $work/nginx.pid;
error_log $work/error.log;
daemon off;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path $work; proxy_temp_path $work; fastcgi_temp_path $work; uwsgi_temp_path $work; scgi_temp_path $work;
  server { listen 127.0.0.1:18080; root $work/tag; }
}
CONF
PATH=$PATH:/usr/sbin nginx -c "$work/nginx.conf" -p "$work" &
pids+=($!)
until [ -s "$work/ready" ] && curl -s -o /dev/null http://127.0.0.1:18080/SHA256SUMS; do sleep 0.1; done
own=$(head -n 1 "$work/ready")debian/$serial peer=http://127.0.0.1:18080/debian
by_size() { (cd "$work/tag/debian" && find pool -name '*.deb' -printf '%s %p\n' | sort -n); }
small=$(by_size | head -n 1) large=$(by_size | tail -n 1)

# figure URL CONNECTIONS: requests a second and bytes a second.
figure() {
  curl -s -o /dev/null --fail "$1"
  wrk -t 2 -c "$2" -d "${seconds}s" "$1" > "$work/wrk"
  if grep -q 'Non-2xx\|Socket errors' "$work/wrk"; then cat "$work/wrk" >&2; exit 1; fi
  awk '/^Requests\/sec/{requests = $2} /^Transfer\/sec/{value = $2; unit = value; gsub(/[0-9.]/, "", unit); gsub(/[^0-9.]/, "", value)
      factor["KB"] = 1 / 1024; factor["MB"] = 1; factor["GB"] = 1024; mib = value * factor[unit]}
    END {printf "%.0f %.0f\n", requests, mib}' "$work/wrk"
}
echo '| object | server | requests/s | MiB/s | of nginx |'
echo '|---|---|---|---|---|'
for object in "small $small 64" "large $large 4"; do
  read -r name size path connections <<< "$object"
  # nginx first, then both once more: the second pair counts.
  figure "$peer/$path" "$connections" > /dev/null
  figure "$own/$path" "$connections" > /dev/null
  read -r peer_requests peer_rate <<< "$(figure "$peer/$path" "$connections")"
  read -r own_requests own_rate <<< "$(figure "$own/$path" "$connections")"
  echo "| $name, $size bytes | nginx | $peer_requests | $peer_rate | |"
  awk -v name="$name, $size bytes" -v requests="$own_requests" -v rate="$own_rate" -v peer="$peer_requests" \
    'BEGIN { printf "| %s | selfsame | %d | %d | %.2f |\n", name, requests, rate, requests / peer }'
done
