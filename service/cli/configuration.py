"""The settings described from their own classes, and each value with where it comes from.

``python -m service.cli.configuration`` writes ``docs/configuration.md``.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit, urlunsplit

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rag.config import Settings
from rag.layers import Layer

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

_SECRET = re.compile(r"(^|[_-])(key|secret|token|password|passwd|pepper|credentials?)s?$", re.IGNORECASE)
_MASK = "********"
_INTRODUCTION = """\
# Configuration

This page is made from the settings' classes by `domainqa config reference` (`make docs` writes it); change those, not
this.

Settings come from four places, and the later wins: the defaults below, the profile (`--profile`, `DOMAINQA_PROFILE`, or
`profile` in the file), the file `domainqa.toml` in the home (or `--config FILE`), and environment variables named
`DOMAINQA_<SECTION>__<KEY>`, such as `DOMAINQA_SERVER__PORT=9000`. An unknown key is refused. `domainqa config show`
prints what is in force and where each value comes from.

```toml
profile = "starter"

[server]
port = 9000
```

Not settings, but read from the environment: `DOMAINQA_HOME`, `DOMAINQA_PROFILE`, `DOMAINQA_OFFLINE`, `DOMAINQA_MODELS`
(the model cache), and the variable that `generation.api_key_env` names.

| setting | type | default | what |
| --- | --- | --- | --- |
| `profile` | text | `"starter"` | The profile to start from. |
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force, safe to show."""

    name: str
    value: Any
    origin: str
    """``default``, ``profile``, ``file`` or ``environment``."""
    where: str | None
    """Which profile, file or variable."""


def in_force(settings: Settings, layers: Sequence[Layer]) -> Iterator[Setting]:
    """Every setting with its origin; what may be a secret is masked."""
    yield Setting("profile", settings.profile, "profile", None)
    for section, model in _sections(settings):
        for name in type(model).model_fields:
            origin, where = _origin(layers, section, name)
            yield Setting(f"{section}.{name}", _masked(name, getattr(model, name)), origin, where)


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for section, model in _sections(Settings()):
        kind = type(model)
        told = inspect.getdoc(kind) if kind.__doc__ and kind.__doc__ != BaseModel.__doc__ else None
        docs = _docstrings(kind)
        rows = [
            f"| `{name}` | {_cell(_type(field))} | {_cell(_default(field))} | {_cell(docs.get(name, ''))} |"
            for name, field in kind.model_fields.items()
        ]
        head = f"## {section}\n" + (f"\n{told}\n" if told else "")
        parts.append("\n".join([head, "| key | type | default | what |", "| --- | --- | --- | --- |", *rows, ""]))
    return "\n".join(parts)


def _sections(settings: Settings) -> Iterator[tuple[str, BaseModel]]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield name, value


def _origin(layers: Sequence[Layer], section: str, name: str) -> tuple[str, str | None]:
    for layer in reversed(layers):
        entries = layer.values.get(section)
        if isinstance(entries, dict) and name in entries:
            exact = f"{layer.where}{section}__{name}".upper() if layer.origin == "environment" else layer.where
            return layer.origin, exact
    return "default", None


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(key, each) for key, each in value.items()}
    if isinstance(value, tuple):
        return _masked_words(value)
    if isinstance(value, str):
        return _MASK if _SECRET.search(name) else _without_credentials(value)
    return value


def _masked_words(words: tuple[Any, ...]) -> list[Any]:
    """A command line: the value of ``--api-key`` may stand in the same word or in the next."""
    shown: list[Any] = []
    hide_next = False
    for word in words:
        flag, equals, _ = str(word).partition("=")
        secret = _SECRET.search(flag.lstrip("-")) is not None
        if hide_next and not str(word).startswith("-"):
            shown.append(_MASK)
        else:
            shown.append(f"{flag}={_MASK}" if secret and equals else _masked("", word))
        hide_next = secret and not equals
    return shown


def _without_credentials(value: str) -> str:
    """An address without the name and password that may stand in it."""
    if "@" not in value or "://" not in value:
        return value
    parts = urlsplit(value)
    return urlunsplit(parts._replace(netloc=f"{_MASK}@{parts.netloc.rpartition('@')[2]}"))


def _docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The string below each field, as it stands in the source."""
    [found] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(found, ast.ClassDef)
    docs = {}
    for field, after in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match after:
                case ast.Expr(ast.Constant(str() as text)):
                    docs[field.target.id] = " ".join(text.split()).replace("``", "`")
    return docs


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {limit:g}"
        for each in field.metadata
        for kind, sign, limit in (
            (Ge, "at least", getattr(each, "ge", None)),
            (Gt, "above", getattr(each, "gt", None)),
            (Le, "at most", getattr(each, "le", None)),
            (Lt, "below", getattr(each, "lt", None)),
        )
        if isinstance(each, kind) and limit is not None
    ]
    return ", ".join([_words(field.annotation), *limits])


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(each)}`" for each in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_words(each) for each in arguments if each is not NoneType)
    if origin is tuple:
        return f"list of {_words(arguments[0])}s"
    if origin is dict:
        return f"table of {_words(arguments[1])}s"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "unset" if value is None else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
