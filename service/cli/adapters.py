"""``domainqa adapters``: what the base model was taught, registered by content, and what each label stands for.

Changes the registry on disk only: a running service sees it within a second or so, and loads or unloads.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.types import AdapterKind, AdapterManifest
from service.cli import output, session
from service.cli.options import JsonOutput, Yes

if TYPE_CHECKING:  # too slow to import for a help text
    from finetune.adapters import AdapterRegistry

app = typer.Typer(no_args_is_help=True, help="Adapters of the chat model, and what their labels stand for.")

Label = Annotated[str, typer.Argument(metavar="LABEL", help="The adapters' common label.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The adapter's name from the list.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """List the adapters, and whether they fit the model."""
    from service.registered import offline_problem

    own = session.of(ctx)
    settings, registry = own.settings(), _registry(own)
    manifests, labels, broken = registry.list(), registry.labels(), registry.broken()
    problems = {each.name: offline_problem(registry, each, settings) for each in manifests}
    current = {history[-1] for history in labels.values()}
    if as_json:
        output.print_json(
            {
                "adapters": [
                    {
                        **_as_json(each),
                        "folder": str(registry.folder(each.name).resolve()),
                        "current": each.name in current,
                        "problem": problems[each.name],
                    }
                    for each in manifests
                ],
                "labels": {label: list(history) for label, history in labels.items()},
                "broken": [{"name": each.source, "reason": each.reason} for each in broken],
            }
        )
        return
    if not manifests and not broken:
        output.note("there are no adapters yet; `domainqa adapters add FOLDER --label LABEL` registers one")
        return
    rows: list[tuple[object, ...]] = [
        (
            each.name,
            "yes" if each.name in current else "",
            each.kind,
            each.base,
            each.rank,
            each.created_at[:16].replace("T", " "),
            problems[each.name] or "fits",
        )
        for each in manifests
    ]
    rows += [(each.source, "", None, None, 0, None, f"damaged: {each.reason}") for each in broken]
    output.print_table(("adapter", "current", "kind", "base", "rank", "created", "state"), rows, numbers=["rank"])


@app.command("add")
def add(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where peft saved the adapter.")],
    label: Annotated[str, typer.Option("--label", "-l", metavar="LABEL", help="What its later versions share.")],
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="The model it was trained on, whatever its configuration says; the profile's when left out.",
        ),
    ] = None,
    kind: Annotated[AdapterKind, typer.Option("--kind", help="How it was trained.")] = "other",
    as_json: JsonOutput = False,
) -> None:
    """Register an adapter, named by its content.

    It can be asked by its name at once, and by its label once it is promoted.
    """
    from finetune.fitting import read_base
    from rag import models

    own = session.of(ctx)
    reference = own.settings().generation.model if base is None else base
    own.provide_models([reference], own.is_offline())
    found = read_base(models.resolve(reference, models.default_cache()), reference)
    registry = _registry(own)
    manifest = registry.register(folder.expanduser(), label, found, kind=kind, any_base_name=base is not None)
    if as_json:
        output.print_json(_as_json(manifest))
        return
    output.print_text(manifest.name)
    if manifest.name not in registry.labels().get(label, ())[-1:]:
        output.note(f"`domainqa adapters promote {label} {manifest.name}` makes it what {label} stands for")


@app.command("remove")
def remove(
    ctx: typer.Context,
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Also one that its label stands for; the label goes back to the one before.")
    ] = False,
    yes: Yes = False,
    as_json: JsonOutput = False,
) -> None:
    """Delete an adapter; engines unload it."""
    registry = _registry(session.of(ctx))
    if not yes:
        typer.confirm(f"Delete the adapter {output.name(name)}?", abort=True, err=True)
    registry.remove(name, even_if_current=force)
    if as_json:
        output.print_json({"removed": name, "labels": {key: list(value) for key, value in registry.labels().items()}})
    else:
        output.print_text(f"deleted {output.name(name)}")


@app.command("promote")
def promote(
    ctx: typer.Context,
    label: Label,
    name: Name,
    despite_gates: Annotated[
        bool, typer.Option("--despite-gates", help="Also one that missed a gate when it was checked.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Make an adapter what its label stands for."""
    _print_current(_registry(session.of(ctx)).promote(label, name, despite_gates=despite_gates), as_json)


@app.command("rollback")
def rollback(ctx: typer.Context, label: Label, as_json: JsonOutput = False) -> None:
    """Make a label stand for what it stood for before."""
    _print_current(_registry(session.of(ctx)).rollback(label), as_json)


def _registry(own: session.Session) -> "AdapterRegistry":
    from finetune.adapters import AdapterRegistry

    return AdapterRegistry(own.home_folder())


def _print_current(manifest: AdapterManifest, as_json: bool) -> None:
    if as_json:
        output.print_json(_as_json(manifest))
    else:
        output.print_text(f"{manifest.label} stands for {manifest.name}")


def _as_json(manifest: AdapterManifest) -> dict[str, output.Json]:
    return asdict(manifest)
