"""Problems of your own: can this model learn from them?"""

import json
import sys
from pathlib import Path

from warmstart.config import load_recipe
from warmstart.pipeline import probe_recipe

rows = [
    {"problem": f"Ann has {n} boxes of 12 pens. How many pens?", "solution": 12 * n} for n in range(2, 52)
]
Path("problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
columns = ["data.columns.question=problem", "data.columns.answer=solution"]
recipe = load_recipe("tiny", ["data.source=files", "data.path=problems.jsonl", *columns, *sys.argv[1:]])
print(probe_recipe(recipe).diagnosis.headline())  # GO, FIX or STOP, and why
