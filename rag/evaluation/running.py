"""A run: what it depends on written down before anything is asked, the questions asked, the answers scored."""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from rag.build import Library
from rag.errors import ConflictError, UsageError
from rag.evaluation.asking import Asker, OnProgress, Pace, evenly
from rag.evaluation.examples import Examples
from rag.evaluation.questions import EvaluationQuestion, read_questions
from rag.evaluation.recording import GoldReader
from rag.evaluation.records import (
    RUN_FILE,
    AnswerLog,
    ArmRecord,
    Contrast,
    Prices,
    RunRecord,
    read_answers,
    read_run,
    write_run,
    write_scores,
)
from rag.evaluation.scoring import METRICS, Scorer

_PACKAGES = ("domainqa", "torch", "transformers", "sentence-transformers", "peft", "numpy")
_SECTIONS = ("embedding", "chunking", "retrieval", "reranking", "packing", "generation", "answering")
_NO_MATTER = {"generation": ("base_url", "api_key_env", "timeout_s", "retries", "concurrency", "max_queue", "adapters")}
"""Settings that answers don't depend on."""
_NOT_KEYED = ("name", "key", "created_at")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The questions of a run, and all of their file, which few-shot examples are taken from."""

    file: Path
    sha256: str
    asked: list[EvaluationQuestion]
    pool: list[EvaluationQuestion]
    splits: tuple[str, ...]


def choose(file: Path, splits: Sequence[str] = (), languages: Sequence[str] = (), limit: int | None = None) -> Chosen:
    """Raises ``UsageError`` where nothing is left."""
    pool = read_questions(file)
    fitting = [
        each for each in pool if (not splits or each.split in splits) and (not languages or each.language in languages)
    ]
    if not fitting:
        told = ", ".join([*splits, *languages])
        raise UsageError(f"{file}: there are no questions{f' of {told}' if told else ''}")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Chosen(file, sha256, evenly(fitting, limit), pool, tuple(splits))


def chosen_of(run: RunRecord, file: Path) -> Chosen:
    """The questions that a run asked. Raises ``UsageError`` where the file is another one than it read."""
    chosen = choose(file)
    if chosen.sha256 != run.questions_sha256:
        raise UsageError(f"{file} is not the file that the run {run.name!r} asked; that was {run.questions_file}")
    ids = set(run.question_ids)
    return Chosen(file, chosen.sha256, [each for each in chosen.pool if each.id in ids], chosen.pool, run.splits)


def describe(
    library: Library,
    chosen: Chosen,
    folder: Path,
    collection: str,
    arms: tuple[ArmRecord, ...],
    contrasts: tuple[Contrast, ...],
    *,
    primary: str,
    seed: int,
    prices: Prices,
    transductive: bool = False,
) -> RunRecord:
    """Raises ``UsageError`` for a metric that nobody knows."""
    if primary not in METRICS:
        raise UsageError(f"there is no metric {primary!r} to be the primary one; there are: {', '.join(METRICS)}")
    found = library.catalog.collection(collection)
    documents = [[info.source, info.version] for info in library.catalog.documents(found)]
    run = RunRecord(
        name=folder.name,
        key="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        questions_file=chosen.file.name,
        questions_sha256=chosen.sha256,
        question_ids=tuple(question.id for question in chosen.asked),
        splits=chosen.splits,
        collection=collection,
        collection_sha256=hashlib.sha256(json.dumps(documents).encode()).hexdigest(),
        model=library.settings.generation.model,
        arms=arms,
        primary=primary,
        contrasts=contrasts,
        seed=seed,
        transductive=transductive,
        prices=prices,
        settings=_settings(library),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )
    parts = json.dumps(_keyed(run), sort_keys=True).encode()
    return run.model_copy(update={"key": hashlib.sha256(parts).hexdigest()})


async def carry_out(
    library: Library,
    run: RunRecord,
    chosen: Chosen,
    folder: Path,
    pace: Pace,
    on_progress: OnProgress,
    note: Callable[[str], None],
) -> RunRecord:
    """Ask what isn't answered yet, and score. The run as it was begun, perhaps by an earlier process.

    Raises ``UsageError`` where the folder holds another run, ``ConflictError`` where another process is at it.
    """
    with _alone_at(folder):
        begun = _begun(folder, run)
        gold = GoldReader(library, run.collection)
        examples = Examples(chosen.pool, chosen.asked, run.seed)
        asker = Asker(library, begun, chosen.asked, gold, examples, pace, on_progress)
        if gold.broken:
            note(
                f"{len(gold.broken)} questions quote what the collection doesn't hold: {', '.join(gold.broken[:5])}; "
                "their retrieval and citations are not scored"
            )
        with closing(AnswerLog(folder)) as log:
            await asker.ask(log, read_answers(folder))
        score(library, begun, chosen, folder)
        return begun


def score(library: Library, run: RunRecord, chosen: Chosen, folder: Path) -> None:
    """Write ``scores.jsonl`` from ``answers.jsonl``, in the order of arms and questions."""
    answers = {record.key: record for record in read_answers(folder)}
    ordered = [answers[key] for arm in run.arms for q in chosen.asked if (key := (arm.name, q.id)) in answers]
    scorer = Scorer({question.id: question for question in chosen.asked}, run.prices, library.embedder())
    write_scores(folder, scorer.scores(ordered))


@contextmanager
def _alone_at(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConflictError(f"another process is at the run in {folder}; wait for it") from error
    try:
        yield
    finally:
        lock.release()


def _begun(folder: Path, run: RunRecord) -> RunRecord:
    if not (folder / RUN_FILE).exists():
        write_run(folder, run)
        return run
    begun = read_run(folder)
    if begun.key != run.key:
        old, new = _keyed(begun), _keyed(run)
        differing = sorted(name for name in old if old[name] != new[name])
        raise UsageError(
            f"{folder} holds another run; it differs in {', '.join(differing)}: give another folder with --out"
        )
    return begun


def _keyed(run: RunRecord) -> dict[str, object]:
    return {name: value for name, value in run.model_dump(mode="json").items() if name not in _NOT_KEYED}


def _settings(library: Library) -> Mapping[str, object]:
    values = library.settings.model_dump(mode="json")
    return {
        section: {key: value for key, value in values[section].items() if key not in _NO_MATTER.get(section, ())}
        for section in _SECTIONS
    }
