"""``domainqa finetune ground``: facts or questions as examples with the prompt that the server would send."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Tenant
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from finetune.grounded import Asked, Grounded
    from rag.config import Settings


def ground(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="FACTS_OR_QUESTIONS", help="JSONL: facts, or questions with known answers.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the examples are written, JSONL.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    without_gold: Annotated[
        float,
        typer.Option(
            "--without-gold",
            metavar="SHARE",
            min=0,
            max=0.9,
            help="Share of the examples whose passages do not answer the question, so that the right answer is that "
            "the documents do not say.",
        ),
    ] = 0.2,
    closed_book: Annotated[
        bool, typer.Option("--closed-book", help="The same questions without passages instead.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="FILE",
            help="With --closed-book: only the facts of these grounded examples, weighted to the same loss tokens.",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only questions of this split; may be given several times."),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="Only those of this group; may be given several times."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Only those asked in this language; several times for more."),
    ] = None,
    max_evidence_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-evidence-tokens", metavar="N", min=50, help="Fewer than the server's, for shorter prompts."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most so many questions, from all groups alike."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Chooses questions for --limit and --without-gold.")
    ] = 0,
    as_json: JsonOutput = False,
) -> None:
    """Make training examples for answering from passages.

    Passages, prompt and abstention are the server's own: its retriever, its packer, its rules. An answer carries the
    marker of its passage, and passes the server's check that the passage supports it; what cannot is left out.
    """
    if like is not None and not closed_book:
        raise typer.BadParameter("--like says what closed-book examples are made like; it needs --closed-book")
    own = session.of(ctx)
    asked = _asked(source, set(split or ()), set(group or ()), set(language or ()))
    if limit is not None:
        from finetune.grounded import chosen

        asked = chosen(asked, limit, seed)
    if closed_book:
        _closed_book(own, asked, out, like, as_json)
        return
    from finetune.examples import write_examples
    from finetune.grounded import Grounder
    from finetune.grounded import ground as ground_all

    own.provide_models(own.models(chat=own.settings().generation.engine == "local"), own.is_offline())
    with CountDisplay("questions") as display, own.library(display.note) as library:
        found = library.catalog.collection(collection, tenant)
        grounder = Grounder(library, found, _shorter(library.settings, max_evidence_tokens))
        made = ground_all(grounder, asked, without_gold=without_gold, seed=seed, on_question=display.update)
        tokens = library.prompt_reader().tokens
        supervised = sum(tokens.count_text(example.messages[-1].content) for example in made.examples)
    write_examples(out, made.examples)
    _report(made, supervised, out, as_json)


def _asked(source: Path, splits: set[str], groups: set[str], languages: set[str]) -> "Sequence[Asked]":
    from finetune.grounded import asked_of_fact, asked_of_question
    from rag.errors import UsageError

    if _holds_facts(source):
        from finetune.facts import read_facts

        if splits:
            raise UsageError(f"{source} holds facts, which have no split; choose them with --group")
        asked = [
            asked_of_fact(fact)
            for fact in read_facts(source)
            if (not groups or fact.group in groups) and (not languages or fact.language in languages)
        ]
    else:
        from rag.evaluation.questions import read_questions

        asked = [
            asked_of_question(question)
            for question in read_questions(source)
            if (not splits or question.split in splits)
            and (not groups or question.group in groups)
            and (not languages or question.language in languages)
        ]
    if not asked:
        raise UsageError(f"{source}: no question is left by --split, --group and --language")
    return asked


def _holds_facts(source: Path) -> bool:
    """By the first line: a fact has one ``answer`` and its ``quote``."""
    import json

    from rag.errors import UsageError

    try:
        with source.open(encoding="utf-8-sig") as file:
            first = json.loads(next((line for line in file if line.strip()), "{}"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} cannot be read as facts or questions: {error}") from error
    return isinstance(first, dict) and {"answer", "quote"} <= first.keys()


def _shorter(settings: "Settings", max_evidence_tokens: int | None) -> "Settings":
    if max_evidence_tokens is None:
        return settings
    packing = settings.packing.model_copy(update={"max_evidence_tokens": max_evidence_tokens})
    return settings.model_copy(update={"packing": packing})


def _closed_book(own: session.Session, asked: "Sequence[Asked]", out: Path, like: Path | None, as_json: bool) -> None:
    from finetune.examples import read_examples, write_examples
    from finetune.grounded import closed_book
    from rag.errors import UsageError

    weight = 1.0
    own.provide(embedder=False, chat=True)
    with own.library() as library:
        count = library.prompt_reader().tokens.count_text
    examples = list(closed_book(asked))
    if like is not None:
        grounded = list(read_examples(like))
        ids = {example.id.removeprefix("grounded-") for example in grounded}
        examples = [example for example in examples if example.id.removeprefix("closed-book-") in ids]
        if not examples:
            raise UsageError(f"{like} was made of none of these questions")
        wanted = sum(count(example.messages[-1].content) for example in grounded)
        weight = wanted / sum(count(example.messages[-1].content) for example in examples)
        examples = [example.model_copy(update={"weight": weight}) for example in examples]
    supervised = sum(count(example.messages[-1].content) for example in examples)
    write_examples(out, examples)
    if as_json:
        output.print_json(
            {"examples": len(examples), "supervised_tokens": supervised, "weight": weight, "out": str(out)}
        )
    else:
        output.note(f"{len(examples)} examples with {supervised} supervised tokens, weight {weight:.3f}, in {out}")


def _report(made: "Grounded", supervised: int, out: Path, as_json: bool) -> None:
    skipped: dict[str, output.Json] = dict(sorted(made.skipped.items()))
    if as_json:
        output.print_json(
            {
                "examples": len(made.examples),
                "with_gold": made.with_gold,
                "without_gold": made.without_gold,
                "supervised_tokens": supervised,
                "skipped": skipped,
                "out": str(out),
            }
        )
        return
    output.note(
        f"{made.with_gold} examples with their gold passage and {made.without_gold} without, "
        f"{supervised} supervised tokens, in {out}"
    )
    for reason, count in skipped.items():
        output.note(f"left out, {reason}: {count}")
