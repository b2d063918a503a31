#!/bin/bash
# 16 jobs, each with its part of the videos, on one shared folder. `sbatch slurm-shards.sh`, again after a failure.
#SBATCH --job-name=dbvad --array=1-16 --cpus-per-task=8 --gpus-per-task=1 --time=12:00:00
set -euo pipefail

dbvad pipeline run --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
