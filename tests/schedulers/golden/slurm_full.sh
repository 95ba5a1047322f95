#!/bin/bash
# Rendered by pilotage for Slurm.
#SBATCH --job-name=parsl.cpu.block-0.1763.5
#SBATCH --output="/home/ada/my runs/100%%.out"
#SBATCH --error=@run_dir@/err
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --no-requeue
#SBATCH --time=36:00:00
#SBATCH --partition=gpu
#SBATCH --account=physics
#SBATCH --qos="high#1"
#SBATCH --constraint=a100&[rack1|rack2]
#SBATCH --clusters=c1,c2
#SBATCH --reservation="maint#2"
#SBATCH --gpus-per-node=4
#SBATCH --gres=gpu:a100:4,nvme:1
#SBATCH --cpus-per-task=32
#SBATCH --mem=200G
#SBATCH --exclusive
#SBATCH --mail-type=END

# A command of worker_init that fails ends the block, in words; "|| true" after it lets it pass.
trap 'code=$?; [ -n "${BASH_SOURCE[1]-}" ] || { echo "worker_init failed (exit code $code): $BASH_COMMAND" >&2; exit $code; }' ERR
module load conda
trap - ERR

export JOBNAME=parsl.cpu.block-0.1763.5
export PARSL_MEMORY_GB=200
export PARSL_CORES=32

srun --ntasks 4 bash -c '/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none'
