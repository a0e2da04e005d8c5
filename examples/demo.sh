#!/usr/bin/env bash
# A broker on a free port, a few messages through it, and a look at its log. Everything in a temporary folder.
set -euo pipefail
foliomq=$(realpath "${1:-target/release/foliomq}")
folder=$(mktemp -d)
trap 'kill "$broker" 2>/dev/null || true; wait "$broker" 2>/dev/null || true; rm -rf "$folder"' EXIT

say() { printf '\n$ foliomq %s\n' "$*"; "$foliomq" "$@"; }

"$foliomq" serve --store-dir "$folder/store" --listen 127.0.0.1:0 --segment-size 16MiB >"$folder/ready" 2>&1 &
broker=$!
for _ in $(seq 100); do
  endpoint=$(grep -oE '127\.0\.0\.1:[0-9]+' "$folder/ready" | head -n 1 || true)
  [ -n "$endpoint" ] && break
  kill -0 "$broker" || { cat "$folder/ready"; exit 1; }
  sleep 0.1
done
export FOLIOMQ_ENDPOINT=$endpoint
cat "$folder/ready"

seq 1 10000 | sed 's/^/order /' >"$folder/orders"
say topic create orders --queues 4
say send orders --lines "$folder/orders"
say receive orders --group billing --max 3
say group describe billing
say topic describe orders
kill "$broker" && wait "$broker" || true
say inspect "$folder/store"
say verify "$folder/store"
