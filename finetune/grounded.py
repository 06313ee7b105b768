"""Grounded examples: the prompt that the server would send for a question, and the answer that is right for it.

Passages come from the collection's own retriever and packer: the gold one and what else was found, or only what else
was found; then the right answer is the abstention. Made of ``Asked``, which facts and evaluation questions become.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from finetune.examples import ExampleMessage, Provenance, TrainingExample
from finetune.facts import Fact
from finetune.wording import sentence, wordings
from rag.abstaining import abstention_text
from rag.build import Library
from rag.citing import cite
from rag.config import Settings
from rag.errors import DoesNotFitError, NotFoundError, UsageError
from rag.evaluation.metrics import contains
from rag.evaluation.questions import EvaluationQuestion
from rag.grounding import search, show
from rag.matching import pieces_of
from rag.prompting import build
from rag.question import Question, Run
from rag.reading import Reader
from rag.rewriting import by_rules
from rag.sentences import table_cells
from rag.types import Collection, Document, Evidence, Hit, Message, StoredChunk

Reason = Literal[
    "is a follow-up", "its quote is not in the collection", "its gold passage does not fit", "no answer is supported"
]
"""Why there is no example of a question."""

_UNIT = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its accepted answers, the best first; without any it cannot be answered."""

    id: str
    question: str
    answers: tuple[str, ...]
    quotes: tuple[tuple[str, str], ...]
    """(source, verbatim quote) of all that an answer needs."""
    group: str
    fact_key: str | None
    history: tuple[Message, ...] = ()
    document_id: str | None = None
    version: str | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Grounded:
    """``skipped`` counts questions by why there is no example of them."""

    examples: tuple[TrainingExample, ...]
    with_gold: int
    without_gold: int
    skipped: dict[Reason, int]


def asked_of_fact(fact: Fact) -> Asked:
    return Asked(
        id=fact.id,
        question=fact.question,
        answers=(fact.answer,),
        quotes=((fact.document, fact.quote),),
        group=fact.group,
        fact_key=fact.fact_key,
        document_id=fact.document_id,
        version=fact.version,
        span=fact.span,
    )


def asked_of_question(question: EvaluationQuestion) -> Asked:
    return Asked(
        id=question.id,
        question=question.question,
        answers=question.answers,
        quotes=tuple((item.document, item.quote) for item in question.evidence),
        group=question.group or question.id,
        fact_key=question.fact_key or None,
        history=question.messages,
    )


