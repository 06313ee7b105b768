"""What a run folder holds: ``run.json``, and a line in ``answers.jsonl`` for each answer, in ``scores.jsonl`` for each
scored one.

Lines are appended as answers come, so a file may end in half a line where a process was killed, and a question whose
engine failed may stand in it twice: the later line holds.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import StateError

RUN_FILE, ANSWERS_FILE, SCORES_FILE = "run.json", "answers.jsonl", "scores.jsonl"

Status = Literal["ok", "abstained", "empty", "truncated", "does_not_fit", "engine_fault"]
UNMEASURED: frozenset[Status] = frozenset({"engine_fault"})
"""What says nothing about the arm: counted, never scored."""
WORTHLESS: frozenset[Status] = frozenset({"empty", "truncated", "does_not_fit"})
"""What a reader can't use: scored 0."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpanRecord(_Record):
    """A span of a document's text, in code points; ``document`` is its source."""

    document: str
    start: int
    end: int


class RetrievedRecord(SpanRecord):
    """A hit, best first in its record; the score compares within one record only."""

    score: float


class EvidenceRecord(SpanRecord):
    """A passage that the prompt showed."""

    number: int
    document_id: str
    version: str
    title: str
    text: str


class CitationRecord(SpanRecord):
    """A sentence of the output, ``output[answer_start:answer_end]``, and the quote it rests on."""

    marker: int
    quote: str
    supported: bool
    attributed: bool
    answer_start: int
    answer_end: int


class TokensRecord(_Record):
    """``cached`` is ``None`` where the engine doesn't tell."""

    prompt: int = 0
    cached: int | None = None
    output: int = 0


