#!/usr/bin/env bash
# Measures on a slice of one host what `jattn bench` measures, all or what is named, and brings bench.json here.
usage="[--dry-run] NAME ZONE [BENCHMARK...]"
source "$(dirname "$0")/common.sh"

remote 0 "cd jattn && python3 -m uv pip install --quiet --torch-backend=cpu --editable '.[bench]'"
also run.sh jattn bench "$@" --json bench.json
also log.sh
also fetch.sh . bench.json
