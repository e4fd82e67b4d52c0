#!/usr/bin/env bash
# Shows what the command of run.sh says on one worker, the first unless named, until it ends, and has its exit code.
usage="[--dry-run] NAME ZONE [WORKER]"
source "$(dirname "$0")/common.sh"

[[ ${1:-0} =~ ^[0-9]+$ ]] || fail "takes the number of a worker, got '$1'; the first is 0."
# shellcheck disable=SC2016 # for the shell of the worker
remote "${1:-0}" 'cd jattn && [ -f run.pid ] || { echo "Nothing was begun here; begin it by run.sh." >&2; exit 1; }
tail --lines=+1 --follow=name --pid="$(cat run.pid)" run.log
[ -f run.exit ] || { echo "The command was killed." >&2; exit 137; }
exit "$(cat run.exit)"'
