"""Question sets of others as ours: SQuAD's JSON, a BEIR folder, MTRAG's conversations, a table (CSV).

Sets that bring their documents along have them written as text files, to be ingested; the quotes of the evidence are
found in those files' text. A set without them names its documents, and its quotes are checked when it is asked.
"""

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from rag.errors import UsageError
from rag.evaluation.questions import EvaluationQuestion

Format = Literal["squad", "beir", "mtrag", "csv"]
Json: TypeAlias = Any
"""What a foreign file holds: a missing key is told as a fault of its format."""

_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 80
_TRUE, _FALSE = {"true", "yes", "1"}, {"false", "no", "0"}
_SEVERAL = "|"


@dataclass(frozen=True, slots=True)
class Imported:
    """``documents`` are texts by file name. ``skipped`` counts what is no question of ours, by reason."""

    questions: tuple[EvaluationQuestion, ...]
    documents: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


def guess_format(path: Path) -> Format:
    """By the path alone. Raises ``UsageError`` where it tells nothing."""
    if path.is_dir():
        return "beir"
    known: dict[str, Format] = {".json": "squad", ".jsonl": "mtrag", ".csv": "csv"}
    if path.suffix not in known:
        raise UsageError(f"{path} is neither a folder nor .json, .jsonl or .csv; say what it is with --format")
    return known[path.suffix]


def import_questions(path: Path, format_: Format, language: str = "en") -> Imported:
    """Raises ``UsageError`` naming the file and what it lacks."""
    readers = {"squad": _squad, "beir": _beir, "mtrag": _mtrag, "csv": _csv}
    try:
        found = readers[format_](path, language)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as {format_}: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(f"{path}: the question {fault['input']!r:.200}: {fault['msg']}") from error
    except (ValueError, csv.Error, KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is not of the format {format_}: {what}") from error
    if not found.questions:
        raise UsageError(f"{path} holds no questions of the format {format_}")
    seen: set[str] = set()
    for question in found.questions:
        if question.id in seen:
            raise UsageError(f"{path}: the id {question.id!r} stands twice")
        seen.add(question.id)
    return found


def write_documents(folder: Path, documents: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents.items():
        (folder / name).write_text(text + "\n", "utf-8")


def _squad(path: Path, language: str) -> Imported:
    """Version 1.1 and 2.0. Its unit of dependence is the article; the quote is the answer's line of the paragraph."""
    questions, documents = [], {}
    for number, article in enumerate(json.loads(path.read_text("utf-8-sig"))["data"]):
        group = article.get("title") or f"article-{number}"
        for place, paragraph in enumerate(article["paragraphs"]):
            context: str = paragraph["context"].lstrip("\ufeff")
            shift = len(paragraph["context"]) - len(context)
            source = f"{number:04}-{place:03}-{_file_name(group)}.txt"
            documents[source] = context
            for entry in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in entry["answers"]))
                is_answerable = not entry.get("is_impossible", False)
                quotes = [_line_around(context, entry["answers"][0]["answer_start"] - shift)] if is_answerable else []
                questions.append(
                    _question(
                        id=str(entry["id"]),
                        question=entry["question"].strip(),
                        answers=answers if is_answerable else (),
                        evidence=[{"document": source, "quote": quote} for quote in quotes],
                        answerable=is_answerable,
                        group=group,
                        language=language,
                        tags=["squad"],
                    )
                )
    return Imported(tuple(questions), documents)


def _beir(path: Path, language: str) -> Imported:
    """``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``.

    BEIR has no answers: a relevant text stands for one, and the tag ``retrieval-only`` says that only retrieval counts.
    """
    corpus = {str(line["_id"]): line for line in _lines(_first(path, "corpus.jsonl", "corpus.jsonl.gz"))}
    relevant: dict[str, list[str]] = {}
    judgements = _first(path, "qrels/test.tsv", "qrels.tsv")
    rows = [row for row in csv.reader(_open(judgements), delimiter="\t") if row]
    for row in rows[1:]:
        if len(row) != 3:
            raise UsageError(
                f"{judgements}: the line {row!r} has {len(row)} columns; it needs query, document and score"
            )
        query, document, score = row
        if float(score) > 0:
            relevant.setdefault(query, []).append(document)
    questions, documents, skipped = [], {}, {"without a relevant document": 0, "relevant documents missing": 0}
    for line in _lines(_first(path, "queries.jsonl", "queries.jsonl.gz")):
        judged = relevant.get(str(line["_id"]), [])
        known = [document for document in judged if document in corpus]
        skipped["relevant documents missing"] += len(judged) - len(known)
        if not known:
            skipped["without a relevant document"] += 1
            continue
        texts = [corpus[document]["text"].strip() for document in known]
        evidence = [
            {"document": f"{_file_name(document)}.txt", "quote": text}
            for document, text in zip(known, texts, strict=True)
        ]
        questions.append(
            _question(
                id=str(line["_id"]),
                question=line["text"].strip(),
                answers=texts[:1],
                evidence=evidence,
                group=known[0],
                language=language,
                tags=["beir", "retrieval-only"],
            )
        )
    for name, entry in corpus.items():
        title, text = entry.get("title", "").strip(), entry["text"].strip()
        documents[f"{_file_name(name)}.txt"] = f"{title}\n\n{text}" if title else text
    return Imported(tuple(questions), documents, {reason: count for reason, count in skipped.items() if count})


