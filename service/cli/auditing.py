"""``domainqa eval audit``: whether the questions were trained on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput, Tenant

if TYPE_CHECKING:
    from rag.catalog import Catalog
    from rag.evaluation.leakage import Audit, Kind, WithAndWithout
    from rag.interfaces import Vectors

BLOCKED = 3
_KINDS: "Sequence[tuple[Kind, str]]" = (
    ("question", "the question or a paraphrase was trained on"),
    ("fact", "its fact was trained on in another question or text"),
    ("evidence", "its evidence stands in the documents"),
)


def audit(
    ctx: typer.Context,
    questions: Annotated[list[Path], typer.Argument(metavar="QUESTIONS...", help="Question files, JSONL.")],
    trained: Annotated[
        list[Path] | None,
        typer.Option("--trained", metavar="FILE", help="Training examples (JSONL) or pretraining text; several."),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", metavar="NAME", help="Documents that are searched; several."),
    ] = None,
    tenant: Tenant = "default",
    transductive: Annotated[
        bool, typer.Option("--transductive", help="The run declares that facts it asks for were trained on.")
    ] = False,
    by_meaning: Annotated[
        bool, typer.Option("--by-meaning", help="Find paraphrases by the embedder too, not by their words alone.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="Show this run's scores with and without leaks.")
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Look for evaluation questions in training data and documents, and tell apart what it means.

    Exits with 3 where a question may not be used: it was trained on, or its fact was and the run doesn't declare it.
    """
    from rag.catalog import Catalog
    from rag.errors import UsageError
    from rag.evaluation import leakage
    from rag.evaluation.questions import read_questions
    from rag.evaluation.records import read_run, read_scores
    from rag.evaluation.trained import read_trained

    if not trained and not collection:
        raise UsageError("nothing to look in; give training data with --trained, documents with --collection, or both")
    asked = [question for path in questions for question in read_questions(path)]
    record = read_run(run) if run is not None else None
    declared = transductive or (record is not None and record.transductive)
    own = session.of(ctx)
    with Catalog.open(own.home_folder()) as catalog:
        documents = {name: _texts(catalog, name, tenant) for name in collection or ()}
        training = {str(path): read_trained(path) for path in trained or ()}
        if by_meaning:
            own.provide()
            with own.library() as library:
                embedder = library.embedder()

                def embed(texts: Sequence[str]) -> "Vectors":
                    return embedder.embed_documents(list(texts))

                found = leakage.audit(asked, training, documents, transductive=declared, embed=embed)
        else:
            found = leakage.audit(asked, training, documents, transductive=declared)
    arms: list[WithAndWithout] = []
    if run is not None and record is not None:
        leaked = found.leaked("question") | found.leaked("fact")
        arms = leakage.with_and_without(read_scores(run), record.primary, leaked, record.seed)
    if as_json:
        output.print_json(_as_json(found, arms))
    else:
        _print(found, arms)
    if found.blocked:
        raise typer.Exit(BLOCKED)


def _texts(catalog: "Catalog", name: str, tenant: str) -> Iterator[tuple[str, str]]:
    found = catalog.collection(name, tenant)
    for info in catalog.documents(found):
        yield info.source, catalog.document(found, info.id).text


def _print(found: "Audit", arms: "Sequence[WithAndWithout]") -> None:
    rows = [(kind, len(found.leaked(kind)), words, _standing(found, kind)) for kind, words in _KINDS]
    output.print_table(("leak", "questions", "meaning", "standing"), rows, numbers=["questions"])
    harmful = [leak for leak in found.leaks if leak.kind != "evidence"]
    if harmful:
        output.print_text()
        columns = ("question", "leak", "how", "where", "item", "similarity")
        rows_of_leaks = [
            (leak.question, leak.kind, leak.how, leak.where, leak.item, leak.similarity) for leak in harmful
        ]
        output.print_table(columns, rows_of_leaks, numbers=["similarity"])
    if arms:
        output.print_text()
        output.print_table(
            ("arm", "all", "questions", "without leaked", "questions left"),
            [(each.arm, each.all.value, each.all.questions, each.clean.value, each.clean.questions) for each in arms],
            numbers=["all", "questions", "without leaked", "questions left"],
        )
    if found.unsupported:
        output.note(f"{len(found.unsupported)} questions have evidence that the documents don't hold")
    output.note(f"{len(found.blocked)} of {found.questions} questions may not be used")


def _standing(found: "Audit", kind: str) -> str:
    if kind == "question":
        return "blocked"
    if kind == "evidence":
        return "expected"
    return "allowed: declared transductive" if found.transductive else "blocked: not declared with --transductive"


def _as_json(found: "Audit", arms: "Sequence[WithAndWithout]") -> output.Json:
    return {
        "questions": found.questions,
        "transductive": found.transductive,
        "leaked": {kind: sorted(found.leaked(kind)) for kind in ("question", "fact", "evidence")},
        "blocked": sorted(found.blocked),
        "unsupported": list(found.unsupported),
        "leaks": [
            {
                "question": leak.question,
                "kind": leak.kind,
                "how": leak.how,
                "where": leak.where,
                "item": leak.item,
                "similarity": leak.similarity,
            }
            for leak in found.leaks
        ],
        "scores": {
            each.arm: {
                "all": output.number(each.all.value),
                "questions": each.all.questions,
                "clean": output.number(each.clean.value),
                "clean_questions": each.clean.questions,
            }
            for each in arms
        },
    }
