"""Facts from a parsed document by rules alone: no model, the same facts every time."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from finetune.cleaning.decontamination import Decontaminator
from finetune.facts import Fact
from finetune.sources.collection import SourceDocument
from finetune.synthesis.statements import from_statements
from finetune.synthesis.tables import from_tables
from finetune.synthesis.wordings import LANGUAGES
from rag.languages import language_by_script


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facts in the documents' order, and how many candidates were dropped by reason."""

    facts: tuple[Fact, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Sources of the documents that gave none."""


def gather(
    documents: Iterable[SourceDocument], wordings_per_fact: int = 2, decontaminator: Decontaminator | None = None
) -> Gathered:
    """Facts of tables, definitions, key-value lines and plain statements, without those that give a question away.

    A question that two places answer differently is dropped, for there would be no right answer; one that they answer
    alike stays once. Documents in a language without wordings give nothing and are named.
    """
    found: dict[str, Fact] = {}
    ambiguous: set[str] = set()
    dropped: Counter[str] = Counter()
    without = []
    for source in documents:
        facts = list(_facts(source, wordings_per_fact))
        if not facts:
            without.append(source.document.source)
        for fact in facts:
            asked = _same(fact.question)
            if asked in ambiguous:
                dropped["ambiguous"] += 1
            elif asked not in found:
                found[asked] = fact
            elif _same(found[asked].answer) == _same(fact.answer):
                dropped["repeated"] += 1
            else:
                ambiguous.add(asked)
                del found[asked]
                dropped["ambiguous"] += 2
    kept = [
        fact
        for fact in found.values()
        if decontaminator is None or decontaminator.find_question(fact.question, fact.fact_key) is None
    ]
    if len(kept) < len(found):
        dropped["near an evaluation question"] = len(found) - len(kept)
    return Gathered(tuple(kept), dict(sorted(dropped.items())), tuple(without))


def fact_id(kind: str, document: str, question: str, answer: str) -> str:
    parts = "\0".join((kind, document, question, answer))
    return f"{kind}-{hashlib.sha256(parts.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _facts(source: SourceDocument, wordings_per_fact: int) -> Iterator[Fact]:
    document = source.document
    language = document.language or language_by_script(document.text)
    if language not in LANGUAGES:
        return
    for found in (*from_tables(document, language, wordings_per_fact), *from_statements(document, language)):
        for question in found.questions:
            yield Fact(
                id=fact_id(found.kind, document.source, question, found.answer),
                question=question,
                answer=found.answer,
                quote=document.text[found.start : found.end],
                document=document.source,
                document_id=source.document_id,
                version=document.version,
                span=(found.start, found.end),
                language=language,
                group=source.group,
                fact_key=f"{source.group}/{found.key}",
                kind=found.kind,
            )


def _same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