class AnswerRecord(_Record):
    """One question answered by one arm."""

    run: str
    question: str
    """Its id."""
    group: str
    """Questions of one group are not independent."""
    arm: str
    strategy: str
    """What the answer flow did in the end: a router's record names the strategy that it came to."""
    adapter: str | None = None
    model: str = ""
    prompt_hash: str | None = None
    """SHA-256 over the messages as sent; ``None`` where no model was asked."""
    status: Status
    output: str = ""
    finish_reason: str = ""
    fallback: str | None = None
    """Why verbatim sentences stand in for the model's answer."""
    error: str | None = None
    """The fault in words, of ``does_not_fit`` and ``engine_fault``."""
    search_query: str | None = None
    probability: float | None = None
    """That the documents answer the question, as gate A sees it; ``None`` where nothing was searched."""
    gold: tuple[SpanRecord, ...] = ()
    """The question's own evidence, as it stood in the collection when it was asked."""
    retrieved: tuple[RetrievedRecord, ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    citations: tuple[CitationRecord, ...] = ()
    tokens: TokensRecord = TokensRecord()
    timings: Mapping[str, float] = Field(default_factory=dict)
    """Seconds by step, of an engine that answers others too."""
    attempts: int = 1
    alone: bool = False
    """Asked while the engine answered nothing else: only such timings are a latency."""
    machine_s: float = 0.0
    """Seconds from the arm's last answer to this one: an arm's sum is how long it kept the machine, however many
    questions were under way at once."""

    @property
    def key(self) -> tuple[str, str]:
        return self.arm, self.question

    @property
    def is_measured(self) -> bool:
        return self.status not in UNMEASURED


class ScoreRecord(_Record):
    """An answer's metrics by name; ``None`` where a metric says nothing about the question."""

    question: str
    group: str
    arm: str
    status: Status
    tags: tuple[str, ...] = ()
    language: str = "en"
    answerable: bool = True
    metrics: Mapping[str, float | None]

    @property
    def key(self) -> tuple[str, str]:
        return self.arm, self.question


class Contrast(_Record):
    """A difference that was planned before anything was answered: ``arm`` less ``baseline``.

    An interaction takes off another difference, which is ``less``: its arm and its baseline.
    """

    arm: str
    baseline: str
    less: tuple[str, str] | None = None

    def __str__(self) -> str:
        own = f"{self.arm} - {self.baseline}"
        return own if self.less is None else f"({own}) - ({self.less[0]} - {self.less[1]})"

    @property
    def weights(self) -> dict[str, float]:
        """What each arm's value is multiplied by."""
        signed = [(self.arm, 1.0), (self.baseline, -1.0)]
        if self.less is not None:
            signed += [(self.less[0], -1.0), (self.less[1], 1.0)]
        found: dict[str, float] = {}
        for arm, sign in signed:
            found[arm] = found.get(arm, 0.0) + sign
        return found


class GateRecord(_Record):
    """A gate that an adapter met or missed when it was trained, such as how much general ability it kept."""

    name: str
    value: float
    low: float
    high: float
    passed: bool


class ArmRecord(_Record):
    """An arm as it was resolved: a configuration of the one answer flow."""

    name: str
    strategy: str
    adapter: str | None = None
    adapter_hash: str | None = None
    adapter_kind: str | None = None
    adapter_gates: tuple[GateRecord, ...] = ()
    examples: int = 0
    """Solved examples before the question: 0 is zero-shot."""
    settings: Mapping[str, object] = Field(default_factory=dict)
    """What differs from the run's settings, by dotted name."""


class Prices(_Record):
    """Money for tokens, in units of ``currency`` per million, and for the machine's time."""

    currency: str = "USD"
    prompt_per_million: float = Field(default=0.0, ge=0)
    cached_per_million: float | None = Field(default=None, ge=0)
    """As uncached ones where it isn't given."""
    output_per_million: float = Field(default=0.0, ge=0)
    per_hour: float = Field(default=0.0, ge=0)


class RunRecord(_Record):
    """``run.json``: everything that the answers depend on. ``key`` is the hash over it, the name and time left out."""

    name: str
    key: str
    created_at: str
    questions_file: str
    questions_sha256: str
    question_ids: tuple[str, ...]
    splits: tuple[str, ...] = ()
    collection: str
    collection_sha256: str
    """Over the sources and versions of its documents."""
    model: str
    arms: tuple[ArmRecord, ...]
    primary: str
    """The metric that the verdict is about."""
    contrasts: tuple[Contrast, ...]
    seed: int
    transductive: bool = False
    """Whether an adapter may have been trained on the facts that are asked for."""
    prices: Prices = Prices()
    settings: Mapping[str, object]
    versions: Mapping[str, str]


RecordT = TypeVar("RecordT", AnswerRecord, ScoreRecord)


def read_run(folder: Path) -> RunRecord:
    path = folder / RUN_FILE
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StateError(f"{folder} holds no run: {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise StateError(f"{path} is no description of a run: {error.errors()[0]['msg']}") from error


def write_run(folder: Path, run: RunRecord) -> None:
    """Whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN_FILE
    draft = path.with_suffix(".draft")
    draft.write_text(run.model_dump_json(indent=2) + "\n", "utf-8")
    draft.replace(path)


def read_answers(folder: Path) -> list[AnswerRecord]:
    """Of each arm and question the last record, in the order of the first ones; none where nothing was answered."""
    return _read(folder / ANSWERS_FILE, AnswerRecord)


def read_scores(folder: Path) -> list[ScoreRecord]:
    return _read(folder / SCORES_FILE, ScoreRecord)


def write_scores(folder: Path, scores: Iterable[ScoreRecord]) -> None:
    lines = (score.model_dump_json() + "\n" for score in scores)
    (folder / SCORES_FILE).write_text("".join(lines), "utf-8")


class AnswerLog:
    """Appends to ``answers.jsonl``. A record is on disk when ``append`` returns; half a line at the end is cut off."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ANSWERS_FILE
        self._file = path.open("ab+")
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)

    def append(self, record: AnswerRecord) -> None:
        self._file.write(record.model_dump_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _read(path: Path, kind: type[RecordT]) -> list[RecordT]:
    if not path.exists():
        return []
    found: dict[tuple[str, str], RecordT] = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = kind.model_validate(json.loads(line))
        except ValueError as error:
            raise StateError(f"{path}, line {number}: no record of this version; run into another folder") from error
        found[record.key] = record
    return list(found.values())
