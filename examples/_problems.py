"""What the two scripts beside TRL train on: sums, asked in the conversational form of TRL."""

from datasets import Dataset

FORMAT = "Respond in the following format:\n<reasoning>\n…\n</reasoning>\n<answer>\n…\n</answer>"


def problems(count=32):
    """Return rows as `trl.GRPOTrainer` takes them: ``prompt``, and ``answer`` for the rewards."""
    asked = [
        (f"Tom has {n} bags of 4 apples and eats 2. How many are left?", 4 * n - 2)
        for n in range(2, count + 2)
    ]
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "system", "content": FORMAT}, {"role": "user", "content": question}],
                "answer": str(answer),
            }
            for question, answer in asked
        ]
    )
