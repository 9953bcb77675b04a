#!/usr/bin/env bash
# A sweep on Slurm: a Ray cluster over the nodes of one job, which goes on in a job after it when its time is up.
#
#   sbatch configs/cluster/slurm.sh grid.yaml --out /shared/results/my-sweep
#
# What stands behind the file's name goes to `sweep run`. Needs on every node: the same virtual environment (activate it before
# sbatch), and the results folder at the same path. 120 s before the time limit Slurm sends USR1: running epochs end and are
# kept, the job goes back into the queue, and the next one goes on from there. `scancel` stops for good; run it again by sbatch.
# docs/clusters.md has more.
#SBATCH --job-name=sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
# For GPUs: #SBATCH --gpus-per-node=2, and `resources: {gpus: 0.5}` in the grid file.

set -euo pipefail
if [ $# -eq 0 ]; then
  echo "Error: a grid file is missing: sbatch slurm.sh grid.yaml [options of sweep run]" >&2
  exit 2
fi

# Only who knows this job's token can use its cluster. It is in no file and on no command line.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
address="$head:$((20000 + SLURM_JOB_ID % 20000))" # jobs that share a node have ports of their own
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

start=(ray start --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block)
srun --nodes=1 --ntasks=1 --nodelist="$head" "${start[@]}" --head --port="${address##*:}" --include-dashboard=false &
count_nodes() { ray status --address "$address" 2>/dev/null | grep -c ' node_' || true; }
wait_for_nodes() { # those that are later join later; without any `sweep run` says so
  local deadline=$((SECONDS + 180))
  until [ "$(count_nodes)" -ge "$1" ] || [ $SECONDS -ge $deadline ] || [ -z "$(jobs -pr)" ]; do sleep 1; done
}
wait_for_nodes 1
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  others=$((SLURM_JOB_NUM_NODES - 1))
  srun --nodes="$others" --ntasks="$others" --exclude="$head" "${start[@]}" --address="$address" &
  wait_for_nodes "$SLURM_JOB_NUM_NODES"
fi

n_signals=0 n_time_up=0 run=
forward() { n_signals=$((n_signals + 1)); kill "-$1" "$run" 2>/dev/null || true; }
sweep run "$@" --address "$address" &
run=$!
trap 'n_time_up=1; forward USR1' USR1
trap 'forward TERM' TERM

# A signal ends `wait`, not the sweep: the code that counts is that of a wait which none has ended.
while true; do
  before=$n_signals code=0
  wait "$run" || code=$?
  [ "$n_signals" -eq "$before" ] && break
done
if [ "$n_time_up" -eq 1 ] && [ "$code" -eq 130 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
