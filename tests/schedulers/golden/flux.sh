#!/bin/bash
# Rendered by pilotage for Flux (flux batch).
#flux: --job-name=@job_name@
#flux: --output=@run_dir@/out
#flux: --error=@run_dir@/err
#flux: --nodes=1
#flux: --nslots=1

export JOBNAME=@job_name@

/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
