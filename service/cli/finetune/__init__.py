"""``domainqa finetune``: from documents and general data to an adapter that may be served. One file a command."""

import typer

from service.cli.finetune import ground

app = typer.Typer(no_args_is_help=True, help="Adapt the chat model: data, training, checks.")


@app.callback()
def finetune() -> None:
    """A group even while it holds one command."""


app.command("ground")(ground.ground)
