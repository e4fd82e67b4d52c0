#!/usr/bin/env bash
# Copies files and folders, named as they lie below the tree on the first worker, to the same places below WHERE.
usage="[--dry-run] NAME ZONE WHERE PATH..."
source "$(dirname "$0")/common.sh"

where=$1
shift
[[ -d $where ]] || fail "copies to a folder that is there, got '$where'; make it first."
# one archive of a plain name: how scp reads blanks in a path depends on its version
remote 0 "tar -C jattn -cf fetched.tar -- $(printf '%q ' "$@")"
step gcloud compute tpus tpu-vm scp "$name:fetched.tar" "$where/" --zone="$zone" --worker=0
step tar -C "$where" -xf "$where/fetched.tar"
step rm "$where/fetched.tar"
