"""``domainqa finetune``: from documents and general data to an adapter that may be served. One file a command."""

import typer

from service.cli.finetune import clean, ground, mix, preview, replay, synthesize

app = typer.Typer(no_args_is_help=True, help="Adapt the chat model: data, mixes, training, gates.")
app.command("synthesize")(synthesize.synthesize)
app.command("clean")(clean.clean)
app.command("replay")(replay.replay)
app.command("ground")(ground.ground)
app.command("mix")(mix.mix)
app.command("preview")(preview.preview)
