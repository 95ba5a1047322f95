#!/bin/bash
# Rendered by pilotage for one host of a pool (ssh): localhost

export JOBNAME=@job_name@

PILOTAGE_INTERCHANGE=127.0.0.1:@loopback_port@ /opt/python/bin/python3 @run_dir@/ssh-pool/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --tunnelled --data shared=no --   -a 127.0.0.1 -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/ssh-pool --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5 --address_probe_timeout=120 --hb_threshold=900 --drain_period=None --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
