#!/bin/bash
# Rendered by pilotage for Grid Engine.
#$ -S /bin/bash
#$ -N @job_name@
#$ -o @run_dir@/@job_name@.stdout
#$ -e @run_dir@/@job_name@.stderr
#$ -cwd
#$ -r n
#$ -w e
#$ -l h_rt=00:30:00
#$ -q all.q

export JOBNAME=@job_name@

/opt/python/bin/python3 @run_dir@/gridengine-lab/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --  --max_workers_per_node=2 -a 192.0.2.1 -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/gridengine-lab --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
