"""The hook of the documentation site: what is written elsewhere becomes pages, and is never written twice.

- README, CONTRIBUTING, SECURITY, CHANGELOG, the examples and the notebooks are pages of the site.
- ``<!-- generated: NAME -->`` in a page is replaced by what the program says of itself: `GENERATED`.
- Links between files of the repository become links between pages.

The pages are made when the site is built, so that nothing of this has to be committed or kept up to date.
"""

from __future__ import annotations

import ast
import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
}
"""Files of the repository by the page they are."""

_MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
_ITEM = re.compile(r"^    (\*{0,2}\w+): (.*)$")


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401
    """Add the pages whose text is not in docs/."""
    from mkdocs.structure.files import File

    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401
    """Fill in the generated parts and lead links of the repository to pages."""
    return with_site_links(filled(markdown), page.file.src_uri)


def filled(markdown: str) -> str:
    """Return a page with its generated parts filled in."""
    return _MARKER.sub(lambda found: GENERATED[found[1]](), markdown)


def with_site_links(markdown: str, uri: str) -> str:
    """Return a page whose links lead to pages; what is no page of the site is named, not linked."""
    source = next((file for file, its in PAGES.items() if its == uri), None)
    if source is None:
        source = uri.replace(".md", ".ipynb") if uri.startswith("notebooks/") else f"docs/{uri}"
    lines, is_code = [], False
    for line in markdown.splitlines():
        is_code ^= line.lstrip().startswith("```")
        lines.append(line if is_code else _LINK.sub(lambda found: _led(found, source, uri), line))
    return "\n".join(lines)


def _led(found: re.Match[str], source: str, uri: str) -> str:
    image, text, target = found.groups()
    path, hash_, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return found[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if there.startswith("notebooks/"):
        there = f"docs/{there}".replace(".ipynb", ".md")
    page = PAGES.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else None)
    if there.startswith("examples/") and page is None:
        page, hash_, anchor = "examples.md", "#", posixpath.basename(there).replace(".", "")
    if page is None:
        return text if text.startswith("`") else f"{text} (`{there}`)" if text != there else f"`{there}`"
    return f"{image}[{text}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{hash_}{anchor})"


# -- what the program says of itself ---------------------------------------------------------------


def commands() -> str:
    """Return the ``--help`` of every command, as the program prints it."""
    return "\n\n".join(
        f"## {' '.join(['warmstart', *path])}\n\n```text\n{help_of(path)}\n```" for path in command_paths()
    )


def command_paths() -> list[list[str]]:
    """Return the words of every command, the program itself first."""
    import typer

    from warmstart.cli import app

    def below(command: Any, path: list[str]) -> Iterator[list[str]]:  # noqa: ANN401
        yield path
        for name, sub in sorted(getattr(command, "commands", {}).items()):
            yield from below(sub, [*path, name])

    return list(below(typer.main.get_command(app), []))


def help_of(path: list[str]) -> str:
    """Return what ``warmstart … --help`` prints, 84 columns wide, as a page shows them."""
    from typer.testing import CliRunner

    from warmstart.cli import app

    environment = {"COLUMNS": "84", "TERMINAL_WIDTH": "84", "NO_COLOR": "1", "TERM": "dumb"}
    printed = CliRunner().invoke(app, [*path, "--help"], env=environment, prog_name="warmstart").stdout
    return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())


def recipe_fields() -> str:
    """Return every field of a recipe: what it may hold, its default, and what it says of itself."""
    from pydantic import BaseModel

    from warmstart.config.schema import Recipe

    def below(model: type[BaseModel], prefix: str) -> Iterator[str]:
        sections = {}
        yield f"## {prefix.rstrip('.') or 'The recipe'}\n\n{_first_line(model.__doc__)}\n"
        yield "| field | holds | default | |\n|---|---|---|---|"
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                sections[name] = field.annotation
                continue
            default = "needed" if field.is_required() else f"`{json.dumps(field.default)}`"
            about = " ".join((field.description or "").split()).replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_kind(field.annotation, field.metadata)} | {default} | {about} |"
        for name, section in sections.items():
            yield "\n" + "\n".join(below(section, f"{prefix}{name}."))

    return "\n".join(below(Recipe, ""))


def _kind(annotation: Any, metadata: list[Any] = []) -> str:  # noqa: ANN401, B006
    names = {str: "text", int: "whole number", float: "number", bool: "true, false", type(None): "null"}
    if annotation in names:
        bounds = [
            f"{sign} {getattr(one, key):g}"
            for one in metadata
            for key, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
            if getattr(one, key, None) is not None
        ]
        return " ".join([names[annotation], ", ".join(bounds)]).strip()
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0], [part for one in inner[1:] for part in getattr(one, "metadata", [one])])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin is UnionType:
        return " or ".join(_kind(one, metadata) for one in inner)
    return "list" if origin is list else "map" if isinstance(annotation, GenericAlias) else str(annotation)


def recipes() -> str:
    """Return a line for each packaged recipe."""
    from warmstart.config.schema import list_recipes, load_recipe

    lines = [f"| `{name}` | {load_recipe(name).description} |" for name in list_recipes()]
    return "\n".join(["| recipe | |", "|---|---|", *lines])


