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
mpiexec -n 2 "${spread[@]}" bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  'python -P -m pool --cwd '"'"'/a folder'"'"' -a 192.0.2.1'
