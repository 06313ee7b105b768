"""The five strategies of the field, each with what it needs: data under the ratio rules, cards, hours, money.

Which numbers come from where: tokens for pretraining from Hoffmann et al. 2022 ("Training Compute-Optimal Large
Language Models": about 20 tokens a parameter), ratios from ``finetune.ratios``, memory and operations from the modules
beside this one. Nothing here knows how well a strategy answers: that is measured, by ``domainqa eval``.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from finetune.planning.compute import decode_seconds, gpu_hours, prefill_flops, training_flops
from finetune.planning.hardware import Gpu
from finetune.planning.memory import Memory, Method, serving_memory, training_memory
from finetune.planning.shapes import ModelShape
from finetune.ratios import CPT_ADVISED_GENERAL, CPT_MOST_DOMAIN, DEFAULT_SHARE, SFT_LOSS_SHARE

Name = Literal["pretraining from scratch", "continued pretraining", "SFT", "retrieval", "in-context"]

PRETRAINING_TOKENS = 20
"""For each parameter."""
USABLE = 0.9
"""Share of a card's memory that may be planned for."""

_CHUNK_TOKENS = 200
_VECTOR_BYTES = 4 * 384
_INSTRUCTION_TOKENS = 300
"""Rules and the question itself."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is planned for: the model, the documents, the questions, the cards."""

    shape: ModelShape
    gpu: Gpu
    utilisation: float
    domain_tokens: int
    """Of the documents."""
    sft_examples: int
    """Domain questions with answers; the general half comes on top."""
    prompt_tokens: int
    """Of a training example; also what a retrieval prompt holds of the documents."""
    answer_tokens: int
    epochs: int
    batch_tokens: int
    """Of a micro-batch on one card."""
    rank: int
    days: float
    """In which a training should be done."""
    cards: int | None = None
    """``None`` takes as many as the days and the memory ask for."""
    concurrency: int = 8
    """Answers that are written at the same time."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that must be there before it starts; ``most`` is ``None`` where more does no harm."""

    what: str
    least: float
    most: float | None
    unit: Literal["tokens", "examples", "bytes"]
    why: str


@dataclass(frozen=True, slots=True)
class Training:
    method: Method
    tokens: float
    """Read in the whole run, epochs included."""
    flops: float
    checkpointing: bool
    memory: Memory
    """On one card, were nothing divided."""
    cards: int | None
    """``None`` where no number of them is enough: a micro-batch alone does not fit."""
    gpu_hours: float
    days: float | None
    """``None`` where it cannot be done on the cards that are there."""
    money: float | None


@dataclass(frozen=True, slots=True)
class Asking:
    """What answering takes, by question, on cards that are busy."""

    prompt_tokens: int
    memory: Memory
    cards: int
    gpu_seconds: float
    """The prompt read whole, and the answer written."""
    cached_gpu_seconds: float | None
    """The same while the documents are in the prefix cache; ``None`` where each question has its own."""
    money_per_1000: float | None
    """With the prefix cache where it helps."""


@dataclass(frozen=True, slots=True)
class StrategyPlan:
    name: Name
    needs: tuple[Need, ...]
    trainings: tuple[Training, ...]
    asking: Asking | None
    notes: tuple[str, ...]
    obstacle: str | None = None
    """Why it cannot be done at all with this model."""


def plan(situation: Situation) -> tuple[StrategyPlan, ...]:
    """All five, the dearest first."""
    return (
        _pretraining(situation),
        _continued(situation),
        _sft(situation),
        _retrieval(situation),
        _in_context(situation),
    )


def train(situation: Situation, method: Method, tokens: float, learnt_share: float = 1.0) -> Training:
    """A training on the cards that are there, or on the fewest that hold it and are done in the days.

    Gradient checkpointing, which costs time, only where fewer cards do with it.
    """
    plain, checkpointed = (_trained(situation, method, tokens, learnt_share, each) for each in (False, True))
    there = math.inf if situation.cards is None else situation.cards
    possible = [
        (situation.cards or max(each.cards, math.ceil(each.gpu_hours / 24 / situation.days)), each)
        for each in (plain, checkpointed)
        if each.cards is not None and each.cards <= there
    ]
    if not possible:
        return checkpointed
    cards, chosen = min(possible, key=lambda each: (each[0], each[1].gpu_hours))
    price = situation.gpu.price_per_hour
    money = None if price is None else chosen.gpu_hours * price
    return replace(chosen, cards=cards, days=chosen.gpu_hours / 24 / cards, money=money)


def _trained(situation: Situation, method: Method, tokens: float, learnt_share: float, checkpointing: bool) -> Training:
    """The training with the cards that its memory asks for, and neither wall time nor money yet."""
    shape, gpu = situation.shape, situation.gpu
    memory = training_memory(
        shape,
        method,
        batch_tokens=situation.batch_tokens,
        learnt_tokens=math.ceil(situation.batch_tokens * learnt_share),
        checkpointing=checkpointing,
        rank=situation.rank,
    )
    flops = training_flops(shape.multiplied_parameters, tokens, method, checkpointing)
    hours = gpu_hours(flops, gpu.bf16_tflops, situation.utilisation)
    room = gpu.memory_gb * 1e9 * USABLE - memory.activations - memory.logits
    cards = math.ceil(memory.states / room) if room > 0 else None
    return Training(method, tokens, flops, checkpointing, memory, cards, hours, None, None)


