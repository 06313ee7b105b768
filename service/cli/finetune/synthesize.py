"""``domainqa finetune synthesize``: facts from a collection's documents, by rules and by a model."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import output, session
from service.cli.finetune.options import Against, AgainstSplit, AllowSameFacts, decontaminator
from service.cli.options import Collection, JsonOutput, Tenant
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from finetune.cleaning.decontamination import Decontaminator
    from finetune.facts import Fact
    from finetune.sources.collection import SourceDocument
    from finetune.synthesis.asking import Ask
    from finetune.synthesis.by_model import Synthesised
    from finetune.synthesis.programmatic import Gathered
    from rag.build import Library
    from rag.generation.batch import BatchProgress


@dataclass(frozen=True, slots=True)
class _ModelWork:
    """What the model is to do."""

    per_chunk: int
    languages: Sequence[str]
    concurrency: int
    top_k: int
    limit: int | None


def synthesize(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the facts are written, JSONL.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    programmatic_only: Annotated[
        bool, typer.Option("--programmatic-only", help="By rules alone: from tables, definitions, plain statements.")
    ] = False,
    wordings: Annotated[
        int, typer.Option("--wordings", metavar="N", min=1, help="Questions in other words for one table cell.")
    ] = 2,
    per_chunk: Annotated[
        int,
        typer.Option("--per-chunk", metavar="N", min=1, max=5, help="Types of question asked of the model a chunk."),
    ] = 2,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Ask in this language beside the document's own; several."),
    ] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="N", min=1, help="Among so many hits the search must find the quote.")
    ] = 8,
    limit_chunks: Annotated[
        int | None, typer.Option("--limit-chunks", metavar="N", min=1, help="Only the first chunks, to try it out.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Requests at a time.")] = 8,
    groups: Annotated[
        list[Path] | None,
        typer.Option(
            "--groups", metavar="QUESTIONS", help="A question file that says which documents belong together."
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only documents of this split's groups; needs --groups."),
    ] = None,
    against: Against = None,
    against_split: AgainstSplit = None,
    allow_same_facts: AllowSameFacts = False,
    closed_book: Annotated[
        Path | None,
        typer.Option(
            "--closed-book", metavar="FILE", help="Write the facts as training examples without passages too."
        ),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Make questions, answers and quotes from the documents of a collection.

    A run that was stopped goes on where it was: the model's replies are kept beside the output.
    """
    from finetune.facts import write_facts
    from finetune.sources.collection import groups_of, read_documents
    from finetune.synthesis.programmatic import gather
    from rag.catalog import Catalog
    from rag.errors import UsageError

    if split and not groups:
        raise typer.BadParameter("--split needs --groups, the question file that says which document is in which split")
    known = groups_of(groups or ())
    given_away = decontaminator(against, against_split, allow_same_facts=allow_same_facts)
    own = session.of(ctx)
    with Catalog.open(own.home_folder()) as catalog:
        documents = list(read_documents(catalog, collection, known, frozenset(split or ()), tenant))
    gathered = gather(documents, wordings, given_away)
    facts: Sequence[Fact] = gathered.facts
    made: Synthesised | None = None
    if not programmatic_only:
        own.provide(chat=own.running_engine() is None)
        work = _ModelWork(per_chunk, language or (), concurrency, top_k, limit_chunks)
        made = asyncio.run(_ask_model(own, collection, tenant, documents, facts, given_away, work, out))
        facts = (*facts, *made.facts)
    if not facts:
        raise UsageError(f"the documents of {collection!r} that were asked for gave no facts; {out} was not written")
    write_facts(out, facts)
    if closed_book is not None:
        from finetune.examples import write_examples
        from finetune.sources.closed_book import closed_book_examples

        write_examples(closed_book, closed_book_examples(facts))
    _report(facts, gathered, made, out, as_json)


async def _ask_model(
    own: session.Session,
    collection: str,
    tenant: str,
    documents: "Sequence[SourceDocument]",
    facts: "Sequence[Fact]",
    given_away: "Decontaminator | None",
    work: _ModelWork,
    out: Path,
) -> "Synthesised":
    from finetune.synthesis.by_model import synthesise
    from finetune.synthesis.filters import Novelty

    novelty = Novelty(given_away)
    for fact in facts:
        novelty.add(fact.question)
    with CountDisplay("requests") as display:
        library = own.open(display.note)
        try:
            retriever = library.retriever(library.catalog.collection(collection, tenant))
            asks = _asks(library, collection, tenant, documents, work)
            group_of = {source.document.source: source.group for source in documents}

            def tell(what: str, update: "BatchProgress") -> None:
                display.update(update.done + update.failed, update.total)

            return await synthesise(
                library.chat_model(),
                asks,
                group_of.__getitem__,
                lambda query: retriever.retrieve(query, work.top_k),
                novelty,
                out,
                concurrency=work.concurrency,
                progress=tell,
            )
        finally:
            await library.aclose()


def _asks(
    library: "Library", collection: str, tenant: str, documents: "Sequence[SourceDocument]", work: _ModelWork
) -> "list[Ask]":
    from finetune.synthesis.asking import plan

    found = library.catalog.collection(collection, tenant)
    seq = library.catalog.published_seq(found.id)
    chunks = [
        chunk
        for source in documents
        if source.document_id is not None
        for chunk in library.catalog.document_chunks(found.id, source.document_id, seq)
    ]
    return plan(chunks[: work.limit], work.per_chunk, work.languages)


def _report(
    facts: "Sequence[Fact]", gathered: "Gathered", made: "Synthesised | None", out: Path, as_json: bool
) -> None:
    counts = Counter(fact.kind for fact in facts)
    keys = len({fact.fact_key for fact in facts})
    if as_json:
        shown: dict[str, output.Json] = {
            "out": str(out),
            "questions": len(facts),
            "facts": keys,
            "by_kind": dict(sorted(counts.items())),
            "dropped": dict(gathered.dropped),
            "without": list(gathered.without),
        }
        if made is not None:
            shown["asked"] = made.asked
            shown["rejected"] = {str(reason): count for reason, count in made.rejected.items()}
        output.print_json(shown)
        return
    output.print_table(("kind", "questions"), sorted(counts.items()), numbers=["questions"])
    output.note(f"{len(facts)} questions about {keys} facts in {out}; by rule dropped: {_told(gathered.dropped)}")
    if made is not None:
        output.note(f"the model was asked {made.asked} times; rejected: {_told(made.rejected)}")
    for source in gathered.without:
        output.note(f"no rule finds a fact in {output.name(source)}")


def _told(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
