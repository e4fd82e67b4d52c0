#!/usr/bin/env bash
# Runs a command on GPU nodes of a Slurm cluster, a process a GPU: sbatch --nodes=2 slurm.sh jattn train ...
#SBATCH --job-name=jattn
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --signal=TERM@120
set -euo pipefail

fail() {
  echo "slurm.sh $1" >&2
  exit 2
}

usage="[--dry-run] COMMAND..."
[[ ${1:-} != --help ]] || { echo "usage: slurm.sh $usage" && exit; }
dry_run=""
if [[ ${1:-} == --dry-run ]]; then dry_run=yes && shift; fi
(($#)) || fail "takes $usage, got no command; submit it by sbatch slurm.sh jattn train."
[[ $1 != -* ]] || fail "takes no option $1; sbatch's own come before slurm.sh."
# where one process dies the others would wait for it
command=(srun --kill-on-bad-exit=1 "$@")
if [[ $dry_run ]]; then printf '%q ' "${command[@]}" && echo && exit; fi
[[ ${SLURM_JOB_ID:-} ]] || fail "runs inside a job, found none; submit it by sbatch --nodes=2 slurm.sh jattn train."
exec "${command[@]}"
