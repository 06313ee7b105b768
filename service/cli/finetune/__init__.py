"""``domainqa finetune``: from documents and general data to an adapter. One file a command."""

import typer

from service.cli.finetune import clean, replay, synthesize

app = typer.Typer(no_args_is_help=True, help="Adapt the chat model: data, training, checks.")


@app.callback()
def finetune() -> None:
    """A group even while it holds one command."""


app.command("clean")(clean.clean)
app.command("replay")(replay.replay)
app.command("synthesize")(synthesize.synthesize)
