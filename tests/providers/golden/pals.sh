mpiexec -n 2 --ppn 1 --cpu-bind none --env TMPDIR=/tmp bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  'python -P -m pool --cwd '"'"'/a folder'"'"' -a 192.0.2.1'
