#!/bin/bash
# Rendered by pilotage for PBS Pro.
#PBS -S /bin/bash
#PBS -N @job_name@
#PBS -o @run_dir@/@job_name@.stdout
#PBS -e @run_dir@/@job_name@.stderr
#PBS -m n
#PBS -l select=1:ncpus=208
#PBS -l walltime=01:00:00
#PBS -q debug
#PBS -l filesystems=home:flare

export JOBNAME=@job_name@

set -e
export CORES=$(getconf _NPROCESSORS_ONLN)
[[ "1" == "1" ]] && echo "Found cores : $CORES"
WORKERCOUNT=1
SCRIPT_DIR="@run_dir@"
[[ -d $SCRIPT_DIR ]] || SCRIPT_DIR=""

# Deduplicate the nodefile
HOSTFILE="$JOBNAME.nodes"
if [ -z "$PBS_NODEFILE" ]; then
    echo "localhost" > $HOSTFILE
else
    sort -u $PBS_NODEFILE > $HOSTFILE
fi

cat << MPIEXEC_EOF > ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh
/opt/python/bin/python3 -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --  --max_workers_per_node=12 -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/aurora --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=30  --hb_threshold=120 --drain_period=3300 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators 0.0 0.1 1.0 1.1 2.0 2.1 3.0 3.1 4.0 4.1 5.0 5.1
MPIEXEC_EOF
chmod u+x ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh

mpiexec --cpu-bind none --ppn 1 -n $WORKERCOUNT --hostfile $HOSTFILE /usr/bin/sh ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh

[[ "1" == "1" ]] && echo "All workers done"
