#!/usr/bin/env bash
# One run on several machines: all nodes but the last train, the last one generates with vLLM.
#
#   sbatch deploy/slurm.sh qwen2.5-7b-gsm8k /shared/runs/first [--set KEY=VALUE …]
#   sbatch --nodes=1 --export=ALL,VLLM=off deploy/slurm.sh …      one node, no vLLM
#
# The run directory must be on a file system that every node sees. The same command again goes on from the
# last checkpoint; a requeued job does so by itself.
#SBATCH --job-name=warmstart
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log

set -euo pipefail

recipe=${1:?usage: sbatch deploy/slurm.sh RECIPE OUT [--set KEY=VALUE …]}
out=${2:?usage: sbatch deploy/slurm.sh RECIPE OUT [--set KEY=VALUE …]}
shift 2
gpus=${SLURM_GPUS_ON_NODE:-8}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
options=()

if [[ ${VLLM:-server} == server ]]; then
    ((${#nodes[@]} > 1)) || { echo "the vLLM server takes a node of its own: --nodes=2 at least, or VLLM=off" >&2; exit 2; }
    server=${nodes[-1]}
    unset 'nodes[-1]'
    model=$(warmstart recipes show "$recipe" --json | python -c 'import json, sys; print(json.load(sys.stdin)["model"]["name"])')
    srun --nodes=1 --ntasks=1 --nodelist="$server" \
        trl vllm-serve --model "$model" --data_parallel_size "$gpus" --host 0.0.0.0 --port 8000 &
    served=$!
    trap 'kill "$served" 2>/dev/null || true' EXIT
    until curl --silent --fail --output /dev/null "http://$server:8000/health/"; do
        kill -0 "$served" 2>/dev/null || { echo "the vLLM server on $server ended before it was ready" >&2; exit 1; }
        sleep 5
    done
    # Not a setting of the recipe: a requeued job may be given another node.
    export WARMSTART_VLLM_URL="http://$server:8000"
    options=(--set grpo.vllm=server)
fi

nodelist=$(IFS=,; echo "${nodes[*]}")
# --kill-on-bad-exit: a lost process ends all of them, instead of leaving the others to wait for it.
srun --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}" --nodelist="$nodelist" --kill-on-bad-exit=1 \
    torchrun --nnodes "${#nodes[@]}" --nproc_per_node "$gpus" \
    --rdzv_backend c10d --rdzv_endpoint "${nodes[0]}:29500" --rdzv_id "$SLURM_JOB_ID" \
    -m warmstart run "$recipe" --out "$out" "${options[@]}" "$@"
