"""``export`` and ``push``: what was trained, for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from warmstart.cli.options import Json, echo_json, example

if TYPE_CHECKING:
    from warmstart.runs.directory import RunDir

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Stage = Annotated[
    Literal["auto", "warmup", "grpo"],
    typer.Option(help="Whose adapter; auto takes GRPO's, else the warm start's."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    app.command(epilog=example("warmstart export runs/tiny --to tiny-merged"))(export)
    app.command(epilog=example("warmstart push runs/tiny-merged me/tiny-reasons"))(push)


def export(
    folder: Folder,
    to: Annotated[Path | None, typer.Option(help="By default RUN/export/KIND.", show_default=False)] = None,
    as_: Annotated[
        Literal["merged", "adapter"],
        typer.Option("--as", help="One 16-bit model, or the LoRA adapter alone."),
    ] = "merged",
    stage: Stage = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of the merged weights; auto is the base's own 16 bits."),
    ] = "auto",
    prompts: Annotated[int, typer.Option(min=1, help="Held-out problems the proof is made on.")] = 16,
    json: Json = False,
) -> None:
    """Export a run's model with its tokenizer, its repaired chat template and its generation config.

    A merged model is summed in float32, loaded again from disk and compared with the adapter: it is kept only if
    it is the same model.
    """
    from warmstart.cli.progress import quiet_libraries
    from warmstart.runs.directory import RunDir

    run = RunDir.open(folder)
    adapter = run.adapter(stage)
    target = to or run.path / "export" / as_
    quiet_libraries()
    from warmstart.pipeline.exporting import export_run

    proof = export_run(run, adapter, target, kind=as_, dtype=dtype, prompts=prompts)
    if json:
        echo_json({"folder": str(target), "kind": as_, "proof": proof})
        return
    if proof is not None:
        typer.echo(proof["words"])
    typer.echo(target)


def push(
    folder: Annotated[Path, typer.Argument(help="A run directory or an exported folder.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model's name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owner sees it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")
    ] = False,
    stage: Stage = "auto",
) -> None:
    """Upload an exported model, or a run's adapter, with its model card to the Hugging Face Hub.

    The token is the one of `hf auth login`, or HF_TOKEN.
    """
    from warmstart.hub import files_to_push
    from warmstart.hub import push as upload

    source = _source(folder, stage)
    files = files_to_push(source)
    for file in files:
        typer.echo(f"{file.stat().st_size / 1e6:10.1f} MB  {file.relative_to(source)}")
    if not dry_run:
        typer.echo(upload(source, files, repository, private=private))


def _source(folder: Path, stage: str) -> Path:
    from warmstart.runs.directory import RunDir

    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return folder
    run: RunDir | Any = RunDir.open(folder)
    return Path(run.adapter(stage))
