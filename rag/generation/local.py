"""A chat model in this process, with transformers: one answer at a time, in the order of asking."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from rag.adapters import KnownAdapters
from rag.config import GenerationSettings
from rag.errors import (
    ConfigError,
    DoesNotFitError,
    EngineBusyError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelError,
    NotSupportedError,
)
from rag.generation.adapters import Adapters
from rag.generation.decoding import next_tokens
from rag.generation.detokenising import Detokeniser
from rag.generation.reuse import Prefixes
from rag.generation.tokens import LocalTokenCounter, load_tokenizer, window_of
from rag.types import FinishReason, Generated, Message, Sampling, Usage

_FIRST_GUESS_S = 5.0


class LocalChatModel:
    """The model in ``folder``, generating on one thread of its own.

    ``timeout_s`` is for a whole answer, its wait in the queue included. ``completion_tokens`` counts the end token.
    May be used from several event loops. Beside the engine errors: ``NotFoundError`` for an unknown adapter,
    ``DoesNotFitError`` where prompt and ``max_tokens`` exceed the window, ``NotSupportedError`` for a JSON schema,
    ``ModelError`` for an adapter that is broken.
    """

    def __init__(self, folder: Path, settings: GenerationSettings, adapters: KnownAdapters | None = None) -> None:
        """``adapters`` are those of the settings when left out."""
        if settings.concurrency != 1:
            raise ConfigError(
                f"generation.concurrency is {settings.concurrency}, but the local engine gives one answer at a time; "
                "set it to 1, or use a model server (generation.engine = 'openai')"
            )
        self._settings = settings
        self._tokens = LocalTokenCounter(load_tokenizer(folder, settings.model), settings.model)
        self._model = _load(folder, settings)
        self._window = window_of(self._model.config, settings)
        self._end_tokens = _end_tokens(self._model)
        known = adapters or KnownAdapters(settings.adapters)
        self._prefixes = Prefixes(self._model.config, settings.prefix_cache_mib << 20)
        self._adapters = Adapters(self._model, (settings.model, str(folder)), known)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generation")
        self._lock = Lock()
        self._jobs: set[_Job] = set()
        self._mean_s = _FIRST_GUESS_S
        self._closed = False

    @property
    def name(self) -> str:
        return self._settings.model

    @property
    def window(self) -> int:
        return self._window

    @property
    def tokens(self) -> LocalTokenCounter:
        return self._tokens

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[Generated, None]:
        if sampling.json_schema is not None:
            raise NotSupportedError(
                f"{self.name} generates in this process, which holds no text to a JSON schema; "
                "use a model server that does (generation.engine = 'openai')"
            )
        name = self._adapters.name_of(adapter)
        job = _Job(tuple(messages), sampling, name, asyncio.get_running_loop())
        self._admit(job)
        deadline = job.loop.time() + self._settings.timeout_s
        future: Future[None] | None = None
        try:
            job.prompt = await asyncio.to_thread(self._read_prompt, job)
            future = self._worker.submit(self._run, job)
            future.add_done_callback(job.ended)
            while True:
                item = await self._next(job, deadline)
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            job.cancelled.set()
            if future is not None:
                future.cancel()
            with self._lock:
                self._jobs.discard(job)

    async def _next(self, job: "_Job", deadline: float) -> Generated | Exception:
        if not job.items.empty():  # a reader that is slower than the model is owed what was generated in time
            return job.items.get_nowait()
        try:
            return await asyncio.wait_for(job.items.get(), deadline - job.loop.time())
        except TimeoutError:
            raise EngineTimeoutError(
                f"{self.name} did not finish within {self._settings.timeout_s:g} s; ask for fewer tokens or "
                "raise generation.timeout_s"
            ) from None

    async def aclose(self) -> None:
        """What is being generated ends with ``cancelled`` at its next token; what waits is told that it won't be."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancelled.set()
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    def _admit(self, job: "_Job") -> None:
        with self._lock:
            if self._closed:
                raise EngineUnavailableError(f"{self.name} was closed")
            if len(self._jobs) > self._settings.max_queue:
                wait_s = math.ceil(self._mean_s * len(self._jobs))
                raise EngineBusyError(
                    f"{self.name} is busy: {len(self._jobs)} answers are under way or waiting; "
                    f"come back in about {wait_s} s",
                    float(wait_s),
                )
            self._jobs.add(job)

    def _read_prompt(self, job: "_Job") -> list[int]:
        prompt = self._tokens.encode(self._tokens.render(job.messages))
        if len(prompt) + job.sampling.max_tokens > self._window:
            raise DoesNotFitError(
                f"the prompt has {len(prompt)} tokens and the answer may have {job.sampling.max_tokens}, but the "
                f"window of {self.name} has {self._window}; shorten the question or its history, or ask for fewer"
            )
        return prompt

    def _run(self, job: "_Job") -> None:
        """On the worker thread."""
        started = time.monotonic()
        try:
            for piece in self._generate(job):
                job.put(piece)
        except torch.OutOfMemoryError as error:
            self._prefixes.forget()
            job.put(EngineFaultError(f"{self.name} ran out of memory on a prompt of {len(job.prompt)} tokens: {error}"))
        except Exception as error:  # the caller's to raise, with the traceback it has here
            job.put(error)
        self._mean_s += 0.3 * (time.monotonic() - started - self._mean_s)

    def _generate(self, job: "_Job") -> Iterator[Generated]:
        detokeniser = Detokeniser(self._tokens.decode, job.sampling.stop)
        reason: FinishReason = "length"
        count = 0
        read = self._prefixes.begin(job.prompt, job.adapter)
        cached = len(read.tokens)
        with self._adapters.active(job.adapter) as model:
            for token in next_tokens(model, job.prompt, job.sampling, job.cancelled.is_set, read):
                count += 1
                if token in self._end_tokens:
                    reason = "stop"
                    break
                if text := detokeniser.push(token):
                    yield Generated(text)
                if detokeniser.stopped:
                    reason = "stop"
                    break
        if reason == "length" and count < job.sampling.max_tokens:
            reason = "cancelled"
        self._prefixes.keep(read)
        yield Generated(detokeniser.finish(), reason, Usage(len(job.prompt), count, cached))


