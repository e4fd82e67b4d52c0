#!/usr/bin/env bash
# Trains every run of a claim on a slice of one host, reports, and brings the results home, where they are committed.
usage="[--dry-run] NAME ZONE CLAIM"
source "$(dirname "$0")/common.sh"

folder=experiments/$1
for file in run.py report.py; do
  [[ -f $here/../$folder/$file ]] || fail "takes a folder of experiments/ with run.py and report.py, got '$1'."
done
also run.sh jattn sweep "$folder/run.py"
also log.sh
also run.sh python "$folder/report.py"
also log.sh
also fetch.sh "$here/.." "$folder/results"
