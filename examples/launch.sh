#!/usr/bin/env bash
# The same run on two processes. On GPUs: --config_file with distributed_type: MULTI_GPU, or torchrun.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
accelerate launch --config_file "$here/two_processes.yaml" -m warmstart run "${RECIPE:-tiny}" --out runs/two "$@"
