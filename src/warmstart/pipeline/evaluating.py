"""`warmstart eval`: a model, an adapter or a server on held-out problems, outside any run."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from warmstart import data, ranks
from warmstart.config.schema import Recipe, load_recipe
from warmstart.errors import ModelError, RunDirError
from warmstart.evaluation import Answerer, InProcess, Served, Wanted, evaluate
from warmstart.models import TINY, load_merged
from warmstart.pipeline.context import Run, exemplar_of, load_prompter, load_splits
from warmstart.pipeline.measuring import identity, splits_of, wanted_by
from warmstart.plan import Plan
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem
from warmstart.results.rates import summarise_eval
from warmstart.results.summary import describe_grading
from warmstart.rollouts.server import Server
from warmstart.runs import durable
from warmstart.runs.completion_log import EvalDir
from warmstart.runs.directory import RunDir
from warmstart.tags import instructions

_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is measured, on what, and how it is asked.

    Attributes:
        recipe: The model, the problems, the sampling.
        adapter: A LoRA adapter on the recipe's model.
        home: The run the adapter is from, whose own cured prompt it is asked with.
        server: Asked instead of a model in this process.
        file: Problems of this file instead of the recipe's; its columns as in ``data.columns``.
        every_row: All rows of the file, not ``eval.problems`` of them.
    """

    recipe: Recipe
    adapter: Path | None = None
    home: RunDir | None = None
    server: Server | None = None
    file: Path | None = None
    every_row: bool = True


def find_subject(
    name: str | None,
    changes: list[str],
    *,
    model: str | None = None,
    adapter: Path | None = None,
    server: Server | None = None,
    file: Path | None = None,
) -> Subject:
    """Return who is measured, from what a user named.

    Without a recipe an adapter of a run is measured as that run was, and another one on the base its own
    configuration names.

    Raises:
        ConfigError: If the recipe or a change is not usable.
        ModelError: If the adapter is none.
    """
    home = None if adapter is None else _home(adapter)
    chosen: str | Path = name or ("tiny" if home is None else home.resolved_path)
    named = [*changes]
    if server is None and model is not None:
        named += [f"model.name={json.dumps(model)}", "model.revision=null"]
    elif name is None and home is None and adapter is not None:
        named += [f"model.name={json.dumps(_base_of(adapter))}", "model.revision=null"]
    every_row = not any(change.startswith("eval.problems=") for change in changes)
    return Subject(load_recipe(chosen, named), adapter, home, server, file, every_row)