class Grounder:
    """Makes grounded examples of one collection, with the settings that it is served with."""

    def __init__(self, library: Library, collection: Collection, settings: Settings | None = None) -> None:
        """``settings`` stand in for the library's, such as for shorter prompts than those that are served."""
        self._catalog = library.catalog
        self._collection = collection
        self._settings = settings or library.settings
        self._retriever = library.retriever(collection)
        self._model = library.prompt_reader()
        self._similarity = library.similarity()
        self._documents: dict[str, tuple[Document, Sequence[StoredChunk]]] = {}

    def prompt(self, question: str, change: Callable[[tuple[Hit, ...]], Sequence[Hit]] | None = None) -> Run:
        """The run of a first question up to its prompt, as the server makes it; ``change`` puts in other hits."""
        run = Run(Question(question, self._collection.name, "rag"), "rag", None, Reader(self._catalog))
        run.rewriting = by_rules(question, ())
        search(run, self._catalog, self._collection, self._retriever, self._settings, self._settings.retrieval.top_k)
        if change is not None:
            run.hits = tuple(change(run.hits))
        show(run, self._model, self._settings)
        return run

    def with_gold(self, asked: Asked) -> TrainingExample | Reason:
        """The served prompt where it shows the gold passages; else with the best of the hits given up for them."""
        gold = self._gold(asked)
        if gold is None:
            return "its quote is not in the collection"
        try:
            run = self.prompt(asked.question)
            if not _shows(run.packed.evidence, gold):
                run = self.prompt(asked.question, lambda hits: _gold_first(hits, gold))
        except DoesNotFitError:
            return "its gold passage does not fit"
        if not _shows(run.packed.evidence, gold):
            return "its gold passage does not fit"
        target = self._target(asked, run, gold)
        if target is None:
            return "no answer is supported"
        return self._example(asked, run, target, "grounded")

    def without_gold(self, asked: Asked) -> TrainingExample | Reason:
        """What else was found, and the abstention. Passages that hold an accepted answer are left out too."""
        gold = self._gold(asked) if asked.answers else ()
        if gold is None:
            return "its quote is not in the collection"
        try:
            run = self.prompt(asked.question, lambda hits: [hit for hit in hits if not _answers(hit, asked, gold)])
        except DoesNotFitError:
            return "its gold passage does not fit"
        return self._example(asked, run, abstention_text(asked.question, ()), "grounded-without-gold")

    def _gold(self, asked: Asked) -> "tuple[_Gold, ...] | None":
        """Where the quotes stand, with the chunk that holds the most of each."""
        found = []
        for source, quote in asked.quotes:
            read = self._read(source)
            if read is None:
                return None
            document, chunks = read
            known = asked.span is not None and asked.version == document.version
            start = asked.span[0] if known and asked.span is not None else document.text.find(quote)
            if start < 0:
                return None
            end = start + len(quote)
            best = max(chunks, key=lambda chunk: min(end, chunk.end) - max(start, chunk.start))
            found.append(_Gold(best, start, end))
        return tuple(found)

    def _read(self, source: str) -> tuple[Document, Sequence[StoredChunk]] | None:
        if source not in self._documents:
            try:
                info = self._catalog.document_info(self._collection, source)
            except NotFoundError:
                return None
            seq = self._catalog.published_seq(self._collection.id)
            chunks = self._catalog.document_chunks(self._collection.id, info.id, seq)
            self._documents[source] = (self._catalog.document(self._collection, source), chunks)
        return self._documents[source]

    def _target(self, asked: Asked, run: Run, gold: "Sequence[_Gold]") -> str | None:
        """The shortest wording with an accepted answer that the support check passes, with its markers."""
        numbers = list(dict.fromkeys(_holder(run.packed.evidence, each).number for each in gold))
        marked = "".join(f"[{number}]" for number in numbers)
        named = _labelled(run.packed.evidence, asked) if len(asked.quotes) == 1 else ()
        for wording in wordings(asked.answers, [quote for _, quote in asked.quotes], named):
            text = sentence(wording, marked)
            cited = cite(
                text,
                run.packed.evidence,
                self._similarity,
                run.reader.page,
                self._retriever.term_weights(text),
                run.query,
            )
            if cited.supported:
                return text
        return None

    def _example(self, asked: Asked, run: Run, target: str, source: str) -> TrainingExample:
        assert run.prompt is not None
        return TrainingExample(
            id=f"{source}-{asked.id}",
            messages=(*_messages(run.prompt.messages), ExampleMessage(role="assistant", content=target)),
            source=source,
            family="domain",
            group=asked.group,
            provenance=_provenance(asked),
            prompt_fingerprint=run.prompt.fingerprint,
        )


def _labelled(passages: Sequence[Evidence], asked: Asked) -> Iterator[str]:
    """``Column: answer`` for an answer that is a cell of the quoted row: short, and what it is stands beside it."""
    ((_, quote),) = asked.quotes
    for piece in (piece for passage in passages for piece in pieces_of(passage)):
        if piece.header is None or not (piece.text in quote or quote in piece.text):
            continue
        names, cells = table_cells(piece.header), table_cells(piece.text)
        if len(names) != len(cells):
            continue
        for name, cell in zip(names, cells, strict=True):
            # The answer has the unit, which in the table stands above the cell.
            if name and cell and f" {asked.answers[0]} ".startswith(f" {cell} "):
                yield f"{_UNIT.sub('', name)}: {asked.answers[0]}"


def ground(
    grounder: Grounder,
    asked: Sequence[Asked],
    *,
    without_gold: float = 0.0,
    seed: int = 0,
    on_question: Callable[[int, int], None] | None = None,
) -> Grounded:
    """Each answerable question with its gold passage, each other one without any, and more of the first without it
    until they are ``without_gold`` of all: the same question then has an answer or none, as the passages have.

    Which ones is the seed's choice, the same whatever the order of the questions.
    """
    if not 0 <= without_gold < 1:
        raise UsageError(f"the share without gold evidence is {without_gold:g}; it is at least 0 and below 1")
    skipped: Counter[Reason] = Counter()
    taken: list[Asked] = []
    found: list[TrainingExample] = []
    lacking: list[TrainingExample] = []
    for number, each in enumerate(asked, start=1):
        if each.history:
            skipped["is a follow-up"] += 1
        else:
            made = grounder.with_gold(each) if each.answers else grounder.without_gold(each)
            if isinstance(made, str):
                skipped[made] += 1
            elif each.answers:
                taken.append(each)
                found.append(made)
            else:
                lacking.append(made)
        if on_question is not None:
            on_question(number, len(asked))
    wanted = round(without_gold * len(found) / (1 - without_gold)) - len(lacking)
    for each in sorted(taken, key=lambda item: _draw(seed, item.id)):
        if wanted <= 0:
            break
        made = grounder.without_gold(each)
        if not isinstance(made, str):
            lacking.append(made)
            wanted -= 1
    examples = sorted([*found, *lacking], key=lambda example: _draw(seed, example.id))
    return Grounded(tuple(examples), len(found), len(lacking), dict(skipped))


