"""A question to its hits, and hits to the prompt that the model is shown: the one way, for serving and for training.

Plain functions that fill a ``Run``; they ask no model and know a served one by its window and its counter only.
"""

import time

from rag import abstaining
from rag.catalog import Catalog
from rag.composing import compose, prompt_of
from rag.config import Settings
from rag.errors import NotFoundError
from rag.interfaces import PromptReader, Retriever, RetrievesInSteps
from rag.question import Run
from rag.types import Collection, Hit, StoredChunk


def search(
    run: Run, catalog: Catalog, collection: Collection, retriever: Retriever, settings: Settings, top_k: int
) -> bool:
    """Fill the run's hits and pass gate A: whether there is evidence. The run's question was rewritten before."""
    start = time.perf_counter()
    run.collection, run.retriever = collection, retriever
    reranking: float = 0.0
    if isinstance(retriever, RetrievesInSteps):
        hits, seconds = retriever.retrieve_in_steps(run.query, top_k)
        run.timings["reranking"] = reranking = seconds["reranking"]
    else:
        hits = retriever.retrieve(run.query, top_k)
    run.hits = tuple(hits)
    run.term_weights = retriever.term_weights(run.query)
    versions = {item.document_id: _version(catalog, collection, item.document_id) for item in run.earlier}
    run.shown = tuple(item for item in run.earlier if versions[item.document_id] == item.version)
    run.judgement = abstaining.judge(
        run.query,
        run.hits,
        run.term_weights,
        collection,
        settings.answering.min_probability if run.question.min_probability is None else run.question.min_probability,
        run.question.text,
    )
    run.timings["retrieval"] = time.perf_counter() - start - reranking
    return run.judgement.enough


def given(run: Run, catalog: Catalog, collection: Collection, retriever: Retriever) -> bool:
    """Fill the run's hits with the chunks that the question's gold spans lie in, as if a search had found them."""
    run.collection, run.retriever = collection, retriever
    with run.timed("retrieval"):
        run.term_weights = retriever.term_weights(run.query)
        chunks: dict[str, StoredChunk] = {}
        for span in run.question.gold or ():
            document_id = catalog.document_info(collection, span.source).id
            for chunk in catalog.document_chunks(collection.id, document_id, collection.published_seq):
                if chunk.start < span.end and span.start < chunk.end:
                    chunks[chunk.id] = chunk
        run.hits = tuple(Hit(chunk, 1.0, {}) for chunk in chunks.values())
    return bool(run.hits)


def show(run: Run, model: PromptReader, settings: Settings) -> None:
    """Fill the run's evidence and its prompt. Raises ``DoesNotFitError`` as ``compose`` and ``prompt_of`` do."""
    max_tokens = run.question.max_tokens or settings.generation.max_answer_tokens
    with run.timed("packing"):
        composed = compose(run, model, settings, max_tokens)
    run.packed, run.shown, run.limit = composed.packed, composed.shown, composed.limit
    with run.timed("prompting"):
        run.prompt = prompt_of(run, composed, model, settings, max_tokens)


def _version(catalog: Catalog, collection: Collection, document_id: str) -> str | None:
    try:
        return catalog.document_info(collection, document_id).version
    except NotFoundError:
        return None
