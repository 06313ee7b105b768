"""Options and arguments that several commands share."""

from typing import Annotated

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", metavar="NAME", help="The collection of documents.")]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before deleting.")]
