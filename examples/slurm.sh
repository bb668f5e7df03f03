#!/bin/bash
# A Slurm array over a plan: each of its tasks takes the part that its index says, on a folder that all nodes see.
#
#     llorch batch plan /models -o plan.jsonl
#     sbatch --array=1-8 examples/slurm.sh plan.jsonl /shared/converted
#
# Killed by the time limit or preempted, it is submitted again as it is: what is finished is skipped.

#SBATCH --job-name=llorch-batch
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue

set -euo pipefail

plan=${1:?usage: slurm.sh PLAN.jsonl DIR}
out=${2:?usage: slurm.sh PLAN.jsonl DIR}
memory_mb=${SLURM_MEM_PER_NODE:-16384}

# The shard is read from SLURM_ARRAY_TASK_ID. exec, so that Slurm's signal reaches the driver, which gives its claims back.
exec llorch batch run "$plan" --out "$out" \
    --workers "${SLURM_CPUS_PER_TASK:-1}" \
    --memory "${memory_mb}MiB" \
    --scratch "${TMPDIR:-/tmp}/llorch-${SLURM_JOB_ID:-0}"
