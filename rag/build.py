"""Configuration to objects: the only file that names implementations, and it imports them when they are needed."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rag.adapters import KnownAdapters
from rag.answering import STRATEGIES, Answerer
from rag.catalog import Catalog
from rag.config import Settings
from rag.errors import DomainQAError, EngineUnavailableError
from rag.interfaces import (
    AdapterSource,
    ChatModel,
    Embedder,
    Entailment,
    ModelServer,
    PromptReader,
    Reranker,
    Retriever,
)
from rag.matching import Similarity
from rag.models import default_cache, resolve
from rag.question import Question
from rag.types import (
    DEFAULT_TENANT,
    EVERYTHING,
    Collection,
    Document,
    DocumentInfo,
    Explanation,
    Hit,
    IngestReport,
    Scope,
)

if TYPE_CHECKING:
    from rag.checking import Finding
    from rag.documents.workers import WorkerPool
    from rag.erasing import Erasure
    from rag.ingestion import IngestProgress
    from rag.preparing import FileParser, Pipeline
    from rag.resemblance import NearDuplicate
    from rag.syncing import Sync

DEFAULT_COLLECTION = "default"

Note = Callable[[str], None]
"""Told in words what takes long: a download, a model being loaded."""


def _say_nothing(_: str) -> None: ...


class Library:
    """A home and its settings: everything that works on them, made when first needed. Thread-safe.

    Tests pass an embedder and a chat model of their own.
    """

    def __init__(
        self,
        home: Path,
        settings: Settings,
        *,
        embedder: Embedder | None = None,
        chat_model: ChatModel | None = None,
        reranker: Reranker | None = None,
        server: ModelServer | None = None,
        adapters: AdapterSource | None = None,
        workers: "WorkerPool | None" = None,
        progress: Note | None = None,
    ) -> None:
        """``server`` is where the engine `vllm` is found; whoever runs it passes it in.

        ``adapters`` are those besides the ones that the settings name. ``workers`` are processes that parse for several
        ingests, closed by whoever made them; without, each ingest starts its own and ends them.
        """
        self.home = home
        self.settings = settings
        self.catalog = Catalog.open(home)
        self._note = progress or _say_nothing
        self._embedder = embedder
        self._chat_model = chat_model
        self._reranker = reranker
        self._server = server
        self._workers = workers
        self._similarity: Similarity | None = None
        self._entailment: Entailment | None = None
        self._retrievers: dict[int, Retriever] = {}
        self._lock = Lock()
        # Held for as long as a model loads, so what is loaded already is never asked for under it. One for both models:
        # transformers sets global state while it loads.
        self._loading = Lock()
        self.adapters = KnownAdapters(settings.generation.adapters, adapters)
        self.answerer = Answerer(
            settings,
            self.catalog,
            self.retriever,
            self.similarity,
            self.chat_model,
            self.adapters,
            self.entailment if settings.answering.entailment_model is not None else None,
        )

    # --- parts ------------------------------------------------------------------------------------

    def embedder(self) -> Embedder:
        if self._embedder is None:
            with self._loading:
                if self._embedder is None:
                    self._embedder = self._load_embedder()
        return self._embedder

    def chat_model(self) -> ChatModel:
        if self._chat_model is None:
            with self._loading:
                if self._chat_model is None:
                    self._chat_model = self._load_chat_model()
        return self._chat_model

    def prompt_reader(self) -> PromptReader:
        """The chat model as prompts see it: of a local one that is not loaded yet, no weights are read."""
        settings = self.settings.generation
        if self._chat_model is not None or settings.engine != "local":
            return self.chat_model()
        from rag.generation.tokens import load_prompt_reader

        folder = resolve(settings.model, default_cache(), lambda update: self._note(str(update)))
        return load_prompt_reader(folder, settings)

    def _load_embedder(self) -> Embedder:
        from rag.embedding import SentenceTransformerEmbedder

        settings = self.settings.embedding
        folder = resolve(settings.model, default_cache(), lambda update: self._note(str(update)))
        self._note(f"loading {settings.model}")
        return SentenceTransformerEmbedder(folder, settings, settings.model)

    def reranker(self) -> Reranker | None:
        """``None`` where the settings name none."""
        if self._reranker is None and self.settings.reranking.model is not None:
            with self._loading:
                if self._reranker is None:
                    self._reranker = self._load_reranker(self.settings.reranking.model)
        return self._reranker

    def _load_reranker(self, reference: str) -> Reranker:
        from rag.crossencoding import CrossEncoderReranker

        folder = resolve(reference, default_cache(), lambda update: self._note(str(update)))
        self._note(f"loading {reference}")
        return CrossEncoderReranker(folder, self.settings.reranking, reference)

    def _load_chat_model(self) -> ChatModel:
        settings = self.settings.generation
        if settings.engine in ("openai", "vllm"):
            from rag.generation.openai_server import OpenAIChatModel

            if settings.engine == "vllm" and self._server is None:
                raise EngineUnavailableError(
                    "generation.engine is 'vllm', and nobody runs it for this library; "
                    "use `domainqa serve` or `domainqa engine up`, or pass `server`"
                )
            return OpenAIChatModel(settings, server=self._server)
        from rag.generation.local import LocalChatModel

        folder = resolve(settings.model, default_cache(), lambda update: self._note(str(update)))
        self._note(f"loading {settings.model}")
        return LocalChatModel(folder, settings, self.adapters)

    def similarity(self) -> Similarity:
        embedder = self.embedder()
        with self._lock:
            if self._similarity is None:
                self._similarity = Similarity(embedder, self.settings.embedding.languages)
            return self._similarity

    def entailment(self) -> Entailment:
        """The configured model of natural language inference."""
        settings = self.settings.answering
        assert settings.entailment_model is not None
        if self._entailment is None:
            with self._loading:
                if self._entailment is None:
                    from rag.entailing import CrossEncoderEntailment

                    folder = resolve(settings.entailment_model, default_cache(), lambda update: self._note(str(update)))
                    self._note(f"loading {settings.entailment_model}")
                    self._entailment = CrossEncoderEntailment(
                        folder, settings.entailment_model, settings.min_entailment, self.settings.embedding.device
                    )
        return self._entailment

    def retriever(self, collection: Collection) -> Retriever:
        self.embedder(), self.reranker()  # under their own lock, before ours
        with self._lock:
            if collection.id not in self._retrievers:
                self._retrievers[collection.id] = self._make_retriever(collection, self.settings)
            return self._retrievers[collection.id]

    def _make_retriever(self, collection: Collection, settings: Settings) -> Retriever:
        from rag.index.snapshot import IndexReader
        from rag.reranking import RerankingRetriever
        from rag.retrieval import HybridRetriever

        embedder, reranker = self.embedder(), self.reranker()
        retriever = HybridRetriever(
            self.catalog,
            collection.id,
            IndexReader(self.home, self.catalog, collection, embedder),
            embedder,
            settings.retrieval,
            settings.embedding.languages,
        )
        return retriever if reranker is None else RerankingRetriever(retriever, reranker, settings.reranking.depth)

    def pipeline(self, parser: "FileParser | None" = None) -> "Pipeline":
        """The steps of one ingest, or of a reindex, which parses nothing."""
        from rag.chunking import Chunker
        from rag.documents.discovery import discover
        from rag.preparing import Pipeline

        embedder = self.embedder()
        chunker = Chunker(self.settings.chunking, embedder)
        return Pipeline(discover, parser or self._parser(), chunker, embedder, self.settings.embedding.batch_size)

    def _parser(self, passwords: Sequence[str] = ()) -> "FileParser":
        if self.settings.parsing.workers == 0:
            from rag.documents.options import ReadingOptions
            from rag.documents.parsing import InProcessParser

            return InProcessParser(ReadingOptions(tuple(passwords), self.settings.parsing.ocr))
        from rag.documents.workers import ParsingWorkers

        return ParsingWorkers(self.settings.parsing, passwords, self._workers)

    def warm_up(self) -> None:
        """Load the models now, so that the first question doesn't wait for them."""
        self.embedder()
        self.reranker()
        self.chat_model()

    def answerer_for(self, settings: Settings) -> Answerer:
        """An answer flow over the same catalog and loaded models, under other settings of retrieval, packing and
        answering. Whoever asks for it closes it."""
        retriever = lru_cache(partial(self._make_retriever, settings=settings))
        return Answerer(
            settings,
            self.catalog,
            self.retriever if settings.retrieval == self.settings.retrieval else retriever,
            self.similarity,
            self.chat_model,
            self.adapters,
            self.entailment if settings.answering.entailment_model is not None else None,
        )

    # --- what users do ----------------------------------------------------------------------------

    def ingest(
        self,
        paths: Sequence[Path],
        collection: str = DEFAULT_COLLECTION,
        on_progress: "Callable[[IngestProgress], None] | None" = None,
        *,
        tenant: str = DEFAULT_TENANT,
        sync: "Sync | None" = None,
        passwords: Sequence[str] = (),
    ) -> IngestReport:
        """Bring files and folders into a collection, which is made when it is missing; so is its tenant.

        With ``sync`` documents of these folders that have lost their file are removed, and the folders remembered.
        """
        from rag.ingestion import ingest

        if tenant != DEFAULT_TENANT:
            self.catalog.create_tenant(tenant)
        with closing(self._parser(passwords)) as parser:
            if self._embedder is None:
                parser.warm_up()  # while the model loads
            pipeline = self.pipeline(parser)
            return ingest(
                self.home, self.catalog, collection, paths, pipeline, progress=on_progress, sync=sync, tenant=tenant
            )

    def remove_document(self, collection: str, id_or_source: str, *, tenant: str = DEFAULT_TENANT) -> DocumentInfo:
        """Remove a document from all answers at once, and say what it was."""
        from rag.ingestion import remove

        return remove(self.home, self.catalog, self.catalog.collection(collection, tenant), id_or_source)

    def erase_document(self, collection: str, id_or_source: str) -> "Erasure":
        """Remove a document, and every trace of it that the home holds."""
        from rag.erasing import erase

        return erase(self.home, self.catalog, self.catalog.collection(collection), id_or_source)

    def near_duplicates(self, collection: str, threshold: float) -> "Sequence[NearDuplicate]":
        """Pairs of documents, by source, that say nearly the same."""
        from rag.resemblance import near_duplicates

        found = self.catalog.collection(collection)
        sources = [info.source for info in self.catalog.documents(found)]
        return near_duplicates(sources, lambda source: self.catalog.document(found, source).text, threshold)

    def create_collection(self, name: str, *, tenant: str = DEFAULT_TENANT) -> Collection:
        """Make an empty collection bound to the configured embedder."""
        return self.catalog.create_collection(name, self.embedder(), tenant)

    def delete_collection(self, name: str, *, tenant: str = DEFAULT_TENANT) -> Collection:
        """Delete a collection with its documents and its index files."""
        from rag.ingestion import delete_collection

        return delete_collection(self.home, self.catalog, name, tenant)

    def search(self, query: str, collection: str, top_k: int, scope: Scope = EVERYTHING) -> list[Hit]:
        found = self.catalog.collection(collection, scope.tenant, scope.collections)
        return self.retriever(found).retrieve(query, top_k)

    async def explain(self, query: str, collection: str, top_k: int | None = None) -> Explanation:
        """How the hits came about, and which of them the rag strategy would show its model."""
        return await self.answerer.explain(Question(query, collection, "rag"), top_k)

    def document(self, collection: str, id_or_source: str, scope: Scope = EVERYTHING) -> Document:
        return self.catalog.document(self.catalog.collection(collection, scope.tenant, scope.collections), id_or_source)

    def collections(self, scope: Scope = EVERYTHING) -> list[Collection]:
        return self.catalog.collections(scope.tenant, scope.collections)

    def strategies(self, scope: Scope = EVERYTHING) -> list[str]:
        """What the API lists as models: each strategy, and with each adapter those that generate."""
        adapters = self.adapters.names(scope.tenant)
        generating = [strategy for strategy in STRATEGIES if strategy != "extractive"]
        return [*STRATEGIES, *(f"{strategy}@{adapter}" for adapter in adapters for strategy in generating)]

    def reindex(
        self,
        collection: str | None = None,
        on_progress: "Callable[[IngestProgress], None] | None" = None,
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> dict[str, int]:
        """Rebuild indexes from the catalog's vectors; rows by collection. No file is read.

        Only a collection made by another embedder has its texts embedded again, with the configured one.
        """
        from rag.reindexing import reindex

        catalog = self.catalog
        chosen = [catalog.collection(collection, tenant)] if collection is not None else catalog.collections(tenant)
        return {item.name: reindex(self.home, self.catalog, item, self.pipeline(), on_progress) for item in chosen}

    def check(self) -> "list[Finding]":
        """What is wrong with the catalog and the indexes, and what mends it."""
        from rag.checking import check

        return check(self.home, self.catalog)

    def readiness(self) -> dict[str, str]:
        """Part to ``ok``, or to the reason it can't serve. Loads nothing."""
        parts = {"catalog": "ok", "index": "ok"}
        parts["embedder"] = "ok" if self._embedder is not None else "not loaded yet"
        if self.settings.reranking.model is not None:
            parts["reranker"] = "ok" if self._reranker is not None else "not loaded yet"
        if self._server is not None:
            parts["engine"] = self._server.state()
        else:
            parts["engine"] = "ok" if self._chat_model is not None else "not loaded yet"
        try:
            collections = self.catalog.collections()
        except DomainQAError as error:
            return parts | {"catalog": str(error)}
        for collection in collections:
            if self._embedder is None or parts.get("reranker", "ok") != "ok":
                break
            try:
                self.retriever(collection).retrieve("ready?", 1)
            except DomainQAError as error:
                parts["index"] = str(error)
        return parts

    async def aclose(self) -> None:
        self.answerer.close()
        if self._chat_model is not None:
            await self._chat_model.aclose()
        self.catalog.close()
