#!/bin/bash
# A Ray cluster for one job: every node of it works, and the first one drives. `sbatch slurm-ray.sh`
#SBATCH --job-name=dbvad --nodes=4 --ntasks-per-node=1 --cpus-per-task=32 --gpus-per-node=1 --time=12:00:00
set -euo pipefail

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(openssl rand -hex 16)" RAY_USAGE_STATS_ENABLED=0
# An address of the first node that the others reach it by, and a port that is not another job's.
head="$(srun --nodes=1 --ntasks=1 hostname --ip-address | awk '{print $1}')"
port=$((20000 + SLURM_JOB_ID % 10000))
node="--num-cpus=$SLURM_CPUS_PER_TASK --num-gpus=${SLURM_GPUS_ON_NODE:-0} --object-store-memory=100000000 --block"

srun --overlap --nodes=1 --ntasks=1 -w "$SLURMD_NODENAME" \
    ray start --head --node-ip-address="$head" --port="$port" --include-dashboard=false $node &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
    srun --overlap --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) -x "$SLURMD_NODENAME" \
        ray start --address="$head:$port" $node &
fi
sleep 20  # who joins later is used from then on

dbvad pipeline run --engine ray --address "$head:$port"