@dataclass(eq=False, slots=True)
class _Job:
    """One request: made on the event loop, worked on by the thread, which hands its pieces back to the loop."""

    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str | None
    loop: asyncio.AbstractEventLoop
    prompt: list[int] = field(default_factory=list)
    cancelled: Event = field(default_factory=Event)
    items: asyncio.Queue[Generated | Exception] = field(default_factory=asyncio.Queue)

    def put(self, item: Generated | Exception) -> None:
        try:
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)
        except RuntimeError:  # the loop was closed: nobody listens
            self.cancelled.set()

    def ended(self, future: "Future[None]") -> None:
        if future.cancelled():
            self.put(EngineUnavailableError("the engine was closed before this answer's turn"))


def _load(folder: Path, settings: GenerationSettings) -> PreTrainedModel:
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    bars_were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=_dtype(settings, device), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{settings.model} ({folder}) cannot be loaded as a chat model: {error}") from error
    finally:
        if bars_were_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    assert isinstance(model, PreTrainedModel)
    model.to(device)  # type: ignore[arg-type]  # its decorated signature loses the type
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _dtype(settings: GenerationSettings, device: torch.device) -> torch.dtype:
    if settings.dtype != "auto":
        named = getattr(torch, settings.dtype)
        assert isinstance(named, torch.dtype)
        return named
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _end_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Those the model was made to stop at; instruct models often have several."""
    ids = model.generation_config.eos_token_id if model.generation_config is not None else None
    if ids is None:
        ids = model.config.get_text_config().eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids if isinstance(ids, list) else [ids])
