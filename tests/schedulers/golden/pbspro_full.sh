#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/out
#PBS -e @run_dir@/err
#PBS -m n
#PBS -r n
#PBS -l select=2:ncpus=64:ngpus=4
#PBS -l walltime=01:00:00
#PBS -q debug
#PBS -A physics
#PBS -l filesystems=home:eagle

# A command of worker_init that fails ends the block, in words; "|| true" after it lets it pass.
trap 'code=$?; [ -n "${BASH_SOURCE[1]-}" ] || { echo "worker_init failed (exit code $code): $BASH_COMMAND" >&2; exit $code; }' ERR
export PATH=/soft/bin:$PATH
trap - ERR

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