def chosen(asked: Sequence[Asked], limit: int, seed: int = 0) -> list[Asked]:
    """At most ``limit`` of them: from all groups alike, of each fact one wording before any has two."""
    wordings_before: Counter[str] = Counter()
    ordered = sorted(asked, key=lambda item: _draw(seed, item.id))
    ranked: dict[str, list[tuple[int, Asked]]] = {}
    for each in ordered:
        fact = each.fact_key or each.id
        ranked.setdefault(each.group, []).append((wordings_before[fact], each))
        wordings_before[fact] += 1
    rows = [
        (place, _draw(seed, group), each)
        for group, found in ranked.items()
        for place, (_, each) in enumerate(sorted(found, key=lambda item: item[0]))
    ]
    rows.sort(key=lambda row: row[:2])
    return [each for _, _, each in rows[:limit]]


def closed_book(asked: Iterable[Asked], weight: float = 1.0) -> Iterator[TrainingExample]:
    """The answerable first questions without passages, under the rules that the server gives the base model."""
    for each in asked:
        if not each.answers or each.history:
            continue
        yield TrainingExample(
            id=f"closed-book-{each.id}",
            messages=(
                *_messages(build(each.question, grounded=False)),
                ExampleMessage(role="assistant", content=sentence(each.answers[0], "")),
            ),
            source="closed-book",
            family="domain",
            group=each.group,
            weight=weight,
            provenance=_provenance(each),
        )


@dataclass(frozen=True, slots=True)
class _Gold:
    chunk: StoredChunk
    start: int
    end: int


def _shows(evidence: Sequence[Evidence], gold: Sequence[_Gold]) -> bool:
    return all(any(_holds(item, each) for item in evidence) for each in gold)


def _holds(item: Evidence, gold: _Gold) -> bool:
    """All of the quote, or as much of it as its chunk has: a row of a long table may be cut by chunking."""
    chunk = gold.chunk
    start, end = max(gold.start, chunk.start), min(gold.end, chunk.end)
    same = (item.document_id, item.version) == (chunk.document_id, chunk.version)
    return same and item.start <= start and end <= item.end


def _holder(evidence: Sequence[Evidence], gold: _Gold) -> Evidence:
    return next(item for item in evidence if _holds(item, gold))


def _gold_first(hits: Sequence[Hit], gold: Sequence[_Gold]) -> list[Hit]:
    """As many hits as before, the gold chunks at their head."""
    best = max((hit.score for hit in hits), default=1.0)
    known = {hit.chunk.id: hit for hit in hits}
    chunks = list({each.chunk.id: each.chunk for each in gold}.values())
    first = [known.get(chunk.id) or Hit(chunk, best, {}) for chunk in chunks]
    ids = {hit.chunk.id for hit in first}
    rest = [hit for hit in hits if hit.chunk.id not in ids]
    return [replace(hit, score=max(hit.score, best)) for hit in first] + rest[: max(0, len(hits) - len(first))]


def _answers(hit: Hit, asked: Asked, gold: Sequence[_Gold]) -> bool:
    chunk = hit.chunk
    overlaps = any(
        chunk.document_id == each.chunk.document_id and chunk.start < each.end and each.start < chunk.end
        for each in gold
    )
    return overlaps or bool(contains(f"{chunk.context}\n{chunk.text}", asked.answers))


def _messages(messages: Iterable[Message]) -> tuple[ExampleMessage, ...]:
    return tuple(ExampleMessage(role=message.role, content=message.content) for message in messages)


def _provenance(asked: Asked) -> Provenance:
    document = asked.document_id or next((source for source, _ in asked.quotes), None)
    return Provenance(document=document, version=asked.version, span=asked.span, fact_key=asked.fact_key)


def _draw(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()
