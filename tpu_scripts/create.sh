#!/usr/bin/env bash
# Makes a TPU slice; with --queued it waits in Google's queue until there is room for it.
usage="[--dry-run] [--queued] NAME ZONE TYPE VERSION [GCLOUD_FLAG...]"
source "$(dirname "$0")/common.sh"

slice=(--zone="$zone" --accelerator-type="$1")
version=$2
shift 2
if [[ ! $queued ]]; then
  step gcloud compute tpus tpu-vm create "$name" "${slice[@]}" --version="$version" "$@"
  exit
fi
# request and slice have one name, so that the other scripts find the slice by it
step gcloud compute tpus queued-resources create "$name" --node-id="$name" "${slice[@]}" \
  --runtime-version="$version" "$@"
while true; do
  state=$(step gcloud compute tpus queued-resources describe "$name" --zone="$zone" "--format=value(state.state)")
  [[ ! $dry_run ]] || { echo "$state" && exit; }
  echo "$name: $state"
  case $state in
    ACTIVE) exit ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING)
      fail "waits for a request that can become ACTIVE, got $state; end it by delete.sh --queued and ask anew." 1
      ;;
  esac
  sleep 30
done
