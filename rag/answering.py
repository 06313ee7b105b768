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
from typing import ParamSpec, TypeVar

from rag import abstaining, conflicts, prompting
from rag.adapters import KnownAdapters
from rag.catalog import Catalog
from rag.citing import Cited, MarkerFilter, cite, quote
from rag.composing import everything
from rag.config import Settings
from rag.errors import NotFoundError, UsageError
from rag.extracting import Excerpt, extract
from rag.grounding import given, search, show
from rag.interfaces import ChatModel, Entailment, Retriever
from rag.languages import is_text
from rag.matching import Piece, Similarity
from rag.question import Question, Run
from rag.reading import Reader
from rag.rewriting import ModelRewriter, by_rules
from rag.routing import ROUTER, routed, sum_of_usage
from rag.types import (
    Answer,
    AnswerEvent,
    Collection,
    Conflict,
    Evidence,
    EvidencePacked,
    Explanation,
    Finished,
    FinishReason,
    Rewriting,
    Sampling,
    TextDelta,
    Turn,
    Usage,
)

STRATEGIES = ("base", "extractive", "stuffed", "rag", ROUTER)
"""`base`: no documents. `extractive`: verbatim sentences. `stuffed`: whole documents. `rag`: retrieved passages.
`router`: retrieved passages, and whole documents where these don't say."""
ORACLE = "oracle"
"""The passages that answer the question, which the question names: the ceiling that an experiment compares with."""

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
        entailment: Callable[[], Entailment] | None = None,
    ) -> None:
        """The callables are asked when first needed: an extractive answer loads no chat model."""
        self._settings = settings
        self._catalog = catalog
        self._retriever = retriever
        self._similarity = similarity
        self._chat_model = chat_model
        self._adapters = adapters or KnownAdapters(settings.generation.adapters)
        self._entailment = entailment
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
        name, _, adapter = (question.strategy or self._settings.answering.strategy).partition("@")
        events = routed(question, adapter, self._stream) if name == ROUTER else self._stream(question)
        async with aclosing(events) as stream:
            async for event in stream:
                yield event

    async def _stream(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        started = time.perf_counter()
        run = await self._thread(self._begin, question)
        if run.strategy != "base":
            enough = await self._found(run)
            if not enough:
                async for event in self._abstain(run, started):
                    yield event
                return
        await self._thread(self._compose, run)
        if run.strategy != "base":
            yield EvidencePacked(run.packed.evidence)
        ending = self._extracted(run, started, None) if run.strategy == "extractive" else self._generated(run, started)
        async with aclosing(ending) as events:
            async for event in events:
                yield event

    async def explain(self, question: Question, top_k: int | None = None) -> Explanation:
        """What the answer would rest on, without generating it. ``top_k`` hits instead of the configured number."""
        started = time.perf_counter()
        run = await self._thread(self._begin, question)
        if run.strategy == "base":
            raise UsageError("the base strategy searches nothing, so there is nothing to explain")
        enough = await self._found(run, top_k)
        if enough:
            await self._thread(self._compose, run)
        run.timings["total"] = time.perf_counter() - started
        assert run.rewriting is not None
        return Explanation(
            rewriting=run.rewriting,
            hits=run.hits,
            enough=enough,
            evidence=run.packed.evidence,
            dropped=run.packed.dropped,
            neighbours=run.packed.neighbours,
            packing=run.spent() if enough else None,
            prompt_tokens=None if run.prompt is None else run.prompt.tokens,
            timings=dict(run.timings),
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- steps ----------------------------------------------------------------------------------

    def _begin(self, question: Question) -> Run:
        strategy, _, adapter = (question.strategy or self._settings.answering.strategy).partition("@")
        if strategy == ROUTER:
            strategy = "rag"
        if strategy == ORACLE and question.gold is None:
            raise UsageError("the oracle strategy is shown the passages that answer the question, and it names none")
        if strategy not in (*STRATEGIES, ORACLE):
            raise NotFoundError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
        if adapter and strategy == "extractive":
            raise UsageError("the extractive strategy generates nothing, so it takes no adapter")
        if not question.text.strip():
            raise UsageError("the question is empty")
        if not is_text(question.text):
            raise UsageError(f"the question {question.text!r} is not valid Unicode text")
        name = self._adapters.find(adapter, question.scope.tenant).name if adapter else None
        return Run(question, strategy, name, Reader(self._catalog))

    async def _rewrite(self, question: Question) -> Rewriting:
        if not question.history or self._settings.answering.rewriting == "rules":
            return by_rules(question.text, question.history)
        model = await self._thread(self._chat_model)
        return await self._rewriter.rewrite(model, question.text, question.history)

    async def _found(self, run: Run, top_k: int | None = None) -> bool:
        """Rewrite and retrieve."""
        scope = run.question.scope
        collection = await self._thread(
            self._catalog.collection, run.question.collection, scope.tenant, scope.collections
        )
        with run.timed("rewriting"):
            run.rewriting = await self._rewrite(run.question)
        return await self._thread(self._retrieve, run, collection, top_k or self._settings.retrieval.top_k)

    def _retrieve(self, run: Run, collection: Collection, top_k: int) -> bool:
        if run.strategy == ORACLE:
            return given(run, self._catalog, collection, self._retriever(collection))
        return search(run, self._catalog, collection, self._retriever(collection), self._settings, top_k)

    def _compose(self, run: Run) -> None:
        """Fill the run's evidence, and the prompt where a model is asked."""
        if run.strategy == "extractive":
            with run.timed("packing"):
                run.packed = everything(run)
            return
        show(run, self._chat_model(), self._settings)

    def _max_tokens(self, question: Question) -> int:
        return question.max_tokens or self._settings.generation.max_answer_tokens

    # --- endings --------------------------------------------------------------------------------

    async def _abstain(self, run: Run, started: float) -> AsyncGenerator[AnswerEvent, None]:
        nearest = abstaining.nearest_documents(run.hits)
        text = abstaining.abstention_text(run.question.text, nearest)
        yield TextDelta(text)
        answer = self._answer(run, text, started, Cited((), None))
        yield Finished(replace(answer, abstained=True, nearest=nearest))

    async def _extracted(self, run: Run, started: float, fallback: str | None) -> AsyncGenerator[AnswerEvent, None]:
        verbatim = await self._thread(self._verbatim, run)
        if verbatim is None:
            async for event in self._abstain(run, started):
                yield event
            return
        text, cited, told = verbatim
        yield TextDelta(text)
        yield Finished(replace(self._answer(run, text, started, cited, conflicts=told), fallback=fallback))

    def _verbatim(self, run: Run) -> tuple[str, Cited, tuple[Conflict, ...]] | None:
        """The documents' own best sentences, of all hits: what was packed for a model may be less."""
        with run.timed("extracting"):
            beyond = () if run.strategy == "extractive" else everything(run, run.packed.evidence).evidence
            passages = (*run.relevant, *beyond)
            excerpts = self._best(run, passages, self._settings.answering.max_sentences)
        if not excerpts:
            return None
        found = self._disagreements(run, [excerpt.piece for excerpt in excerpts], passages)
        pieces = conflicts.preferring_newer([excerpt.piece for excerpt in excerpts], found, run.question.text)
        text, cited = quote(pieces, run.reader.page)
        text, further = conflicts.noted(text, found, run.question.text, run.reader.page)
        cited = replace(cited, citations=(*cited.citations, *further))
        run.show({citation.marker for citation in cited.citations}, beyond)
        return text, cited, tuple(conflicts.conflict(item, run.question.text) for item in found)

    def _best(self, run: Run, passages: Sequence[Evidence], count: int) -> list[Excerpt]:
        return extract(run.query, passages, self._similarity(), max_sentences=count, term_weights=run.term_weights)

    def _disagreements(
        self, run: Run, used: Sequence[Piece], passages: Sequence[Evidence]
    ) -> list[conflicts.Disagreement]:
        with run.timed("conflicts"):
            return conflicts.disagreements(
                used,
                passages,
                lambda own: [(each.piece, each.score) for each in self._best(run, own, _SENTENCES_COMPARED)],
                run.reader.document,
            )

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
        cited, disagreeing = await self._thread(self._cite, run, text) if grounded else (Cited((), None), ())
        if holds_back:
            if not cited.supported:
                async with aclosing(self._extracted(run, started, NOT_SUPPORTED)) as events:
                    async for event in events:
                        if isinstance(event, Finished):
                            event = Finished(
                                replace(event.answer, usage=sum_of_usage(event.answer.usage, usage), model=model.name)
                            )
                        yield event
                return
            yield TextDelta(text)
        yield Finished(self._answer(run, text, started, cited, usage, finish, model.name, disagreeing))

    # --- parts of the endings ---------------------------------------------------------------------

    def _cite(self, run: Run, text: str) -> tuple[Cited, tuple[Conflict, ...]]:
        with run.timed("citing"):
            weights = run.retriever.term_weights(text) if run.retriever is not None else None
            cited = cite(
                text,
                run.citable,
                self._similarity(),
                run.reader.page,
                weights,
                run.query,
                None if self._entailment is None else self._entailment(),
            )
        passages = {item.number: item for item in run.citable}
        used = [
            Piece(passages[each.marker], each.start, each.end, each.quote) for each in cited.citations if each.supported
        ]
        found = self._disagreements(run, used, run.relevant)
        return cited, tuple(conflicts.conflict(item, run.question.text) for item in found)

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
        conflicts: tuple[Conflict, ...] = (),
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
            usage=sum_of_usage(run.rewriting.usage if run.rewriting is not None else Usage(), usage or Usage()),
            timings=dict(run.timings),
            search_query=run.rewriting.query if run.rewriting is not None else None,
            rewriting=run.rewriting,
            judgement=run.judgement,
            dropped=run.packed.dropped,
            hits=run.hits,
            turn=Turn(run.question.text, user, text, run.packed.evidence),
            conflicts=conflicts,
            neighbours=run.packed.neighbours,
            packing=run.spent(),
            prompt_hash=None if run.prompt is None else prompting.digest(run.prompt.messages),
        )

    async def _thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))


_SENTENCES_COMPARED = 3
"""Of each document, with those that the answer rests on."""
