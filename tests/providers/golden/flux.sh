flux run --nodes=2 --ntasks=2 --exclusive --label-io --setopt=exit-timeout=none bash -c 'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} ${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}
exec bash -c "$1"' manager \
  'python -P -m pool --cwd '"'"'/a folder'"'"' -a 192.0.2.1'
