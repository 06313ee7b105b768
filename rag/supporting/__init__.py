"""Can a piece of the evidence support a claim? What can be told without a model, by comparing the two."""

from rag.supporting.clauses import content_terms
from rag.supporting.objections import objection

__all__ = ["content_terms", "objection"]