def _mtrag(path: Path, language: str) -> Imported:
    """A conversation's last question with the passages that answer it. Kinds between answerable and not are left out:
    whether they should be refused is a matter of taste."""
    questions, documents, skipped = [], {}, dict[str, int]()
    for line in _lines(path):
        passages = {f"{_file_name(each['document_id'])}.txt": each["text"].strip() for each in line["contexts"]}
        documents.update(passages)
        kind = line["answerability"][0] if line.get("answerability") else "ANSWERABLE"
        if kind not in {"ANSWERABLE", "UNANSWERABLE"}:
            skipped[kind.lower()] = skipped.get(kind.lower(), 0) + 1
            continue
        is_answerable = kind == "ANSWERABLE"
        *before, last = line["input"]
        questions.append(
            _question(
                id=line["task_id"],
                question=last["text"].strip(),
                answers=[target["text"] for target in line["targets"]] if is_answerable else [],
                evidence=[{"document": name, "quote": text} for name, text in passages.items() if is_answerable],
                answerable=is_answerable,
                history=[
                    {"role": "user" if turn["speaker"] == "user" else "assistant", "content": turn["text"]}
                    for turn in before
                ],
                group=line.get("conversation_id", line["task_id"]),
                language=language,
                tags=["mtrag", *([line["Collection"]] if "Collection" in line else [])],
            )
        )
    return Imported(tuple(questions), documents, skipped)


def _csv(path: Path, language: str) -> Imported:
    """A header, then a question a row: ``question`` and, where known, ``id, answers, document, quote, answerable,
    group, fact_key, language, split, tags``. Several answers or tags stand between ``|``."""
    questions = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            cells = {name: (value or "").strip() for name, value in row.items() if isinstance(value, str) and name}
            answers = _several(cells.get("answers") or cells.get("answer", ""))
            told = cells.get("answerable", "").casefold()
            if told and told not in _TRUE | _FALSE:
                raise UsageError(f"{path}, question {number}: answerable is {told!r}; give true or false")
            quote = {"document": cells.get("document", ""), "quote": cells.get("quote", "")}
            questions.append(
                _question(
                    id=cells.get("id") or f"{path.stem}-{number}",
                    question=cells["question"],
                    answers=answers,
                    evidence=[quote] if all(quote.values()) else [],
                    answerable=told in _TRUE if told else bool(answers),
                    group=cells.get("group", ""),
                    fact_key=cells.get("fact_key", ""),
                    language=cells.get("language") or language,
                    split=cells.get("split", ""),
                    tags=_several(cells.get("tags", "")),
                )
            )
    return Imported(tuple(questions))


def _question(**values: object) -> EvaluationQuestion:
    return EvaluationQuestion.model_validate(values)


def _several(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(_SEVERAL) if part.strip()]


def _line_around(text: str, at: int) -> str:
    """The whole paragraph line, verbatim, that the offset stands in: a bare answer stands in many places."""
    return text[text.rfind("\n", 0, at) + 1 :].split("\n", 1)[0].strip()


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder} holds no {names[0]}")


def _open(path: Path) -> Iterable[str]:
    text = gzip.decompress(path.read_bytes()).decode("utf-8") if path.suffix == ".gz" else path.read_text("utf-8-sig")
    # At line feeds only: str.splitlines would cut a JSON string at U+2028.
    return text.split("\n")


def _lines(path: Path) -> Iterator[Json]:
    return (json.loads(line) for line in _open(path) if line.strip())


def _file_name(name: str) -> str:
    return _UNSAFE.sub("_", name).strip("._")[:_LONGEST_NAME] or "document"


def write_questions(path: Path, questions: Sequence[EvaluationQuestion]) -> None:
    """JSONL, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        lines = (question.model_dump_json(exclude_defaults=True) + "\n" for question in questions)
        draft.write_text("".join(lines), "utf-8")
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
