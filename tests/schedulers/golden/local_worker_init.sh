#!/bin/bash
# Rendered by pilotage for this machine (local).

# A command of worker_init that fails ends the block, in words; "|| true" after it lets it pass.
trap 'code=$?; [ -n "${BASH_SOURCE[1]-}" ] || { echo "worker_init failed (exit code $code): $BASH_COMMAND" >&2; exit $code; }' ERR
module load conda
conda activate 'my env'
trap - ERR

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
