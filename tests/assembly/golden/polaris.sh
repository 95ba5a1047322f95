#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/@job_name@.stdout
#PBS -e @run_dir@/@job_name@.stderr
#PBS -m n
#PBS -r n
#PBS -l select=1:ncpus=64:ngpus=4
#PBS -l walltime=01:00:00
#PBS -q debug
#PBS -l filesystems=home:eagle:grand

export JOBNAME=@job_name@

mpiexec -n 1 --ppn 1 --cpu-bind none --env TMPDIR=/tmp bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  '/opt/python/bin/python3 @run_dir@/polaris/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --on-each 1 --  --max_workers_per_node=4 -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/polaris --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=3300 --cpu-affinity list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39  --mpi-launcher=mpiexec --available-accelerators 0 1 2 3'
