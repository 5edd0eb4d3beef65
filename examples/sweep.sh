#!/usr/bin/env bash
# Three learning rates on one recipe, each resumable, then side by side with paired tests.
set -euo pipefail
recipe=${RECIPE:-tiny}
for rate in 5e-4 1e-3 1.5e-3; do
  warmstart run "$recipe" --out "runs/rate-$rate" --set "grpo.learning_rate=$rate" "$@"
done
warmstart compare runs/rate-5e-4 runs/rate-1e-3 runs/rate-1.5e-3 --html runs/rates.html