def findings() -> str:
    """Return every cause that can be named: what it looks like, what it is, and what cures it."""
    from warmstart.diagnosis import CAUSES
    from warmstart.diagnosis.findings import EXPLAINS
    from warmstart.plan import HELPED_BY_THE_LADDER

    parts = []
    for code, cause in CAUSES.items():
        lines = [
            f"### `{code}`\n",
            f"- **You see**: {_cell(cause.symptom)}.",
            f"- **Cause**: {_cell(cause.title)} (*{cause.severity}*).",
            f"- **Cure**: {_cell(cause.cure)}{'; the ladder of cures can do it' * (code in HELPED_BY_THE_LADDER)}.",
        ]
        explained = [known for known in CAUSES if known in EXPLAINS.get(code, frozenset()) - {code}]
        if explained:
            few = len(explained) <= 6
            lines.append(
                "- **Explains**: "
                + (
                    ", ".join(f"[`{one}`](#{one})" for one in explained)
                    if few
                    else f"{len(explained)} others"
                )
                + "."
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("<think>", "`<think>`")


def files_of_a_run() -> str:
    """Return the table of a run directory that `warmstart.runs.directory` begins with."""
    return f"```text\n{_indented_block(ast.get_docstring(_tree('runs')) or '')}\n```"


def _indented_block(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))


def python_names() -> str:
    """Return the public names with signature and docstring, read from the sources: nothing is imported."""
    import warmstart

    return "\n\n".join(
        _described(name, home, _defined(name, home)) for name, home in sorted(warmstart._HOME_OF.items())
    )


def _tree(module: str) -> ast.Module:
    path = ROOT / "src" / "warmstart" / f"{module.replace('.', '/')}.py"
    if not path.exists():
        path = path.with_suffix("") / "__init__.py"
    return ast.parse(path.read_text(encoding="utf-8"))


def _defined(name: str, module: str) -> ast.ClassDef | ast.FunctionDef | None:
    """Return where a public name is defined, which may be a module that its home imports it from."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
            return _defined(name, (node.module or "").removeprefix("warmstart."))
    return None


def _described(name: str, home: str, node: ast.ClassDef | ast.FunctionDef | None) -> str:
    heading = f"## `{name}`\n\n*in `warmstart.{home}`*"
    if node is None:
        from warmstart.rewards import functions as rewards

        term = next(term for term in rewards.TERMS if term.name == name)
        call = f"{name}(prompts, completions, answer, **kwargs) -> list[float | None]"
        return f"{heading}\n\n```text\n{call}\n```\n\n{term.about} Range: {term.low:g} to {term.high:g}."
    call = node
    if isinstance(node, ast.ClassDef):
        call = next((one for one in node.body if getattr(one, "name", "") == "__init__"), None)
    parts = [heading]
    if isinstance(call, ast.FunctionDef):
        parts.append(f"```text\n{_signature(name, call)}\n```")
    elif fields := [ast.unparse(one) for one in node.body if _is_field(one)]:
        inside = ",\n    ".join(fields)
        parts.append(f"```text\n{name}(\n    {inside},\n)\n```")
    parts.append(_as_markdown(ast.get_docstring(node) or ""))
    return "\n\n".join(parts)


def _is_field(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not node.target.id.startswith("_")
    )


def _signature(name: str, node: ast.FunctionDef) -> str:
    arguments = node.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args = arguments.args[1:]
    returned = "" if node.returns is None or node.name == "__init__" else f" -> {ast.unparse(node.returns)}"
    call = f"{name}({ast.unparse(arguments)}){returned}"
    if len(call) <= 90:
        return call
    inside = ast.unparse(arguments)
    return f"{name}(\n    " + re.sub(r", (?=\*{0,2}\w+(?::|,|$|=))", ",\n    ", inside) + f"\n){returned}"


def _as_markdown(docstring: str) -> str:
    """Return a docstring of Google's form as Markdown: sections as lists."""
    lines: list[str] = []
    in_section = False
    for line in docstring.splitlines():
        if section := _SECTION.match(line):
            in_section = True
            lines += [f"**{section[1]}**", ""]
        elif in_section and (item := _ITEM.match(line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif in_section and line.startswith("    "):
            lines.append(f"  {line.strip()}" if lines[-1].startswith(("-", "  ")) else line.strip())
        else:
            lines.append(line)
    return "\n".join(lines)


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def examples() -> str:
    """Return every file of examples/, with what its first lines say it is."""
    parts = []
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in (".py", ".sh", ".yaml", ".jsonl"):
            language = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".jsonl": "json"}[path.suffix]
            parts.append(f"### {path.name}\n\n```{language}\n{path.read_text(encoding='utf-8').strip()}\n```")
    return "\n\n".join(parts)


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: text, code, what it printed, and its plots."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # The badge is a picture of another host: the site asks nothing of the network.
            parts.append(re.sub(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)", "", source))
            continue
        parts.append(f"```python\n{source}\n```")
        printed = "".join("".join(out.get("text", "")) for out in cell["outputs"]).strip("\n")
        if printed:
            parts.append(f"```text\n{printed}\n```")
        for out in cell["outputs"]:
            if picture := out.get("data", {}).get("image/png"):
                parts.append(f'<img alt="plot" src="data:image/png;base64,{"".join(picture).strip()}">')
    return "\n\n".join(parts)


GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "recipe_fields": recipe_fields,
    "recipes": recipes,
    "findings": findings,
    "files_of_a_run": files_of_a_run,
    "python_names": python_names,
    "examples": examples,
}
"""What can stand behind ``<!-- generated: NAME -->``."""
