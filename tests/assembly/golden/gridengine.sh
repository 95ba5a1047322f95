#!/bin/bash
# Rendered by pilotage for Grid Engine.
#$ -S /bin/bash
#$ -N @job_name@
#$ -o @run_dir@/@job_name@.stdout
#$ -e @run_dir@/@job_name@.stderr
#$ -cwd
#$ -l h_rt=00:30:00

export JOBNAME=@job_name@

set -e
export CORES=$(getconf _NPROCESSORS_ONLN)
[[ "1" == "1" ]] && echo "Found cores : $CORES"
WORKERCOUNT=1
FAILONANY=0
PIDS=""

CMD() {
/opt/python/bin/python3 -P -m pilotage.worker.pool --cwd @cwd@ --path @script_dir@ --driver @driver@ --   -a @address@ -p 0 -c 1.0 -m None --poll 10 --port=@worker_port@ --cert_dir @run_dir@/certificates --logdir=@run_dir@/gridengine --logconf=@run_dir@/log_config/log_config.pkl --block_id=@block_id@ --hb_period=30  --hb_threshold=120 --drain_period=1620 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
}
for COUNT in $(seq 1 1 $WORKERCOUNT); do
    [[ "1" == "1" ]] && echo "Launching worker: $COUNT"
    CMD $COUNT &
    PIDS="$PIDS $!"
done

ALLFAILED=1
ANYFAILED=0
for PID in $PIDS ; do
    wait $PID
    if [ "$?" != "0" ]; then
        ANYFAILED=1
    else
        ALLFAILED=0
    fi
done

[[ "1" == "1" ]] && echo "All workers done"
if [ "$FAILONANY" == "1" ]; then
    exit $ANYFAILED
else
    exit $ALLFAILED
fi
