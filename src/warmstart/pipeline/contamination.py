"""Whether the evaluation was trained on: said in the run with the pairs, kept in overlap.json."""

from __future__ import annotations

from collections.abc import Sequence

from warmstart.data.overlap import Overlap, Text, find_overlap
from warmstart.diagnosis import DataFacts, diagnose_data
from warmstart.pipeline.context import Run
from warmstart.visible import shortened, visible

_SAID = 3
_LONGEST = 100


def look_for_overlap(run: Run, also: dict[str, Sequence[Text]] | None = None) -> Overlap:
    """Return and keep the overlap of the held-out problems with everything trained on; say the worst pairs.

    Called again with the texts of the warm start, it says only what they add.
    """
    splits = run.data
    found = find_overlap(splits.train, [*splits.eval, *splits.unseen], also=also)
    findings = diagnose_data(
        DataFacts(rows=len(splits.train), overlap=found.normalised, held_out=found.eval_problems)
    )
    run.folder.write_json(
        run.folder.overlap_path, {**found.to_dict(), "findings": [one.to_dict() for one in findings]}
    )
    if also is None or any(found.by_source[name]["ngram"] for name in also):
        _say(run, found, None if also is None else set(also))
        for one in findings:
            run.progress.say(f"{one.code}: {one.evidence}; {one.advice}")
    return found


def _say(run: Run, found: Overlap, sources: set[str] | None) -> None:
    shared = found.describe()
    is_generated = run.recipe.data.source == "synthetic" and sources is None
    if is_generated and found.ngram:
        shared += "; generated problems share their sentences, with other names and numbers"
    run.progress.say(f"overlap: {shared}")
    if is_generated and not found.normalised:
        return
    told = [pair for pair in found.pairs if sources is None or pair.source in sources]
    for pair in told[:_SAID]:
        shown = shortened(visible(pair.shared.replace("\n", " ")), _LONGEST)
        run.progress.say(
            f"  {pair.eval_id} ~ {pair.train_id} ({pair.source}, {pair.kind}, {pair.share:.0%} of it): {shown}"
        )
