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

set -e
export CORES=$SLURM_CPUS_ON_NODE
export NODES=$SLURM_JOB_NUM_NODES

[[ "1" == "1" ]] && echo "Found cores : $CORES"
[[ "1" == "1" ]] && echo "Found nodes : $NODES"
WORKERCOUNT=1
SCRIPT_DIR="@run_dir@"
[[ -d $SCRIPT_DIR ]] || SCRIPT_DIR=""

cat << SLURM_EOF > ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$SLURM_JOB_NAME.sh
/opt/python/bin/python3 -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --   -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/slurm --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=30  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
SLURM_EOF
chmod a+x ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$SLURM_JOB_NAME.sh

srun --ntasks 1 -l  bash ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$SLURM_JOB_NAME.sh

[[ "1" == "1" ]] && echo "Done"
