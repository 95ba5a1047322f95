#!/bin/bash
# Rendered by pilotage for this machine (local).

module load conda
conda activate 'my env'

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
