"""``domainqa eval import``, ``make``, ``check-quotes``: where question files come from, and whether they still hold."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Tenant

if TYPE_CHECKING:
    from finetune.facts import Fact
    from rag.evaluation.questions import EvaluationQuestion

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the questions are written, JSONL.")]

BROKEN = 3
"""The exit code where quotes are broken."""


class Format(StrEnum):
    squad = "squad"
    beir = "beir"
    mtrag = "mtrag"
    csv = "csv"


def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a BEIR folder.")],
    out: Out,
    format_: Annotated[
        Format | None, typer.Option("--format", help="What it is; else the path's ending tells.", show_default=False)
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option("--documents", metavar="FOLDER", help="Write the set's own documents there, to be ingested."),
    ] = None,
    language: Annotated[str, typer.Option("--language", metavar="CODE", help="Of questions that don't say.")] = "en",
    as_json: JsonOutput = False,
) -> None:
    """Turn a question set of SQuAD's, BEIR's or MTRAG's format, or a CSV table, into a question file."""
    from rag.evaluation.importing import guess_format, import_questions, write_documents, write_questions

    imported = import_questions(path, format_.value if format_ is not None else guess_format(path), language)
    write_questions(out, imported.questions)
    if documents is not None:
        write_documents(documents, imported.documents)
    answerable = sum(question.answerable for question in imported.questions)
    if as_json:
        output.print_json(
            {
                "out": str(out),
                "questions": len(imported.questions),
                "answerable": answerable,
                "documents": len(imported.documents),
                "documents_folder": None if documents is None else str(documents),
                "skipped": dict(imported.skipped),
            }
        )
        return
    output.print_text(f"{len(imported.questions)} questions, {answerable} answerable, in {output.name(str(out))}")
    for reason, count in imported.skipped.items():
        output.note(f"skipped: {count} {reason}")
    if imported.documents and documents is None:
        output.note(f"the set has {len(imported.documents)} documents of its own; --documents FOLDER writes them")


def make(
    ctx: typer.Context,
    out: Out,
    collection: Collection = "default",
    tenant: Tenant = "default",
    facts: Annotated[
        list[Path] | None,
        typer.Option(
            "--facts",
            metavar="FILE",
            help="Draft from these facts (`finetune synthesize`) instead of by rules; several.",
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option("--known", metavar="QUESTIONS", help="Draft nothing that this file asks already; several."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Draft questions from a collection's documents. Each has the tag `review`: look at it, then take the tag away.

    Whether the search finds the quote is not asked: questions chosen by it would flatter retrieval.
    """
    from finetune.cleaning.decontamination import Decontaminator
    from finetune.facts import read_facts
    from finetune.sources.collection import read_documents
    from finetune.synthesis.filters import Novelty
    from finetune.synthesis.programmatic import gather
    from rag.catalog import Catalog
    from rag.errors import UsageError
    from rag.evaluation.importing import write_questions
    from rag.evaluation.questions import read_questions

    asked = [question for path in known or () for question in read_questions(path)]
    given_away = Decontaminator(asked) if asked else None
    dropped: dict[str, int] = {}
    if facts:
        novelty = Novelty(given_away)
        chosen: list[Fact] = []
        for fact in (each for path in facts for each in read_facts(path)):
            if (fault := novelty.fault_of(fact.question)) is not None:
                dropped[str(fault)] = dropped.get(str(fault), 0) + 1
                continue
            novelty.add(fact.question)
            chosen.append(fact)
    else:
        with Catalog.open(session.of(ctx).home_folder()) as catalog:
            gathered = gather(read_documents(catalog, collection, tenant=tenant), 1, given_away)
        chosen, dropped = list(gathered.facts), dict(gathered.dropped)
    if not chosen:
        raise UsageError(f"no question could be drafted; {out} was not written")
    write_questions(out, [_drafted(fact) for fact in chosen])
    if as_json:
        output.print_json({"out": str(out), "questions": len(chosen), "dropped": dict(dropped)})
        return
    output.print_text(f"{len(chosen)} questions to be reviewed in {output.name(str(out))}")
    for reason, count in dropped.items():
        output.note(f"dropped: {count} {reason}")


def check_quotes(
    ctx: typer.Context,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="A question file, JSONL.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    as_json: JsonOutput = False,
) -> None:
    """Show which gold quotes no longer stand in the collection's documents. Exits with 3 where there are any."""
    from rag.catalog import Catalog
    from rag.evaluation.questions import read_questions
    from rag.evaluation.quoting import check_quotes

    read = read_questions(questions)
    with Catalog.open(session.of(ctx).home_folder()) as catalog:
        found = catalog.collection(collection, tenant)
        ids = {info.source: info.id for info in catalog.documents(found)}
        checked = check_quotes(read, list(ids), lambda source: catalog.document(found, ids[source]).text)
    if as_json:
        output.print_json(
            {
                "quotes": checked.quotes,
                "broken": [
                    {
                        "question": each.question,
                        "document": each.document,
                        "fault": each.fault,
                        "similarity": each.similarity,
                        "moved_to": each.moved_to,
                        "quote": each.quote,
                    }
                    for each in checked.broken
                ],
            }
        )
    elif checked.broken:
        columns = ("question", "document", "fault", "still there", "moved to", "quote")
        rows = [
            (each.question, each.document, each.fault, each.similarity, each.moved_to, each.quote)
            for each in checked.broken
        ]
        output.print_table(columns, rows, numbers=["still there"])
        output.note(f"{len(checked.broken)} of {checked.quotes} quotes are broken")
    else:
        output.print_text(f"all {checked.quotes} quotes stand in the documents of {output.name(collection)}")
    if checked.broken:
        raise typer.Exit(BROKEN)


def _drafted(fact: "Fact") -> "EvaluationQuestion":
    from rag.evaluation.questions import EvaluationQuestion, QuotedEvidence

    return EvaluationQuestion(
        id=fact.id,
        question=fact.question,
        answers=(fact.answer,),
        evidence=(QuotedEvidence(document=fact.document, quote=fact.quote),),
        group=fact.group,
        fact_key=fact.fact_key or "",
        language=fact.language,
        tags=("draft", "review", fact.kind),
    )