def ask(situation: Situation, documents_tokens: int, *, same_for_all: bool = False) -> Asking:
    """A question whose prompt holds so many tokens of documents.

    Where they are the ``same_for_all`` questions, a prefix cache holds their keys and values once and reads them once.
    """
    shape, gpu = situation.shape, situation.gpu
    prompt = _INSTRUCTION_TOKENS + documents_tokens
    context = prompt + situation.answer_tokens
    shared = documents_tokens if same_for_all else 0
    memory = serving_memory(shape, context - shared, situation.concurrency, shared_tokens=shared)
    per_second = gpu.bf16_tflops * 1e12 * situation.utilisation
    token = decode_seconds(shape, context, situation.concurrency, gpu.bandwidth_gb_s * 1e9)
    reading, writing = prefill_flops(shape, prompt) / per_second, situation.answer_tokens * token
    cached = (prefill_flops(shape, prompt) - prefill_flops(shape, shared)) / per_second
    price = gpu.price_per_hour
    return Asking(
        prompt_tokens=prompt,
        memory=memory,
        cards=max(1, math.ceil(memory.total / (gpu.memory_gb * 1e9 * USABLE))),
        gpu_seconds=reading + writing,
        cached_gpu_seconds=cached + writing if same_for_all else None,
        money_per_1000=None if price is None else 1000 * (cached + writing) / 3600 * price,
    )


# --- the five -----------------------------------------------------------------------------------


def _pretraining(situation: Situation) -> StrategyPlan:
    tokens = PRETRAINING_TOKENS * situation.shape.parameters
    missing = max(0, tokens - situation.domain_tokens)
    return StrategyPlan(
        "pretraining from scratch",
        (
            Need("text in all", tokens, None, "tokens", f"about {PRETRAINING_TOKENS} a parameter (Hoffmann et al.)"),
            Need("general text beside your documents", missing, None, "tokens", "documents of one field are too few"),
        ),
        (train(situation, "full", tokens),),
        ask(situation, 0),
        (
            "today's models of this size are trained on many times 20 tokens a parameter, and so is what yours would "
            "be compared with",
            "a base model still needs SFT before it answers questions",
        ),
    )


def _continued(situation: Situation) -> StrategyPlan:
    domain, share = situation.domain_tokens, DEFAULT_SHARE["cpt"]
    least, most = (domain * times for times in CPT_ADVISED_GENERAL)
    allowed = math.ceil(domain * (1 - CPT_MOST_DOMAIN) / CPT_MOST_DOMAIN)
    tokens = domain / share
    return StrategyPlan(
        "continued pretraining",
        (
            Need("domain text", domain, None, "tokens", "your documents, once"),
            Need("general text, at least", allowed, None, "tokens", f"domain is at most {CPT_MOST_DOMAIN:.0%}"),
            Need("general text, advised", least, most, "tokens", "100 domain to 700-1000 general: 12.5 to 9 % domain"),
        ),
        tuple(train(situation, method, tokens) for method in ("full", "lora")),
        ask(situation, 0),
        (f"planned with {share:.0%} domain text", "what it reads is not cited: answers carry no sources"),
    )


def _sft(situation: Situation) -> StrategyPlan:
    examples = situation.sft_examples
    supervised = examples * situation.answer_tokens
    low, high = SFT_LOSS_SHARE
    passed = 2 * examples * (situation.prompt_tokens + situation.answer_tokens) * situation.epochs
    learnt = situation.answer_tokens / (situation.prompt_tokens + situation.answer_tokens)
    return StrategyPlan(
        "SFT",
        (
            Need("domain examples", examples, None, "examples", "questions with good answers"),
            Need(
                "supervised tokens of general examples",
                supervised * (1 - high) / high,
                supervised * (1 - low) / low,
                "tokens",
                f"domain is {low:g} to {high:g} of the loss; 1:1 is {supervised:,}",
            ),
        ),
        tuple(train(situation, method, passed, learnt) for method in ("lora", "qlora", "full")),
        ask(situation, 0),
        (
            f"{situation.epochs} epochs; general examples are taken to be as long as yours",
            "it teaches form sooner than facts: for facts that change, retrieve",
        ),
    )


def _retrieval(situation: Situation) -> StrategyPlan:
    chunks = math.ceil(situation.domain_tokens / _CHUNK_TOKENS)
    return StrategyPlan(
        "retrieval",
        (
            Need("documents", situation.domain_tokens, None, "tokens", "as they are; no examples, no training"),
            Need("vectors", chunks * _VECTOR_BYTES, None, "bytes", f"{chunks:,} chunks of {_CHUNK_TOKENS} tokens"),
        ),
        (),
        ask(situation, situation.prompt_tokens),
        ("no card for training; a changed document is answered from at once, with its source",),
        _too_long(situation, situation.prompt_tokens),
    )


def _in_context(situation: Situation) -> StrategyPlan:
    obstacle = _too_long(situation, situation.domain_tokens)
    return StrategyPlan(
        "in-context",
        (Need("documents", situation.domain_tokens, None, "tokens", "all of them in every prompt"),),
        (),
        None if obstacle else ask(situation, situation.domain_tokens, same_for_all=True),
        ("no training and no index; the prefix cache reads the documents once while they stay in it",),
        obstacle,
    )


def _too_long(situation: Situation, documents_tokens: int) -> str | None:
    wanted = _INSTRUCTION_TOKENS + documents_tokens + situation.answer_tokens
    if wanted <= situation.shape.window:
        return None
    return (
        f"{wanted:,} tokens with rules, question and answer do not fit the window of {situation.shape.window:,} of "
        f"{situation.shape.name}"
    )
