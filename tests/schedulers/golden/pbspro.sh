#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/out
#PBS -e @run_dir@/err
#PBS -m n
#PBS -r n
#PBS -l select=1:ncpus=1

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
