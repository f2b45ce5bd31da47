# Sourced by the other scripts. again COMMAND…: runs the command, and again as long as it says that it can go on.
#
# Exit codes of bert_jax.train: 0 done; 1 and 2 something to correct first; anything else was not the run's own fault
# (75 another process lost, 130 told to stop, 134 and 137 aborted or killed), and the same command goes on from the
# newest checkpoint. SIGTERM ends the loop: it is handed to the command, which saves.

PAUSE=${PAUSE:-20}      # seconds until the next try: the other processes need some to notice
TRIES=${TRIES:-1000}

again() {
  local code try stopping=""
  for ((try = 1; try <= TRIES; try++)); do
    "$@" &
    child=$!
    trap 'stopping=1; kill -TERM "$child" 2>/dev/null' TERM
    while :; do
      wait "$child"
      code=$?
      kill -0 "$child" 2>/dev/null || break  # a signal ends `wait`, not the command
    done
    trap - TERM
    case $code in 0 | 1 | 2) return "$code" ;; esac
    if [ -n "$stopping" ]; then return "$code"; fi
    echo "the run ended with exit code $code; going on from its newest checkpoint in $PAUSE s" >&2
    sleep "$PAUSE"
  done
  return "$code"
}
