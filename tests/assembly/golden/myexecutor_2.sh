#!/bin/bash
# Rendered by pilotage for one host of a pool (ssh): azurecluster

# A command of worker_init that fails ends the block, in words; "|| true" after it lets it pass.
trap 'code=$?; [ -n "${BASH_SOURCE[1]-}" ] || { echo "worker_init failed (exit code $code): $BASH_COMMAND" >&2; exit $code; }' ERR
source "$HOME"'/my conda'/etc/profile.d/conda.sh
conda activate base
trap - ERR

export JOBNAME=@job_name@

PILOTAGE_INTERCHANGE=127.0.0.1:@loopback_port@ python @run_dir@/myexecutor_2/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --tunnelled --data shared=no --   -a 127.0.0.1 -p 0 -c 0.5 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/myexecutor_2 --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5 --address_probe_timeout=120 --hb_threshold=900 --drain_period=None --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
