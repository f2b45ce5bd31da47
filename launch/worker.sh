#!/usr/bin/env bash
# One worker's part of a run on Cloud TPU: fetches the store, trains, starts again after a failure, saves on a notice of
# maintenance or preemption. cloud_tpu.py starts it on every worker, in the home folder:
#
#     worker.sh gs://bucket/run gs://bucket/store CONFIG [flags of bert_jax.train]
#
# Checkpoints go straight to gs://bucket/run/checkpoints; the first worker copies the rest of the work folder there
# once a minute. run.exit holds the exit code once the run has ended for good.
set -uo pipefail
workdir=$1 store=$2 config=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
home=${RUN_HOME:-$HOME}
python=${PYTHON:-$here/.venv/bin/python}
metadata=${METADATA:-http://metadata.google.internal/computeMetadata/v1/instance}
. "$here/launch/again.sh"

facts() { curl --silent --fail --max-time 5 --header "Metadata-Flavor: Google" "$metadata/$1"; }

copy_up() { gcloud storage rsync --recursive --exclude='^checkpoints/' "$home/run" "$workdir"; }

watch() { # saves before the machine goes: `again` hands the signal on
  while sleep "${POLL:-5}" > /dev/null 2>&1; do
    case "$(facts maintenance-event)$(facts preempted)" in
      *TERMINATE* | *MIGRATE* | *TRUE*) kill -TERM $$ && return ;;
    esac
  done
}

copy_now_and_then() { while sleep "${COPY_EVERY:-60}" > /dev/null 2>&1; do copy_up; done; }

first=$([ "$(facts attributes/agent-worker-number)" = 0 ] && echo yes)
mkdir -p "$home/run" "$home/store"
gcloud storage rsync --recursive "$store" "$home/store" || exit 1
if gcloud storage ls "$workdir" > /dev/null 2>&1; then
  gcloud storage rsync --recursive --exclude='^checkpoints/' "$workdir" "$home/run" || exit 1
fi

helpers=()
watch & helpers+=($!)
if [ -n "$first" ]; then copy_now_and_then & helpers+=($!); fi

cd "$here" || exit 1
again "$python" -m bert_jax.train --config="$config" --workdir="$home/run" \
  --config.data.store="$home/store" --config.checkpoints.folder="$workdir/checkpoints" "$@"
code=$?
kill "${helpers[@]}" 2>/dev/null
if [ -n "$first" ]; then copy_up; fi
echo "$code" > "$home/run.exit"
exit "$code"
