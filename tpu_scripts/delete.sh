#!/usr/bin/env bash
# Deletes a slice and all that lies on it; with --queued its request too. Nothing is asked first.
usage="[--dry-run] [--queued] NAME ZONE"
source "$(dirname "$0")/common.sh"

if [[ $queued ]]; then
  step gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
else
  step gcloud compute tpus tpu-vm delete "$name" --zone="$zone" --quiet
fi
