"""``domainqa ask``: an answer as it is written, then the sources that were checked."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from rag.types import Answer, Citation, EvidencePacked, Finished, TextDelta
from service.cli import output, session
from service.cli.options import Collection, JsonOutput
from service.cli.waiting import Waiting

if TYPE_CHECKING:
    from rag.question import Question

_QUOTE_CHARACTERS = 300
_INDENT = (0, 0, 0, 2)


def _strategies(incomplete: str) -> list[str]:
    from rag.answering import STRATEGIES

    return [name for name in STRATEGIES if name.startswith(incomplete)]


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin.")],
    collection: Collection = "default",
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            "-s",
            metavar="NAME",
            help="rag, extractive, stuffed, router or base, with @adapter where there is one; the profile's when left "
            "out.",
            autocompletion=_strategies,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", min=1, help="The longest answer; the profile's when left out."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Answer a question, with sources.

    Every source is checked against the text. Where the documents don't say, so does the answer.
    """
    from rag.question import Question

    own = session.of(ctx)
    text = sys.stdin.read() if question == "-" else question
    asked = Question(text.strip(), collection, strategy, max_tokens=max_tokens)
    method = (strategy or own.settings().answering.strategy).partition("@")[0]
    engine = own.running_engine()
    if engine is not None and method != "extractive":
        engine.endpoint()  # where none runs, that is told before models are loaded
    own.provide(embedder=method != "base", chat=method != "extractive" and engine is None)
    stream = _Stream()
    try:
        answer = asyncio.run(_answer(own, asked, None if as_json else stream.write))
    finally:
        stream.end_line()
    if as_json:
        output.print_json(_as_json(answer))
    else:
        _print_sources(answer)
        _print_cost(answer)


async def _answer(asking: session.Session, question: "Question", show: Callable[[str], None] | None) -> Answer:
    from rag.citing import Renumbering

    shown = Renumbering()
    with Waiting("searching") as waiting:
        library = asking.open(waiting.say)
        try:
            async with aclosing(library.answerer.stream(question)) as events:
                async for event in events:
                    match event:
                        case EvidencePacked(evidence):
                            waiting.say(f"answering from {len(evidence)} passages")
                        case TextDelta(text) if show is not None:
                            waiting.stop()
                            show(shown.text(text))
                        case Finished(answer):
                            return answer
        finally:
            await library.aclose()
    raise AssertionError("the answer flow ended without an answer")


class _Stream:
    """The answer's text on stdout, piece by piece, exactly as it is: no markup is read into it."""

    def __init__(self) -> None:
        self._line_is_open = False

    def write(self, text: str) -> None:
        if text:
            sys.stdout.write(output.printable(text))
            sys.stdout.flush()
            self._line_is_open = not text.endswith("\n")

    def end_line(self) -> None:
        if self._line_is_open:
            sys.stdout.write("\n")
            self._line_is_open = False


def _print_sources(answer: Answer) -> None:
    from rag.citing import numbers_for_readers

    console = output.stdout()
    notes = list(_notes(answer))
    if notes:
        console.print()
    for note in notes:
        console.print(Text(output.one_line(note), style="yellow"))
    if answer.citations:
        console.print()
        console.print(Text("Sources", style="bold"))
    # A source that several sentences rest on is listed once.
    numbers = numbers_for_readers(answer.text, answer.citations)
    ordered = sorted(answer.citations, key=lambda citation: numbers[citation.marker])
    lines = [_source(citation, numbers[citation.marker]) for citation in ordered]
    for line in {line.plain: line for line in lines}.values():
        console.print(Padding(line, _INDENT, expand=False))
    # Our own abstention names them already, a model's doesn't.
    nearest = [document for document in answer.nearest if document.source not in answer.text]
    if answer.abstained and nearest:
        console.print()
        console.print(Text("Nearest documents", style="bold"))
        for document in nearest:
            line = Text(f"{output.one_line(document.title)} ({output.name(document.source)})")
            console.print(Padding(line, _INDENT, expand=False))


def _notes(answer: Answer) -> list[str]:
    notes = []
    if answer.fallback is not None:
        notes.append(f"Verbatim sentences: {answer.fallback}.")
    # Verbatim sentences say it in their own text; a model's answer may not.
    notes += [item.note for item in answer.conflicts if item.note not in answer.text]
    if answer.abstained:
        return notes
    if answer.supported is False:
        notes.append("Not every sentence of this answer is supported by the documents.")
    elif answer.supported is None and not answer.evidence:
        notes.append("This answer was made without documents and is not checked.")
    if answer.finish_reason == "length":
        notes.append("The answer was cut at its token limit; --max-tokens raises it.")
    return notes


def _source(citation: Citation, number: int) -> Text:
    line = Text(f"[{number}] ")
    line.append(output.one_line(citation.title), style="bold")
    if citation.page is not None:
        line.append(f", page {citation.page}")
    if citation.recognised:
        line.append(", read by OCR")
    quote = output.one_line(citation.quote)
    if len(quote) > _QUOTE_CHARACTERS:
        quote = quote[:_QUOTE_CHARACTERS] + "…"
    line.append(f' — "{quote}"')
    line.append(f" ({output.name(citation.source)})", style="dim")
    if citation.attributed:
        line.append(" found afterwards: the answer names no source", style="yellow")
    if not citation.supported:
        line.append(" NOT SUPPORTED by this source", style="bold red")
    return line


def _print_cost(answer: Answer) -> None:
    usage = answer.usage
    parts = [answer.strategy]
    if answer.model:
        parts.append(answer.model)
    if usage.prompt_tokens or usage.completion_tokens:
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        parts.append(f"{usage.prompt_tokens} tokens read{cached}, {usage.completion_tokens} written")
    parts.append(f"{answer.timings.get('total', 0.0):.1f} s")
    output.note(" · ".join(parts))


def _as_json(answer: Answer) -> output.Json:
    from rag.citing import numbers_for_readers

    numbers = numbers_for_readers(answer.text, answer.citations)
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "citations": [
            {
                "marker": citation.marker,
                "number": numbers[citation.marker],
                "document": citation.source,
                "title": citation.title,
                "page": citation.page,
                "start": citation.start,
                "end": citation.end,
                "quote": citation.quote,
                "supported": citation.supported,
                "attributed": citation.attributed,
                "recognised": citation.recognised,
            }
            for citation in answer.citations
        ],
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "cached_tokens": answer.usage.cached_tokens,
        },
        "timings": {step: round(seconds, 6) for step, seconds in answer.timings.items()},
        "strategy": answer.strategy,
        "supported": answer.supported,
        "fallback": answer.fallback,
        "conflicts": [
            {
                "kind": each.kind,
                "newer": {"marker": each.newer, "document": each.newer_source, "date": each.newer_date},
                "older": {"marker": each.older, "document": each.older_source, "date": each.older_date},
                "note": each.note,
            }
            for each in answer.conflicts
        ],
        "nearest": [
            {"document": each.source, "document_id": each.document_id, "title": each.title, "score": each.score}
            for each in answer.nearest
        ],
    }
