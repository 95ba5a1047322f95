#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/@job_name@.stdout
#PBS -e @run_dir@/@job_name@.stderr
#PBS -m n
#PBS -r n
#PBS -l select=1:ncpus=1
#PBS -l walltime=00:30:00

export JOBNAME=@job_name@

# The job's nodes, in the scheduler's order, the first one first.
hosts=$(if [ -n "${SLURM_JOB_NODELIST:-}" ]; then scontrol show hostnames "$SLURM_JOB_NODELIST"
elif [ -n "${PBS_NODEFILE:-}" ]; then cat "$PBS_NODEFILE"
elif [ -n "${PE_HOSTFILE:-}" ]; then cut -d" " -f1 "$PE_HOSTFILE"
else uname -n; fi | awk '!seen[$0]++' | paste -sd, -)
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
case $(mpiexec --version 2>&1) in
*"Open MPI"* | *OpenRTE* | *PRRTE*) spread=(--host "$hosts" --map-by ppr:1:node --bind-to none) ;;
*PALS* | *pals*) spread=(--ppn 1 --cpu-bind none) ;;
*HYDRA* | *Intel*) spread=(-ppn 1 -hosts "$hosts") ;;
*) echo "cannot tell which mpiexec this is ($(command -v mpiexec || echo none is on the PATH)):" \
  "set launcher.class to openmpi, mpich or pals" >&2; exit 127 ;;
esac
mpiexec -n 1 "${spread[@]}" bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  '/opt/python/bin/python3 @run_dir@/pbspro/expected.py python=3.11 parsl=2026.11.9 pilotage=0.1.0 -- -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --   -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/pbspro --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=5  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators'
