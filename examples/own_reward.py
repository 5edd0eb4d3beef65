"""A reward of your own: what it would do to training, before any training."""

import sys


def brevity(completions, **kwargs):
    """Pay for short texts: 0 to 0.2."""
    return [0.2 * max(0.0, 1 - len(text[0]["content"]) / 400) for text in completions]


if __name__ == "__main__":
    from warmstart.config import load_recipe
    from warmstart.pipeline import probe_recipe

    recipe = load_recipe("tiny", [f"grpo.rewards=[{__file__}:brevity]", *sys.argv[1:]])
    print(probe_recipe(recipe).diagnosis.headline())  # then: warmstart run tiny --set grpo.rewards=…
