"""What a recipe needs on a GPU, by formula: bytes, seconds, and what would make it fit."""
