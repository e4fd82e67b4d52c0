#!/usr/bin/env bash
# Asks the command of run.sh to save and end, on every worker; log.sh shows how it does.
usage="[--dry-run] NAME ZONE"
source "$(dirname "$0")/common.sh"

# shellcheck disable=SC2016 # for the shell of the worker
remote all 'cd jattn && [ -f run.pid ] && [ ! -f run.exit ] && kill -TERM -- "-$(cat run.pid)" ||
  { echo "Nothing runs here." >&2; exit 1; }'
