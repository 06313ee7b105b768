"""Options and arguments that several commands share."""

from typing import Annotated

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", metavar="NAME", help="The collection of documents.")]
Tenant = Annotated[
    str, typer.Option("--tenant", metavar="TENANT", help="Whose collection it is; a tenant is made when it is new.")
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before deleting.")]
