"""Rated answers as data: evaluation questions from those that helped, preference pairs from those that differ.

A question is the same where its words are, after the same questions, about the same collection. Turns whose content was
purged are not among what is given here.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from rag.catalog.feedback import RatedTurn
from rag.errors import UsageError

Record: TypeAlias = dict[str, object]

_MARKER = re.compile(r"\s*\[\d+\]")


def questions(rated: Sequence[RatedTurn]) -> list[Record]:
    """An evaluation question of each question with an answer rated up: the newest, its text and supported quotes."""
    newest: dict[tuple[str, ...], Record] = {}
    for each in rated:
        if each.rating != "up":
            continue
        turn = each.turn
        said = not turn.abstained
        newest[_same(each)] = {
            "id": f"feedback-{turn.id}",
            "question": turn.turn.question,
            "answers": [_MARKER.sub("", turn.turn.assistant).strip()] if said else [],
            "evidence": [
                {"document": citation.source, "quote": citation.quote}
                for citation in turn.citations
                if said and citation.supported
            ],
            "answerable": said,
            "history": [
                message for before in each.history for message in _messages(before.turn.question, before.turn.assistant)
            ],
            "tags": ["feedback"],
        }
    return list(newest.values())


def preferences(rated: Sequence[RatedTurn]) -> list[Record]:
    """Every pair of an answer rated up and another one rated down to the same question."""
    groups: dict[tuple[str, ...], list[RatedTurn]] = {}
    for each in rated:
        groups.setdefault(_same(each), []).append(each)
    pairs: list[Record] = []
    for group in groups.values():
        for up in group:
            for down in group:
                different = up.turn.turn.assistant != down.turn.turn.assistant
                if up.rating == "up" and down.rating == "down" and different:
                    pairs.append(_pair(up, down))
    return pairs


def write(records: Iterable[Record], path: Path) -> None:
    """As JSONL, whole or not at all. Raises ``UsageError`` where the file cannot be written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _pair(up: RatedTurn, down: RatedTurn) -> Record:
    prompt = [message for before in up.history for message in _messages(before.turn.question, before.turn.assistant)]
    return {
        "id": f"feedback-{up.turn.id}-{down.turn.id}",
        "prompt": [*prompt, {"role": "user", "content": up.turn.turn.question}],
        "chosen": [{"role": "assistant", "content": up.turn.turn.assistant}],
        "rejected": [{"role": "assistant", "content": down.turn.turn.assistant}],
        "collection": up.collection,
        "chosen_turn": up.turn.id,
        "rejected_turn": down.turn.id,
        "comment": down.comment,
    }


def _same(each: RatedTurn) -> tuple[str, ...]:
    asked = [*(before.turn.question for before in each.history), each.turn.turn.question]
    return (each.collection, *(" ".join(question.casefold().split()) for question in asked))


def _messages(question: str, answer: str) -> tuple[Record, Record]:
    return {"role": "user", "content": question}, {"role": "assistant", "content": answer}
