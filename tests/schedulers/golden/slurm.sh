#!/bin/bash
# Rendered by pilotage for Slurm.
#SBATCH --job-name=@job_name@
#SBATCH --output=@run_dir@/out
#SBATCH --error=@run_dir@/err
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
