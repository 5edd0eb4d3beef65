"""Before a plain `trl.GRPOTrainer`: would it learn anything? The probe takes what the trainer takes."""

from trl import GRPOConfig

import warmstart
from _problems import problems
from warmstart.models import load_base, load_tokenizer  # stands for your from_pretrained(…)

model, tokenizer = load_base("tiny"), load_tokenizer("tiny")
rewards = [warmstart.correctness_reward_func, warmstart.strict_format_reward_func]
args = GRPOConfig("runs/plain", num_generations=4, max_completion_length=64, bf16=False)

settings = warmstart.ProbeSettings.of(args, problems=16, completions=4)
found = warmstart.probe(model, tokenizer, problems(), rewards, settings=settings)
print(found.diagnosis.headline())
for size in found.forecasts:
    print(f"groups of {size.group_size}: {size.live:.0%} live to expect")
