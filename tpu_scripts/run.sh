#!/usr/bin/env bash
# Begins a command on every worker and leaves it there, so that a connection that breaks ends nothing.
usage="[--dry-run] NAME ZONE COMMAND..."
source "$(dirname "$0")/common.sh"

# quoted twice: for the worker's shell, and for the one that outlives the connection and keeps the exit code
command=$(printf '%q ' "$@")
kept=$(printf %q "trap : TERM; $command; echo \$? >run.exit")
remote all "cd jattn || exit
if [ ! -f run.exit ] && kill -0 \"\$(cat run.pid 2>/dev/null)\" 2>/dev/null; then
  echo 'A command still runs here; follow it by log.sh, or end it by stop.sh.' >&2
  exit 1
fi
rm -f run.exit
PATH=\$PWD/.venv/bin:\$PATH setsid nohup bash -c $kept >run.log 2>&1 </dev/null &
echo \$! >run.pid"
