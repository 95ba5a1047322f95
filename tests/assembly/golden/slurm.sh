#!/bin/bash
# Rendered by pilotage for Slurm.
#SBATCH --job-name=@job_name@
#SBATCH --output=@run_dir@/@job_name@.stdout
#SBATCH --error=@run_dir@/@job_name@.stderr
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue
#SBATCH --time=00:30:00
#SBATCH --exclusive

export JOBNAME=@job_name@

srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --label --mpi=none --cpu-bind=none --overlap --kill-on-bad-exit=0 --wait=0 bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  '/opt/python/bin/python3 @run_dir@/slurm/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --   -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/slurm --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators'
