#!/bin/bash
# Rendered by pilotage for Flux (flux batch).
#flux: --job-name=@job_name@
#flux: --output=@run_dir@/@job_name@.stdout
#flux: --error=@run_dir@/@job_name@.stderr
#flux: --nodes=1
#flux: --nslots=1
#flux: --time-limit=1800s
#flux: --exclusive

export JOBNAME=@job_name@

flux run --nodes=1 --ntasks=1 --exclusive --label-io --setopt=exit-timeout=none bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  '/opt/python/bin/python3 @run_dir@/flux/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --   -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/flux --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators'
