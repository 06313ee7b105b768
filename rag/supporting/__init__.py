"""Can a piece of the evidence support a claim? What can be told by comparing the two, without a model if need be."""

from rag.supporting.judging import Judge
from rag.supporting.objections import objection

__all__ = ["Judge", "objection"]
