#!/usr/bin/env bash
# A sweep on Slurm: a Ray cluster on the nodes of one job. When the time limit is near, the sweep continues in the next job.
#
#   sbatch configs/cluster/slurm.sh grid.yaml --out /shared/results/my-sweep
#
# The arguments after the file's name are passed to `sweep run`. Every node needs the same virtual environment (activate it before
# sbatch) and the results folder at the same path. 120 s before the time limit Slurm sends USR1: running epochs end and are kept,
# the job goes back into the queue, and the next job continues from there. `scancel` stops the sweep; to continue it, use sbatch
# again. See docs/clusters.md.
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

# Only those who know this job's token can use its cluster. The token is in no file and on no command line.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
address="$head:$((20000 + SLURM_JOB_ID % 20000))" # jobs that share a node use different ports
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

start=(ray start --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block)
srun --nodes=1 --ntasks=1 --nodelist="$head" "${start[@]}" --head --port="${address##*:}" --include-dashboard=false &
count_nodes() { ray status --address "$address" 2>/dev/null | grep -c ' node_' || true; }
wait_for_nodes() { # late nodes join later; if there are none, `sweep run` reports it
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

# A signal ends `wait` but not the sweep, so only the exit code of a `wait` that no signal has ended counts.
while true; do
  before=$n_signals code=0
  wait "$run" || code=$?
  [ "$n_signals" -eq "$before" ] && break
done
if [ "$n_time_up" -eq 1 ] && [ "$code" -eq 130 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
