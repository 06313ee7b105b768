"""An ingested collection: its documents as raw text for pretraining, and for the synthesis of facts.

Knows the catalog, no index and no model.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune.examples import Provenance, TrainingExample
from finetune.sources.spec import SourceSpec
from rag.catalog import Catalog
from rag.errors import UsageError
from rag.evaluation.questions import read_questions
from rag.types import DEFAULT_TENANT, Document


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A parsed document, its group, and its id in the catalog where it has one."""

    document: Document
    group: str
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Which documents belong together, and in which splits; a document that is not named is its own group, in none."""

    group_of: Mapping[str, str]
    """By source."""
    splits_of: Mapping[str, AbstractSet[str]]
    """By group: a split may have a twin that asks for the same facts in other words."""

    def group(self, source: str) -> str:
        return self.group_of.get(source, source)

    def is_in(self, source: str, splits: frozenset[str]) -> bool:
        return not splits or not splits.isdisjoint(self.splits_of.get(self.group(source), ()))


NO_GROUPS = Groups({}, {})


def groups_of(paths: Iterable[Path]) -> Groups:
    """What question files say of the documents that their evidence names.

    Raises ``UsageError`` for a document in two groups.
    """
    group_of: dict[str, str] = {}
    splits_of: dict[str, set[str]] = {}
    for path in paths:
        for question in read_questions(path):
            if not question.group:
                continue
            splits_of.setdefault(question.group, set()).add(question.split)
            for evidence in question.evidence:
                if group_of.setdefault(evidence.document, question.group) != question.group:
                    raise UsageError(
                        f"{path}: {evidence.document} is in the groups {group_of[evidence.document]!r} and "
                        f"{question.group!r}, so no split would keep them apart"
                    )
    return Groups(group_of, splits_of)


def read_documents(
    catalog: Catalog,
    collection: str,
    groups: Groups = NO_GROUPS,
    splits: frozenset[str] = frozenset(),
    tenant: str = DEFAULT_TENANT,
) -> Iterator[SourceDocument]:
    """The collection's documents by source; with ``splits`` those of these splits' groups alone."""
    found = catalog.collection(collection, tenant)
    for info in catalog.documents(found):
        if groups.is_in(info.source, splits):
            yield SourceDocument(catalog.document(found, info.id), groups.group(info.source), info.id)


def read_collection(spec: SourceSpec, catalog: Catalog) -> Iterator[TrainingExample]:
    """A document's whole text is one example."""
    for source in islice(read_documents(catalog, spec.where), spec.limit):
        document = source.document
        yield TrainingExample(
            id=f"{spec.label}-{source.document_id}",
            text=document.text,
            source=spec.label,
            family=spec.family,
            group=source.group,
            weight=spec.weight,
            provenance=Provenance(document=source.document_id, version=document.version, span=(0, len(document.text))),
        )
