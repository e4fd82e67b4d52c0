# shellcheck shell=bash disable=SC2034
# What the scripts share: it takes options, NAME and ZONE off the words of a script, and leaves the rest in "$@".
set -euo pipefail
: "${usage:?is set by a script before it sources this file}"
script=$(basename "$0") here=$(dirname "$0") dry_run="" queued="" least=0 most=0

fail() {
  echo "$script $1" >&2
  exit "${2:-2}"
}

# runs a command, or with --dry-run prints it as one could type it; where it fails nothing after it is run
step() {
  if [[ $dry_run ]]; then printf '%q ' "$@" && echo && return; fi
  command -v "$1" >/dev/null || fail "needs $1, found none on PATH; install it." 127
  "$@" || fail "stopped: ${*:1:5} ended with exit code $?; what it says stands above." $?
}

# runs shell words on one worker of the slice, or on "all"; `also` runs another script on the same slice
remote() { step gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$1" --command="$2"; }
also() { "$here/$1" ${dry_run:+"$dry_run"} "$name" "$zone" "${@:2}"; }

while [[ ${1:-} == -* ]]; do
  [[ $1 != --help ]] || { echo "usage: $script $usage" && exit; }
  [[ $usage == *"[$1]"* ]] || fail "takes no option $1; usage: $script $usage."
  if [[ $1 == --queued ]]; then queued=$1; else dry_run=$1; fi
  shift
done
read -ra words <<<"$usage"
for word in "${words[@]}"; do
  # a name in capitals must be given, one in brackets may be, one with dots any number of times
  [[ $word != [[:upper:]]* ]] || least=$((least + 1))
  [[ $word != *[[:upper:]]* ]] || most=$((most + 1))
  [[ $word != *...* ]] || most=$#
done
for word; do [[ $word != --dry-run ]] || fail "takes --dry-run as its first word, got it later; nothing was run."; done
(($# >= least && $# <= most)) || fail "takes $usage, got $# words; README.md has examples."
for word in "${@:1:least}"; do [[ $word && $word != -* ]] || fail "takes $usage, got '$word' for a word."; done
name=$1 zone=$2 && shift 2
