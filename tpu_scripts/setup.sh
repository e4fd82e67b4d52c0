#!/usr/bin/env bash
# Copies this tree to every worker and installs it there; a network share, if named, becomes the workers' common runs/.
usage="[--dry-run] NAME ZONE [HOST:/SHARE]"
source "$(dirname "$0")/common.sh"

share=${1:-}
[[ ! $share || $share == ?*:/* ]] || fail "takes a share as HOST:/SHARE, got '$share'; 10.0.0.2:/runs is one."
files=()
for file in jattn experiments pyproject.toml setup.cfg README.md LICENSE NOTICE; do files+=("$here/../$file"); done

# what is no longer in jattn/ must not stay there: its folders say which parts there are
remote all "mkdir -p jattn && rm -rf jattn/jattn"
step gcloud compute tpus tpu-vm scp --recurse "${files[@]}" "$name:jattn/" --zone="$zone" --worker=all
# the images of TPU VMs have Python 3.10; uv brings another
remote all "cd jattn && python3 -m pip install --user --quiet uv && python3 -m uv venv --quiet --clear --python 3.12 &&
  python3 -m uv pip install --quiet --editable '.[train]' 'jax[tpu]'"
if [[ $share ]]; then
  remote all "sudo apt-get install --quiet --yes nfs-common && mkdir -p jattn/runs &&
    { mountpoint -q jattn/runs || sudo mount -t nfs $(printf %q "$share") jattn/runs; } && sudo chmod a+rwx jattn/runs"
fi
