"""Write docs/metrics.md from the metrics' glossary.

python scripts/build_metrics_page.py          # write it
python scripts/build_metrics_page.py --check  # exit 1 if it is not current
"""

from __future__ import annotations

import sys
from pathlib import Path

from warmstart.results.glossary import METRICS

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"

_HEAD = """# Metrics

Written by `scripts/build_metrics_page.py` from `src/warmstart/results/glossary.py`; change it there.

## Metrics of a training step

Each line of a run's `metrics.jsonl` whose `stage` is `sft` or `grpo` is a training step and has these numbers; lines of the stages `writing` and `check` hold what the watch read of the completions and measured on problems kept out of training. With `--set trackers=[tensorboard]` (or `trackio`, `wandb`: whatever TRL's `report_to` knows of them) they go to a tracker too, behind `train/`: ours under `warmstart/`, TRL's under its own names. `tensorboard --logdir runs/demo` and `trackio show --project warmstart` are local; nothing is sent anywhere unless you name a tracker that does.

SFT and GRPO are runs of their own, `NAME-sft` and `NAME-grpo`, in the project `warmstart`. TensorBoard's files are in `RUN/warmup/tensorboard` and `RUN/grpo/tensorboard`, trackio's where `TRACKIO_DIR` says (`~/.cache/huggingface/trackio`), wandb's in `./wandb`; with `WANDB_MODE=offline` it keeps them there until `wandb sync`. Tried with trackio 0.43, TensorBoard 2.21 and wandb 0.31 offline; TRL adds the seconds of its own methods under `profiling/` in trackio and wandb.

| in metrics.jsonl | in a tracker | what it is | healthy | what to do otherwise |
|---|---|---|---|---|
"""

_RESULTS = """
## Results of an evaluation

`eval/STAGE.json`, `eval.json` of `warmstart eval --out`, and `eval` in `summary.json`. Every rate is `{value, ci95}`.

| name | what it is |
|---|---|
| `strict`, `lenient`, `format` | right answer in the exact format; right answer anywhere; exact format, whatever the answer |
| `greedy`, `sampled` | one completion per problem at temperature 0: Wilson's interval; several at `temperature`: bootstrap over problems |
| `truncated`, `ended`, `mean_tokens` | ran into the cap; ended its turn by itself; length in tokens, the end included |
| `pass_at_k`, `maj_at_k` | one of k samples strictly right (unbiased); the most frequent answer of k right |
| `by_steps`, `by_family`, `by_length`, `by_tokens` | the same rates by difficulty, kind, words of the question, tokens of the greedy completion (quarters of the problems) |
| `grading` | completions read a second time by another path than the rewards': `checked` where it can tell by itself, `unchecked` where an answer in another dress keeps the grader's verdict, `differ` where the two disagree (the second one is the result), `paid_and_wrong` of them |
| `undecided` | completions whose answer could not be judged; they are in no rate |
| `paired[]` | difference of two models on the same problems: exact McNemar (greedy) or permutation of per-problem means (sampled) |
| `gain[]` | `strict` = `math` + `format`: the change in answers right anywhere, and the rest, right answers that no longer miss the format. For greedy completions `problems` counts those strictly right now that were right before in another form (`known`), that were not (`new`), and those `lost` |
| `overlap` | held-out questions found in what was trained on (`by_source`): to the letter, but for case and punctuation, by eight words in a row; `pairs` shows the worst, `share` of a question's runs of eight words |

What `probe`, `run` and the watch can name: [all causes](loss-is-zero.md#all-causes).
"""


def page() -> str:
    """Return the whole page."""
    metrics = [
        f"| `{name}` | {'–' if metric.tracker == '–' else f'`{metric.tracker}`'} | {metric.meaning} | {metric.healthy} | {metric.act} |"
        for name, metric in METRICS.items()
    ]
    return _HEAD + "\n".join(metrics) + "\n" + _RESULTS


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
