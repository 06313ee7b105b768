"""``domainqa finetune synthesize``: facts from a collection's documents, by rules and by a model."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Tenant

if TYPE_CHECKING:
    from finetune.synthesis.programmatic import Gathered


def synthesize(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the facts are written, JSONL.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    wordings: Annotated[
        int, typer.Option("--wordings", metavar="N", min=1, help="Questions in other words for one table cell.")
    ] = 2,
    groups: Annotated[
        list[Path] | None,
        typer.Option(
            "--groups",
            metavar="QUESTIONS",
            help="Question files that say which documents belong together; may be given several times.",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only documents of this split's groups; needs --groups."),
    ] = None,
    closed_book: Annotated[
        Path | None,
        typer.Option(
            "--closed-book", metavar="FILE", help="Write the facts as training examples without passages too."
        ),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Make questions, answers and quotes from the documents of a collection."""
    from finetune.facts import write_facts
    from finetune.sources.collection import groups_of, read_documents
    from finetune.synthesis.programmatic import gather
    from rag.errors import UsageError

    if split and not groups:
        raise typer.BadParameter("--split needs --groups, the question files that say which document is in which split")
    known = groups_of(groups or ())
    own = session.of(ctx)
    from rag.catalog import Catalog

    with Catalog.open(own.home_folder()) as catalog:
        gathered = gather(read_documents(catalog, collection, known, frozenset(split or ()), tenant), wordings)
    if not gathered.facts:
        raise UsageError(f"the documents of {collection!r} that were asked for hold nothing that rules can ask about")
    write_facts(out, gathered.facts)
    if closed_book is not None:
        from finetune.examples import write_examples
        from finetune.sources.closed_book import closed_book_examples

        write_examples(closed_book, closed_book_examples(gathered.facts))
    _report(gathered, out, as_json)


def _report(gathered: "Gathered", out: Path, as_json: bool) -> None:
    counts = Counter(fact.kind for fact in gathered.facts)
    keys = len({fact.fact_key for fact in gathered.facts})
    if as_json:
        output.print_json(
            {
                "facts": len(gathered.facts),
                "distinct": keys,
                "by_kind": dict(sorted(counts.items())),
                "dropped": dict(gathered.dropped),
                "without": list(gathered.without),
                "out": str(out),
            }
        )
        return
    output.print_table(("kind", "questions"), sorted(counts.items()), numbers=["questions"])
    dropped = ", ".join(f"{count} {reason}" for reason, count in gathered.dropped.items()) or "none"
    output.note(f"{len(gathered.facts)} questions about {keys} facts in {out}; dropped: {dropped}")
    for source in gathered.without:
        output.note(f"nothing to ask about in {output.name(source)}")
