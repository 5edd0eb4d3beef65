"""Inside a plain `trl.GRPOTrainer`: a callback that says at once when nothing is learnt, and why."""

from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

import warmstart
from _problems import problems
from warmstart.models import load_base, load_tokenizer  # stands for your from_pretrained(…)

watch = warmstart.SignalWatch(outcome="correctness_reward_func", stop=False)
rewards = [warmstart.correctness_reward_func, warmstart.strict_format_reward_func]
trainer = GRPOTrainer(
    model=load_base("tiny"),
    processing_class=load_tokenizer("tiny"),
    reward_funcs=watch.reading(rewards),
    train_dataset=problems(),
    peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[watch],
    args=GRPOConfig(
        "runs/plain",
        max_steps=6,
        num_generations=4,
        per_device_train_batch_size=16,
        max_completion_length=64,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        bf16=False,
    ),
)
trainer.train()
for event in watch.events:
    print(event["step"], event["code"], event["evidence"], event["advice"], sep=" | ")
