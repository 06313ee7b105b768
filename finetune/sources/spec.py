"""What a source is, in one line: ``KIND:WHERE,family=general,weight=0.5,group=COLUMN``, or a table of a TOML file.

``WHERE`` is a file, a folder, a collection or a data set's id. Options that a kind does not know are refused.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.examples import Family
from rag.errors import UsageError

Kind = Literal["examples", "facts", "chat", "alpaca", "hub", "text", "collection"]

_OPTION = re.compile(r",(?=[a-z_]+=)")


class Columns(BaseModel):
    """Where a record holds what. A dot goes into a record or a list: ``question.stem``, ``instances.0.output``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: str = "messages"
    """Chat: the list of turns."""
    instruction: str = "instruction"
    input: str | None = "input"
    """Text that the instruction is about; it may be missing."""
    output: str = "output"
    system: str | None = None
    choices: str | None = None
    """A list of ``label`` and ``text``, shown below the instruction; the output is then the right label."""
    text: str = "text"
    id: str | None = None
    fact_key: str | None = None


class SourceSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    where: str = Field(min_length=1)
    name: str = Field(default="", max_length=80)
    """What its examples call their source; the file's name, when left out."""
    family: Family = "domain"
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    group: str | None = None
    """The column that says what a split must not tear apart; an example is its own group, when left out."""
    columns: Columns = Columns()
    form: Literal["alpaca", "chat", "text"] = "alpaca"
    """What the rows of a data set are."""
    split: str = "train"
    """Of a data set on a hub."""
    subset: str | None = None
    limit: int | None = Field(default=None, gt=0)
    """At most so many examples, the first ones."""
    remove: str | None = None
    """A regular expression; what it matches is taken out of every answer."""

    @property
    def label(self) -> str:
        return self.name or _plain_name(self.where)


@dataclass(frozen=True, slots=True)
class _Layout:
    """A well-known file's columns, under a kind of its own."""

    columns: Mapping[str, object]
    options: Mapping[str, object]


_LAYOUTS: Mapping[str, _Layout] = {
    "gsm8k": _Layout(
        {"instruction": "question", "input": None, "output": "answer"},
        # The steps hold a calculator's notes, <<48/2=24>>, which no reader should see.
        {"family": "general", "remove": "<<[^<>]*>>"},
    ),
    "commonsenseqa": _Layout(
        {
            "instruction": "question.stem",
            "input": None,
            "choices": "question.choices",
            "output": "answerKey",
            "id": "id",
        },
        {"family": "general", "group": "question.question_concept"},
    ),
    "self-instruct": _Layout(
        {"input": "instances.0.input", "output": "instances.0.output", "id": "id"}, {"family": "general"}
    ),
    "medquad": _Layout(
        {"instruction": "question", "input": None, "output": "answer", "id": "id"},
        {"family": "domain", "group": "doc_id"},
    ),
}


def parse_spec(told: str) -> SourceSpec:
    """Raises ``UsageError`` saying what is wrong and how a source is written."""
    head, *options = _OPTION.split(told)
    kind, separator, where = head.partition(":")
    if not separator:
        raise UsageError(f"the source {told!r} names no kind; write KIND:WHERE, such as alpaca:{told}")
    values: dict[str, object] = {}
    for option in options:
        name, _, value = option.partition("=")
        values[name] = value
    return _spec(kind, where, values, told)


def read_specs(path: Path) -> list[SourceSpec]:
    """The ``[[source]]`` tables of a TOML file; relative paths count from its folder."""
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("source")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a list of sources: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path} has no [[source]] tables")
    specs = []
    for number, entry in enumerate(entries, start=1):
        values = {str(key): value for key, value in entry.items()}
        kind, where = str(values.pop("kind", "")), str(values.pop("where", ""))
        spec = _spec(kind, where, values, f"{path}, source {number}")
        beside = path.parent / spec.where
        local = spec.kind not in ("collection", "hub") or beside.exists()
        specs.append(spec.model_copy(update={"where": str(beside)}) if local else spec)
    return specs


def specs_of(told: Sequence[str]) -> list[SourceSpec]:
    """Sources as a command line names them: specifications, and TOML files of them. Two may not share a name."""
    specs = []
    for item in told:
        specs += read_specs(Path(item)) if item.endswith(".toml") and Path(item).is_file() else [parse_spec(item)]
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two sources are called {label!r}; give one another name: name=...")
    return specs


def _spec(kind: str, where: str, values: Mapping[str, object], told: str) -> SourceSpec:
    layout = _LAYOUTS.get(kind)
    record: dict[str, object] = {"name": kind, "kind": "alpaca", **layout.options} if layout else {"kind": kind}
    columns: dict[str, object] = dict(layout.columns) if layout else {}
    for name, value in values.items():
        if name == "columns" and isinstance(value, dict):
            columns |= value
        elif name in Columns.model_fields:
            columns[name] = value or None
        else:
            record[name] = value
    try:
        return SourceSpec.model_validate({**record, "where": where, "columns": columns})
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        known = ", ".join([*get_args(Kind), *_LAYOUTS])
        raise UsageError(f"the source {told!r}: {at}: {first['msg']}; kinds are {known}") from error


def _plain_name(where: str) -> str:
    name = re.split(r"[/\\]", where.rstrip("/\\"))[-1]
    return name.split(".")[0] or name
