srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --label --mpi=none --cpu-bind=none --overlap --kill-on-bad-exit=0 --wait=0 --gpus-per-node=2 bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  'python -P -m pool --cwd '"'"'/a folder'"'"' -a 192.0.2.1'
