"""``domainqa finetune``: from documents and general data to an adapter that may be served. One file a command."""

import typer

from service.cli.finetune import check, clean, ground, mix, preview, promote, replay, scratch, sweep, synthesize, train

app = typer.Typer(no_args_is_help=True, help="Adapt the chat model: data, mixes, training, gates.")
app.command("synthesize")(synthesize.synthesize)
app.command("clean")(clean.clean)
app.command("replay")(replay.replay)
app.command("ground")(ground.ground)
app.command("mix")(mix.mix)
app.command("preview")(preview.preview)
app.command("train")(train.train)
app.command("scratch")(scratch.scratch)
app.command("check")(check.check)
app.command("promote")(promote.promote)
app.command("sweep")(sweep.sweep)
