#!/bin/bash
# Rendered by pilotage for this machine (local).

export JOBNAME=@job_name@

/opt/python/bin/python3 -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --mpi mpiexec --  --max_workers_per_node=1 -a @address@ -p 0 -c 1e-09 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/laptop-mpi --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=30  --hb_threshold=120 --drain_period=None --cpu-affinity none --enable_mpi_mode  --mpi-launcher=mpiexec --available-accelerators
