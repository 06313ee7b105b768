"""``domainqa keys``: who may use the service, for what, how much, and until when."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rag.errors import UsageError
from service.cli import output, session
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag.catalog import AccessKey, Catalog

app = typer.Typer(
    no_args_is_help=True,
    help="Access keys of the service: once there is one, every request needs one.",
)


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the key is for, to tell it from others.")],
    role: Annotated[
        Literal["reader", "editor", "admin"],
        typer.Option(
            "--role",
            help="reader: ask and search; editor: change documents too; admin: everything within the tenant.",
        ),
    ],
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="TENANT", help="Whose collections it opens; made when it is new.")
    ] = "default",
    collections: Annotated[
        str | None,
        typer.Option("--collections", metavar="A,B", help="Only these collections; all of the tenant's when left out."),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option("--requests-per-minute", metavar="N", min=1, help="Further requests get status 429."),
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option(
            "--tokens-per-minute", metavar="N", min=1, help="Read and written by the model; further questions get 429."
        ),
    ] = None,
    expires: Annotated[
        int | None,
        typer.Option("--expires", metavar="DAYS", min=1, max=36_500, help="Days from now; never when left out."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Make a key. It is shown once and kept nowhere; what is stored can only recognise it."""
    from rag.catalog import AccessKey
    from service.keys import Pepper, new_key

    if not name.strip() or len(name) > _LONGEST_NAME:
        raise UsageError(f"a key's name has 1 to {_LONGEST_NAME} characters, this one has {len(name.strip())}")
    with _catalog(ctx) as catalog:
        pepper = Pepper(catalog.home)
        if not catalog.keys.exist():
            pepper.make()
        new = new_key()
        now = datetime.now(UTC)
        key = AccessKey(
            id=new.id,
            tenant=tenant,
            name=name,
            role=role,
            digest=pepper.digest(new.text),
            created_at=now,
            collections=_names(collections),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            expires_at=None if expires is None else now + timedelta(days=expires),
        )
        catalog.create_tenant(tenant)
        catalog.keys.add(key)
    if as_json:
        output.print_json({**_as_json(key), "key": new.text})
    else:
        # Not through the console, which would fold it on a narrow terminal.
        typer.echo(new.text)
        output.note(f"this is the only time that the key {key.id} is shown; it is sent as `Authorization: Bearer ...`")


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """List the keys, the oldest first; the keys themselves are not known."""
    with _catalog(ctx) as catalog:
        found = catalog.keys.list()
    if as_json:
        output.print_json({"keys": [_as_json(key) for key in found]})
    elif found:
        columns = ("id", "name", "tenant", "role", "collections", "requests/min", "tokens/min", "expires", "state")
        output.print_table(columns, [_row(key) for key in found], numbers=("requests/min", "tokens/min"))
    else:
        output.note("there are no keys: the service is open to this machine and to no other")


@app.command("revoke")
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Delete its entry too. Without any entry the service is open to this machine again, once restarted.",
        ),
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Make a key worthless at once, in a running service too."""
    from service.keys import named_id

    wanted = named_id(key_id)
    if wanted is None:
        # What was given may be part of a key: it is not repeated.
        raise UsageError("that is no key's id; an id has 12 hexadecimal digits, as `domainqa keys list` shows it")
    with _catalog(ctx) as catalog:
        key = catalog.keys.revoke(wanted, datetime.now(UTC))
        if forget:
            catalog.keys.forget(wanted)
    if as_json:
        output.print_json({**_as_json(key), "forgotten": forget})
    else:
        output.print_text(f"revoked {key.id} ({output.name(key.name)})")


_LONGEST_NAME = 100


@contextmanager
def _catalog(ctx: typer.Context) -> "Iterator[Catalog]":
    from rag.catalog import Catalog

    with Catalog.open(session.of(ctx).home_folder()) as catalog:
        yield catalog


def _names(collections: str | None) -> frozenset[str] | None:
    if collections is None:
        return None
    names = frozenset(name.strip() for name in collections.split(",") if name.strip())
    if not names:
        raise UsageError("--collections names none; leave it out to open all of the tenant's")
    return names


def _state(key: "AccessKey") -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid(datetime.now(UTC)) else "expired"


def _as_json(key: "AccessKey") -> dict[str, output.Json]:
    def told(time: datetime | None) -> str | None:
        return None if time is None else time.isoformat(timespec="seconds")

    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role,
        "collections": None if key.collections is None else sorted(key.collections),
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "created_at": told(key.created_at),
        "expires_at": told(key.expires_at),
        "revoked_at": told(key.revoked_at),
        "state": _state(key),
    }


def _row(key: "AccessKey") -> tuple[object, ...]:
    return (
        key.id,
        key.name,
        key.tenant,
        key.role,
        "all" if key.collections is None else ", ".join(sorted(key.collections)),
        key.requests_per_minute,
        key.tokens_per_minute,
        None if key.expires_at is None else key.expires_at.date(),
        _state(key),
    )
