#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/@job_name@.stdout
#PBS -e @run_dir@/@job_name@.stderr
#PBS -m n
#PBS -r n
#PBS -l select=1:ncpus=208
#PBS -l walltime=01:00:00
#PBS -q debug
#PBS -l filesystems=home:flare

export JOBNAME=@job_name@

mpiexec -n 1 --ppn 1 --cpu-bind none bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  '/opt/python/bin/python3 @run_dir@/aurora/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --  --max_workers_per_node=12 -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/aurora --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=3300 --cpu-affinity list:1-8,105-112:9-16,113-120:17-24,121-128:25-32,129-136:33-40,137-144:41-48,145-152:53-60,157-164:61-68,165-172:69-76,173-180:77-84,181-188:85-92,189-196:93-100,197-204  --mpi-launcher=mpiexec --available-accelerators 0.0 0.1 1.0 1.1 2.0 2.1 3.0 3.1 4.0 4.1 5.0 5.1'
