"""``domainqa finetune promote``: a checked run's adapter into the registry, and current for its label."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput


def promote(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training run that was checked.")],
    label: Annotated[str, typer.Option("--label", "-l", metavar="LABEL", help="What the adapter is asked for by.")],
    despite_gates: Annotated[
        bool, typer.Option("--despite-gates", help="Also where a gate was missed, or the domain's gain not measured.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Register an adapter with what its check measured, and make it what its label stands for.

    `domainqa adapters rollback LABEL` goes back to the one before.
    """
    from finetune.adapters import AdapterRegistry
    from finetune.fitting import read_base
    from finetune.promoting import promote_run
    from finetune.runs import read_config
    from rag import models

    own = session.of(ctx)
    reference = read_config(run).settings.model
    own.provide_models([reference], own.is_offline())
    base = read_base(models.resolve(reference, models.default_cache()), reference)
    manifest = promote_run(AdapterRegistry(own.home_folder()), run, label, base, despite_gates=despite_gates)
    if as_json:
        output.print_json(asdict(manifest))
    else:
        output.print_text(f"{manifest.label} stands for {manifest.name}")
