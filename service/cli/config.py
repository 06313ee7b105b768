"""``domainqa config``: the settings in force, and what there is to set."""

import json
import sys

import typer

from service.cli import output, session
from service.cli.options import JsonOutput

app = typer.Typer(no_args_is_help=True, help="The settings: what is in force, what there is to set.")


@app.command("show")
def show(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """Print the settings in force and where each comes from.

    Keys, passwords and the like are masked.
    """
    from service.cli.configuration import in_force

    own = session.of(ctx)
    layers = own.layers()
    found = list(in_force(own.settings(), layers))
    if as_json:
        output.print_json(
            {
                "home": str(own.home_folder()),
                "file": layers[1].where,
                "settings": [
                    {"name": each.name, "value": each.value, "origin": each.origin, "where": each.where}
                    for each in found
                ],
            }
        )
        return
    output.print_table(
        ("setting", "value", "from"),
        [
            (
                each.name,
                None if each.value is None else json.dumps(each.value, ensure_ascii=False),
                each.where or each.origin,
            )
            for each in found
        ],
    )


@app.command("reference")
def reference() -> None:
    """Print the page that describes every setting, as Markdown."""
    from service.cli.configuration import reference

    sys.stdout.write(reference())
