"""``domainqa finetune``: from documents and general data to an adapter that may be served."""

import typer

from service.cli.finetune import mix, preview, scratch, train

app = typer.Typer(no_args_is_help=True, help="Adapt the model: data, mixes, training, gates.")
app.command("mix")(mix.mix)
app.command("preview")(preview.preview)
app.command("train")(train.train)
app.command("scratch")(scratch.scratch)
