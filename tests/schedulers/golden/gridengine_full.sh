#!/bin/bash
# Rendered by pilotage for Grid Engine.
#$ -S /bin/bash
#$ -N @job_name@
#$ -o "/home/ada/my runs/out"
#$ -e @run_dir@/err
#$ -cwd
#$ -r n
#$ -w e
#$ -l h_rt=100:00:00
#$ -q all.q,short.q
#$ -pe mpi 4

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