def evaluate_model(
    subject: Subject, *, out: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the evaluation: rates with intervals, and under ``of`` what was measured.

    Args:
        subject: Who is measured.
        out: Keeps every completion here, batch by batch; killed and called again it goes on.
        progress: Shows what goes on.

    Raises:
        RunDirError: If ``out`` holds something else.
    """
    show = progress or Quiet()
    wanted = wanted_by(subject.recipe)
    of = {
        "model": subject.recipe.model.name,
        "adapter": None if subject.adapter is None else str(subject.adapter),
    }
    of |= {"data": str(subject.file or subject.recipe.data.path or subject.recipe.data.source)}
    if subject.server is not None:
        of |= {"model": subject.server.model, "server": subject.server.url}
    folder = None if out is None else EvalDir(out)
    problems = _problems(subject, show)
    if folder is not None and (known := ranks.from_main(partial(_known, folder, of, wanted))) is not None:
        show.say(f"{out}: already done")
        return known
    answerer, decides = _answerer(subject)
    rows = evaluate(
        answerer,
        problems,
        wanted,
        log=None if folder is None else folder.log,
        of={**of, **decides},
        progress=show,
        label=f"measuring {of['model']}",
    )
    del answerer
    gc.collect()
    result = {"of": of | _described(wanted), **summarise_eval(rows, temperature=wanted.temperature)}
    if differing := describe_grading(result):
        show.say(differing)
    if folder is not None and ranks.is_main():
        durable.replace(folder.result_path, (durable.to_json(result, indent=2) + "\n").encode("ascii"))
    return result


def _described(wanted: Wanted) -> dict[str, Any]:
    return {"sampling": {name: getattr(wanted, name) for name in wanted.__slots__}}


def _known(folder: EvalDir, of: dict[str, Any], wanted: Wanted) -> dict[str, Any] | None:
    """Return what the folder holds already; None if the evaluation is still to do."""
    if folder.result_path.exists():
        found: dict[str, Any] = json.loads(folder.result_path.read_bytes())
        if found.get("of") == json.loads(durable.to_json(of | _described(wanted))):
            return found
        raise RunDirError(
            f"{folder.path} holds another evaluation: of {found.get('of', {}).get('model')!r}",
            "choose another --out",
        )
    if folder.path.exists() and not folder.log.parts.exists() and any(folder.path.iterdir()):
        raise RunDirError(f"{folder.path} is not empty", "choose a new or an empty folder with --out")
    return None


def _problems(subject: Subject, show: Progress) -> dict[str, list[Problem]]:
    recipe = subject.recipe
    if subject.file is None and subject.server is None:
        return splits_of(load_splits(recipe, show.say))
    if subject.file is None:
        return splits_of(
            data.load(
                recipe.data,
                seed=recipe.seed,
                eval_problems=recipe.eval.problems,
                unseen_problems=recipe.eval.unseen_problems,
            )
        )
    most = None if subject.every_row else recipe.eval.problems
    return {"eval": data.load_file(str(subject.file), recipe.data.columns, seed=recipe.seed, most=most)}


def _answerer(subject: Subject) -> tuple[Answerer, dict[str, Any]]:
    """Return who answers, and what decides the answers."""
    recipe = subject.recipe
    plan = Plan() if subject.home is None else Run(recipe, subject.home, Quiet()).plan
    if subject.server is not None:
        return _served(subject, plan)
    if subject.home is None:
        prompter = load_prompter(recipe)
    else:
        # The run's own problems: the exemplar is one of them.
        prompter = Run(load_recipe(subject.home.resolved_path), subject.home, Quiet()).prompter(plan)
    model = load_merged(
        recipe.model.name, subject.adapter, revision=recipe.model.revision, dtype=recipe.model.dtype
    )
    return InProcess(model, prompter), identity(recipe, prompter, subject.adapter)


def _served(subject: Subject, plan: Plan) -> tuple[Answerer, dict[str, Any]]:
    assert subject.server is not None
    recipe, tags = subject.recipe, subject.recipe.prompt.tags
    shown = None
    if plan.prompt == "exemplar" and subject.home is not None:
        shown = exemplar_of(
            Run(load_recipe(subject.home.resolved_path), subject.home, Quiet()).data.train, tags
        )
    text = recipe.prompt.instructions
    answerer = Served(
        subject.server,
        tags,
        instructions(tags) if text is None else text,
        role="user" if recipe.prompt.role == "user" else "system",
        exemplar=shown,
        prefill=f"{tags.exact[0]}\n" if plan.prompt == "prefill" else "",
    )
    return answerer, {"prompt": [answerer.text, answerer.role, shown], "prefill": answerer.prefill}


def _home(adapter: Path) -> RunDir | None:
    """Return the run that an adapter was trained in; None if it stands alone.

    Raises:
        ModelError: If there is no adapter.
    """
    if not (adapter / _ADAPTER).is_file():
        raise ModelError(
            f"{adapter} is no adapter: it has no {_ADAPTER}", "name the folder, e.g. runs/tiny/grpo/adapter"
        )
    run = RunDir(adapter.resolve().parents[1])
    return run if run.resolved_path.is_file() else None


def _base_of(adapter: Path) -> str:
    try:
        base = json.loads((adapter / _ADAPTER).read_bytes()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(f"{adapter / _ADAPTER} is not JSON: {error}", "copy the adapter again") from error
    if not base:
        raise ModelError(f"{adapter} does not say which base it is for", "name it with --model")
    return TINY if Path(base).name == "tiny_base" else str(base)
