#!/bin/bash
# Rendered by pilotage for Flux (flux batch).
#flux: --job-name=@job_name@
#flux: --output="/home/ada/my runs/out"
#flux: --error=@run_dir@/err
#flux: --nodes=4
#flux: --nslots=4
#flux: --queue=pdebug
#flux: --bank=guests
#flux: --cores-per-slot=48
#flux: --gpus-per-slot=8
#flux: --time-limit=1800s
#flux: --exclusive
#flux: --setattr=system.cwd=/tmp

export JOBNAME=@job_name@

flux run -N4 -n4 /env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none
