"""Facts as closed-book examples: the question alone, under the rules that the server gives the base model.

The grounded examples are made of the same facts, so that the two adapters differ in nothing but the passages.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from finetune.examples import ExampleMessage, Family, Provenance, TrainingExample
from finetune.facts import Fact, read_facts
from finetune.sources.spec import SourceSpec
from rag.prompting import build


def read_closed_book(spec: SourceSpec) -> Iterator[TrainingExample]:
    facts = islice(read_facts(Path(spec.where)), spec.limit)
    return closed_book_examples(facts, source=spec.label, family=spec.family, weight=spec.weight)


def closed_book_examples(
    facts: Iterable[Fact], source: str = "closed-book", family: Family = "domain", weight: float = 1.0
) -> Iterator[TrainingExample]:
    for fact in facts:
        prompt = build(fact.question, grounded=False)
        messages = [ExampleMessage(role=message.role, content=message.content) for message in prompt]
        yield TrainingExample(
            id=f"closed-book-{fact.id}",
            messages=(*messages, ExampleMessage(role="assistant", content=fact.answer)),
            source=source,
            family=family,
            group=fact.group,
            weight=weight,
            provenance=Provenance(
                document=fact.document_id or fact.document,
                version=fact.version,
                span=fact.span,
                fact_key=fact.fact_key,
            ),
        )
