"""What a run found: rates, the summary, the model card, several runs side by side."""
