"""``domainqa finetune clean``: sources to one file of clean examples, with a report of what was dropped and why."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.finetune.options import Against, AgainstSplit, AllowSameFacts, decontaminator
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from finetune.sources.spec import SourceSpec

EXAMPLES, REPORT, READABLE = "examples.jsonl", "report.json", "report.txt"


def clean(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="KIND:WHERE,option=value,... or a TOML file of [[source]] tables. Kinds: examples, facts, chat, "
            "alpaca, text, collection, hub; gsm8k, commonsenseqa, self-instruct, medquad.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where examples and report are written.")],
    against: Against = None,
    against_split: AgainstSplit = None,
    allow_same_facts: AllowSameFacts = False,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Keep only this language, such as en; several."),
    ] = None,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="Take out mail addresses, telephone numbers, accounts and cards.")
    ] = False,
    near_duplicate: Annotated[
        float, typer.Option("--near-duplicate", metavar="SHARE", min=0.05, max=1, help="Similarity of near duplicates.")
    ] = 0.8,
    as_json: JsonOutput = False,
) -> None:
    """Clean training data: domain and general by one standard."""
    from finetune.cleaning.cleaning import Rules
    from finetune.cleaning.cleaning import clean as clean_examples
    from finetune.examples import write_examples
    from finetune.sources.reading import read_sources
    from finetune.sources.spec import specs_of
    from rag.catalog import Catalog
    from rag.errors import UsageError

    specs = specs_of(sources)
    given_away = decontaminator(against, against_split, allow_same_facts=allow_same_facts)
    rules = Rules(languages=tuple(language or ()), near_duplicate=near_duplicate, personal_data=scrub)
    home = session.of(ctx).home_folder()
    kept, report = clean_examples(read_sources(specs, lambda: Catalog.open(home)), rules, given_away)
    if not kept:
        raise UsageError(f"nothing is left of {report.read} examples; {out} was not written")
    report.inputs = [_input(spec) for spec in specs]
    report.against = [{"path": str(path), "sha256": _sha256(path)} for path in against or ()]
    out.mkdir(parents=True, exist_ok=True)
    write_examples(out / EXAMPLES, kept)
    (out / REPORT).write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    (out / READABLE).write_text(report.in_words(), "utf-8")
    if as_json:
        output.print_json(
            {
                "out": str(out / EXAMPLES),
                "read": report.read,
                "kept": report.kept,
                "sources": {name: dict(counts.model_dump(mode="json")) for name, counts in report.sources.items()},
            }
        )
        return
    output.print_text(report.in_words().rstrip())
    output.note(f"written to {out / EXAMPLES}; what was dropped is listed in {out / REPORT}")


def _input(spec: "SourceSpec") -> dict[str, object]:
    told: dict[str, object] = spec.model_dump(mode="json", exclude_defaults=True)
    path = Path(spec.where)
    if spec.kind not in ("collection", "hub") and path.is_file():
        told["sha256"] = _sha256(path)
    return told


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
