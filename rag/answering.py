"""The answer flow: question to events, the last of them a checked Answer.

rewrite -> retrieve -> gate A (is there evidence?) -> pack -> prompt -> generate -> cite -> gate B (is it supported?).

Async where it waits for a model; retrieval, packing and citing are plain functions on a bounded thread pool. A
strategy is a configuration of this flow. Gate B never unsays streamed text: it marks it in the last event, or, where
unsupported text is to be replaced, nothing is streamed before the check.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeVar

from rag import abstaining, prompting
from rag.adapters import KnownAdapters
from rag.catalog import Catalog
from rag.citing import Cited, MarkerFilter, cite, quote
from rag.config import Settings
from rag.errors import DoesNotFitError, NotFoundError, UsageError
from rag.extracting import extract
from rag.interfaces import ChatModel, Retriever
from rag.languages import is_text
from rag.matching import Similarity
from rag.packing import Packed, pack, pack_documents
from rag.question import Question, Run
from rag.rewriting import ModelRewriter, by_rules
from rag.types import (
    Answer,
    AnswerEvent,
    Collection,
    Document,
    Evidence,
    EvidencePacked,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Rewriting,
    Sampling,
    TextDelta,
    Turn,
    Usage,
)

STRATEGIES = ("base", "extractive", "stuffed", "rag")
"""`base`: no documents. `extractive`: verbatim sentences. `stuffed`: whole documents. `rag`: retrieved passages."""

NOT_SUPPORTED = "the model's own answer was not supported by the passages; these are the documents' own sentences"

P = ParamSpec("P")
T = TypeVar("T")


class Answerer:
    """Answers questions about the collections of one catalog with one served model."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        retriever: Callable[[Collection], Retriever],
        similarity: Callable[[], Similarity],
        chat_model: Callable[[], ChatModel],
        adapters: KnownAdapters | None = None,
    ) -> None:
        """The callables are asked when first needed: an extractive answer loads no chat model."""
        self._settings = settings
        self._catalog = catalog
        self._retriever = retriever
        self._similarity = similarity
        self._chat_model = chat_model
        self._adapters = adapters or KnownAdapters(settings.generation.adapters)
        self._rewriter = ModelRewriter()
        self._threads = ThreadPoolExecutor(settings.server.threads, thread_name_prefix="answering")

    async def answer(self, question: Question) -> Answer:
        """The same answer that ``stream`` ends with."""
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.answer
        raise AssertionError("the stream ended without an answer")

    async def stream(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Evidence, text, answer. Raises ``UsageError`` before any event, ``EngineError`` at any time."""
        started = time.perf_counter()
        run = await self._thread(self._begin, question)
        if run.strategy != "base":
            collection = await self._thread(
                self._catalog.collection, question.collection, question.scope.tenant, question.scope.collections
            )
            with run.timed("rewriting"):
                run.rewriting = await self._rewrite(question)
            with run.timed("retrieval"):
                enough = await self._thread(self._retrieve, run, collection)
            if not enough:
                async for event in self._abstain(run, started):
                    yield event
                return
            with run.timed("packing"):
                run.packed = await self._thread(self._pack, run)
        if run.strategy != "extractive":
            with run.timed("prompting"):
                run.prompt = await self._thread(self._build_prompt, run)
        if run.strategy != "base":
            yield EvidencePacked(run.packed.evidence)
        ending = self._extracted(run, started, None) if run.strategy == "extractive" else self._generated(run, started)
        async with aclosing(ending) as events:
            async for event in events:
                yield event

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- steps ----------------------------------------------------------------------------------

    def _begin(self, question: Question) -> Run:
        strategy, _, adapter = (question.strategy or self._settings.answering.strategy).partition("@")
        if strategy not in STRATEGIES:
            raise NotFoundError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
        if adapter and strategy == "extractive":
            raise UsageError("the extractive strategy generates nothing, so it takes no adapter")
        if not question.text.strip():
            raise UsageError("the question is empty")
        if not is_text(question.text):
            raise UsageError(f"the question {question.text!r} is not valid Unicode text")
        name = self._adapters.find(adapter, question.scope.tenant).name if adapter else None
        return Run(question, strategy, name)

    async def _rewrite(self, question: Question) -> Rewriting:
        if not question.history or self._settings.answering.rewriting == "rules":
            return by_rules(question.text, question.history)
        model = await self._thread(self._chat_model)
        return await self._rewriter.rewrite(model, question.text, question.history)

    def _retrieve(self, run: Run, collection: Collection) -> bool:
        """Fill the run's hits and pass gate A: whether there is evidence."""
        run.retriever = self._retriever(collection)
        run.hits = tuple(run.retriever.retrieve(run.query, self._settings.retrieval.top_k))
        run.term_weights = run.retriever.term_weights(run.query)
        versions = {item.document_id: self._version(collection, item.document_id) for item in run.earlier}
        run.shown = tuple(item for item in run.earlier if versions[item.document_id] == item.version)
        return abstaining.has_evidence(run.query, run.hits, run.term_weights, self._settings.answering)

    def _version(self, collection: Collection, document_id: str) -> str | None:
        try:
            return self._catalog.document_info(collection, document_id).version
        except NotFoundError:
            return None

    def _pack(self, run: Run) -> Packed:
        settings = self._settings.packing
        if run.strategy == "extractive":
            # Nothing is sent to a model, so nothing has to fit: every hit is evidence.
            return pack(
                run.hits,
                budget_tokens=_UNBOUNDED,
                counter=_FreeCounter(),
                read_span=partial(self._read_span, run),
                shown=run.shown,
                first=run.next_number,
            )
        model = self._chat_model()
        room = self._room(run, model)
        if run.strategy == "stuffed":
            budget = min(room, settings.max_stuffed_tokens or room)
            scores: dict[tuple[str, str], float] = {}
            for hit in run.hits:
                scores.setdefault((hit.chunk.document_id, hit.chunk.version), hit.score)
            documents = [(key[0], self._document(run, *key), score) for key, score in scores.items()]
            packed = pack_documents(
                documents, budget_tokens=budget, counter=model.tokens, shown=run.shown, first=run.next_number
            )
            if not packed.evidence and all(item.reason == "budget" for item in packed.dropped):
                raise DoesNotFitError(
                    f"none of the {len(documents)} nearest documents fits the {budget} tokens there are for "
                    "whole documents; use the rag strategy or raise packing.max_stuffed_tokens"
                )
            return packed
        budget = min(room, settings.max_evidence_tokens)
        packed = pack(
            run.hits,
            budget_tokens=budget,
            counter=model.tokens,
            read_span=partial(self._read_span, run),
            order=settings.order,
            shown=run.shown,
            first=run.next_number,
        )
        if not packed.evidence and all(item.reason == "budget" for item in packed.dropped):
            raise DoesNotFitError(
                f"no passage fits the {budget} tokens there are for evidence; "
                "shorten the question or its history, or raise packing.max_evidence_tokens"
            )
        return packed

    def _room(self, run: Run, model: ChatModel) -> int:
        """Tokens left for evidence beside the rules, the history, the question and the answer."""
        question = run.question
        bare = prompting.build(
            question.text, (), question.history, grounded=run.strategy != "base", instructions=question.instructions
        )
        used = model.tokens.count_messages(bare) + self._max_tokens(question) + _FRAME_TOKENS
        if used >= model.window:
            raise DoesNotFitError(
                f"question, history and instructions leave no room: {used} of the model's {model.window} tokens "
                "are taken, the answer's included; shorten them"
            )
        return model.window - used

    def _max_tokens(self, question: Question) -> int:
        return question.max_tokens or self._settings.generation.max_answer_tokens

    def _build_prompt(self, run: Run) -> Prompt:
        model = self._chat_model()
        question, grounded = run.question, run.strategy != "base"
        messages = prompting.build(
            question.text,
            run.packed.evidence,
            question.history,
            grounded=grounded,
            instructions=question.instructions,
        )
        tokens = model.tokens.count_messages(messages)
        limit = model.window - self._max_tokens(question)
        if tokens > limit:
            raise DoesNotFitError(f"the prompt has {tokens} tokens and the model's window leaves {limit}; shorten it")
        fingerprint = prompting.fingerprint(model.name, f"{run.strategy}/{self._settings.packing.order}")
        return Prompt(messages, run.packed.evidence, run.packed.dropped, tokens, fingerprint)

    # --- endings --------------------------------------------------------------------------------

    async def _abstain(self, run: Run, started: float) -> AsyncGenerator[AnswerEvent, None]:
        nearest = abstaining.nearest_documents(run.hits)
        text = abstaining.abstention_text(run.question.text, nearest)
        yield TextDelta(text)
        answer = self._answer(run, text, started, Cited((), None))
        yield Finished(replace(answer, abstained=True, nearest=nearest))

    async def _extracted(self, run: Run, started: float, fallback: str | None) -> AsyncGenerator[AnswerEvent, None]:
        with run.timed("extracting"):
            excerpts = await self._thread(
                lambda: extract(
                    run.query,
                    run.relevant,
                    self._similarity(),
                    max_sentences=self._settings.answering.max_sentences,
                    term_weights=run.term_weights,
                )
            )
        if not excerpts:
            async for event in self._abstain(run, started):
                yield event
            return
        pieces = [excerpt.piece for excerpt in excerpts]
        text, cited = await self._thread(quote, pieces, partial(self._page_of, run))
        yield TextDelta(text)
        yield Finished(replace(self._answer(run, text, started, cited), fallback=fallback))

    async def _generated(self, run: Run, started: float) -> AsyncGenerator[AnswerEvent, None]:
        model = await self._thread(self._chat_model)
        assert run.prompt is not None
        grounded = run.strategy != "base"
        holds_back = grounded and self._settings.answering.unsupported == "extract"
        markers = MarkerFilter([item.number for item in run.citable])
        shown: list[str] = []
        finish: FinishReason = "stop"
        usage = Usage()
        with run.timed("generation"):
            pieces = model.stream(run.prompt.messages, self._sampling(run.question), run.adapter)
            async with aclosing(pieces) as stream:
                async for piece in stream:
                    if "first_token" not in run.timings and piece.text:
                        run.timings["first_token"] = time.perf_counter() - started
                    text = markers.feed(piece.text)
                    if piece.finish_reason is not None:
                        text += markers.flush()
                        finish = piece.finish_reason
                        usage = piece.usage or usage
                    if text:
                        shown.append(text)
                        if not holds_back:
                            yield TextDelta(text)
        text = "".join(shown)
        if holds_back:
            text = text.strip()
        if grounded and (abstaining.says_not_said(text) or not text.strip()):
            nearest = abstaining.nearest_documents(run.hits)
            if holds_back or not text.strip():
                said = abstaining.abstention_text(run.question.text, nearest)
                text = said if holds_back else text + said
                yield TextDelta(said)
            answer = self._answer(run, text, started, Cited((), None), usage, finish, model.name)
            yield Finished(replace(answer, abstained=True, nearest=nearest))
            return
        cited = await self._thread(self._cite, run, text) if grounded else Cited((), None)
        if holds_back:
            if not cited.supported:
                async with aclosing(self._extracted(run, started, NOT_SUPPORTED)) as events:
                    async for event in events:
                        if isinstance(event, Finished):
                            event = Finished(
                                replace(event.answer, usage=_sum(event.answer.usage, usage), model=model.name)
                            )
                        yield event
                return
            yield TextDelta(text)
        yield Finished(self._answer(run, text, started, cited, usage, finish, model.name))

    # --- parts of the endings ---------------------------------------------------------------------

    def _cite(self, run: Run, text: str) -> Cited:
        with run.timed("citing"):
            weights = run.retriever.term_weights(text) if run.retriever is not None else None
            return cite(text, run.citable, self._similarity(), partial(self._page_of, run), weights)

    def _read_span(self, run: Run, document_id: str, version: str, start: int, end: int) -> str:
        return self._document(run, document_id, version).text[start:end]

    def _page_of(self, run: Run, passage: Evidence, offset: int) -> int | None:
        pages = self._document(run, passage.document_id, passage.version).pages
        return next((page.number for page in pages if page.start <= offset < page.end), None)

    def _document(self, run: Run, document_id: str, version: str) -> Document:
        key = (document_id, version)
        if key not in run.documents:
            run.documents[key] = self._catalog.document_version(document_id, version)
        return run.documents[key]

    def _sampling(self, question: Question) -> Sampling:
        settings = self._settings.generation
        return Sampling(
            max_tokens=self._max_tokens(question),
            temperature=settings.temperature if question.temperature is None else question.temperature,
            seed=settings.seed if question.seed is None else question.seed,
        )

    def _answer(
        self,
        run: Run,
        text: str,
        started: float,
        cited: Cited,
        usage: Usage | None = None,
        finish: FinishReason = "stop",
        model: str = "",
    ) -> Answer:
        run.timings["total"] = time.perf_counter() - started
        user = prompting.user_content(run.question.text, run.packed.evidence)
        return Answer(
            text=text,
            abstained=False,
            strategy=run.strategy if run.adapter is None else f"{run.strategy}@{run.adapter}",
            adapter=run.adapter,
            model=model,
            citations=cited.citations,
            evidence=run.packed.evidence,
            nearest=(),
            supported=cited.supported,
            fallback=None,
            finish_reason=finish,
            usage=_sum(run.rewriting.usage if run.rewriting is not None else Usage(), usage or Usage()),
            timings=dict(run.timings),
            search_query=run.rewriting.query if run.rewriting is not None else None,
            rewriting=run.rewriting,
            dropped=run.packed.dropped,
            hits=run.hits,
            turn=Turn(run.question.text, user, text, run.packed.evidence),
        )

    async def _thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))


def _sum(one: Usage, other: Usage) -> Usage:
    """Both; the cached tokens of those that tell."""
    told = [usage.cached_tokens for usage in (one, other) if usage.cached_tokens is not None]
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        sum(told) if told else None,
    )


_UNBOUNDED = 1 << 30
_FRAME_TOKENS = 16
"""Evidence is counted passage by passage; joined in a template it may cost a few tokens more."""


class _FreeCounter:
    """For a flow without a model: nothing costs anything."""

    def count_text(self, text: str) -> int:
        return 0

    def count_messages(self, messages: Sequence[Message]) -> int:
        return 0
