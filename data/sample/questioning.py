"""Join the sample corpus's hand-written questions with questions made from its table specifications.

Every quote is rewritten to the exact span of the parsed document. Rows, columns and wordings are chosen by a seed
drawn from the table's name, so that the same files give the same questions.
"""

import itertools
import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rag.types import Document

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MIN_NUMERIC_ROWS = 5


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    split: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One line of ``questions.jsonl``. ``split`` is the group's, or ``probe``: a train fact asked in other words."""

    id: str
    question: str
    answers: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]
    """(document, quote) pairs."""
    answerable: bool
    tags: tuple[str, ...]
    group: str
    fact_key: str
    language: str
    split: str
    history: tuple[Mapping[str, str], ...] = ()

    def line(self) -> str:
        record = {
            "id": self.id,
            "question": self.question,
            "answers": self.answers,
            "evidence": [{"document": document, "quote": quote} for document, quote in self.evidence],
            "answerable": self.answerable,
            "history": self.history,
            "tags": self.tags,
            "group": self.group,
            "fact_key": self.fact_key,
            "language": self.language,
            "split": self.split,
        }
        return json.dumps(record, ensure_ascii=False)


@dataclass(slots=True)
class Problems:
    """What is wrong with the authored files, collected so that one run names all of it."""

    found: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.found.append(problem)


def read_groups(authored: Path, problems: Problems) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    owners: dict[str, str] = {}
    for path in sorted(authored.glob("*.toml")):
        if path.name.endswith(".tables.toml"):
            continue
        for entry in tomllib.loads(path.read_text("utf-8"))["group"]:
            group = Group(entry["name"], entry["split"], tuple(entry["documents"]))
            if group.name in groups:
                problems.add(f"{path.name}: there are two groups {group.name}")
            for document in group.documents:
                if owners.setdefault(document, group.name) != group.name:
                    problems.add(f"{path.name}: {document} is in the groups {owners[document]} and {group.name}")
            groups[group.name] = group
    return groups


def all_questions(
    authored: Path, documents: Mapping[str, Document], groups: Mapping[str, Group], problems: Problems
) -> list[Question]:
    """Sorted by id. ``documents`` maps the paths below ``documents/`` to what the parser made of them."""
    questions = [
        *_handwritten(authored, documents, groups, problems),
        *_from_tables(authored, documents, groups, problems),
    ]
    _no_repeats(questions, problems)
    return sorted(questions, key=lambda question: question.id)


def exact_quote(text: str, quote: str) -> str | None:
    """The span of ``text`` that reads like the quote, white space aside, or ``None``."""
    match = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    return match[0] if match else None


def _handwritten(
    authored: Path, documents: Mapping[str, Document], groups: Mapping[str, Group], problems: Problems
) -> Iterator[Question]:
    for path in sorted(authored.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            record: dict[str, Any] = json.loads(line)
            group = groups.get(record["group"])
            if group is None:
                problems.add(f"{record['id']}: there is no group {record['group']}")
                continue
            evidence = []
            for entry in record["evidence"]:
                if entry["document"] not in group.documents:
                    problems.add(f"{record['id']}: {entry['document']} is no document of the group {group.name}")
                document = documents.get(entry["document"])
                quote = exact_quote(document.text, entry["quote"]) if document else None
                if quote is None:
                    problems.add(f"{record['id']}: not found in {entry['document']}: {entry['quote']}")
                else:
                    evidence.append((entry["document"], quote))
            yield Question(
                id=record["id"],
                question=record["question"],
                answers=tuple(record["answers"]),
                evidence=tuple(evidence),
                answerable=record["answerable"],
                tags=tuple(record["tags"]),
                group=group.name,
                fact_key=record["fact_key"],
                language=record["language"],
                split=_split(group, probe=record.get("probe", False)),
                history=tuple(record["history"]),
            )


def _split(group: Group, *, probe: bool) -> str:
    return "probe" if probe and group.split == "train" else group.split


# --- questions from tables --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    line: str
    """As it stands in the document."""
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table specification with the document's rows."""

    spec: Mapping[str, Any]
    number: int
    """From 1, among the tables of its group."""
    group: Group
    rows: tuple[_Row, ...]
    title: str

    def question(
        self, kind: str, number: int, wording: str, answers: Sequence[str], rows: Sequence[_Row], fact: str, *,
        probe: bool, numeric: bool,
    ) -> Question:  # fmt: skip
        return Question(
            id=f"{self.group.name}-t{self.number}-{kind}{number:02}{'p' if probe else ''}",
            question=wording,
            answers=tuple(answers),
            evidence=tuple((self.spec["document"], row.line) for row in rows),
            answerable=True,
            tags=("table", "numeric") if numeric else ("table",),
            group=self.group.name,
            fact_key=f"{self.group.name}/table-{self.number}/{fact}",
            language=self.spec["language"],
            split=_split(self.group, probe=probe),
        )


def _from_tables(
    authored: Path, documents: Mapping[str, Document], groups: Mapping[str, Group], problems: Problems
) -> Iterator[Question]:
    numbers: dict[str, int] = {}
    known = "\n".join(document.text for document in documents.values()).casefold()
    for path in sorted(authored.glob("*.tables.toml")):
        for spec in tomllib.loads(path.read_text("utf-8"))["table"]:
            name = f"{path.name}, {spec['document']}"
            if spec["group"] not in groups or spec["document"] not in documents:
                problems.add(f"{name}: there is no such group or document")
                continue
            number = numbers[spec["group"]] = numbers.get(spec["group"], 0) + 1
            columns = [spec["key"], *(ask["column"] for ask in spec["ask"])]
            rows = _rows(documents[spec["document"]], columns)
            if not rows:
                problems.add(f"{name}: no table has the columns {columns}")
                continue
            table = _Table(spec, number, groups[spec["group"]], rows, documents[spec["document"]].title)
            chance = random.Random(f"{spec['document']} {spec['key']} {number}")
            yield from _lookups(table, chance)
            yield from _comparisons(table, chance)
            yield from _missing(table, chance, known)


def _rows(document: Document, columns: Sequence[str]) -> tuple[_Row, ...]:
    found = []
    for table in document.tables:
        header = _cells(table.header)
        if set(columns) <= set(header):
            lines = document.text[table.start : table.end].splitlines()[2:]
            found += [_Row(line, dict(zip(header, _cells(line), strict=True))) for line in lines]
    return tuple(found)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _lookups(table: _Table, chance: random.Random) -> Iterator[Question]:
    """One question for each chosen row, going round the columns; train facts are asked again as probes."""
    rows = chance.sample(table.rows, min(table.spec["max_rows"], len(table.rows)))
    asks = chance.sample(table.spec["ask"], len(table.spec["ask"]))
    for number, (row, ask) in enumerate(zip(rows, itertools.cycle(asks), strict=False), 1):
        key, value = row.cells[table.spec["key"]], row.cells[ask["column"]]
        wordings = chance.sample(ask["wordings"], 2)
        answers = [answer.format(value=value) for answer in ask["answer"]]
        for probe in (False, True) if table.group.split == "train" else (False,):
            wording = wordings[probe].format(key=key)
            fact = f"{key}/{ask['column']}"
            yield table.question("r", number, wording, answers, [row], fact, probe=probe, numeric=False)


_LARGEST = {
    "en": (
        'According to "{title}", which {kind} has the highest value of {column}?',
        'Look at the table in "{title}": for which {kind} is {column} the largest?',
    ),
    "ru": (
        "Для какой позиции ({kind}) в документе «{title}» значение «{column}» самое большое?",
        "Сравните строки таблицы из «{title}»: где показатель «{column}» максимален ({kind})?",
    ),
    "zh": (
        "根据《{title}》，哪个{kind}的“{column}”数值最大？",
        "在《{title}》的表格中，“{column}”最高的{kind}是哪一个？",
    ),
}
_DIFFERENCE = {
    "en": (
        "How much higher is the {column} of {first} than that of {second}?",
        "What is the difference in {column} between {second} and {first}?",
    ),
    "ru": (
        "На сколько показатель «{column}» у {first} больше, чем у {second}?",
        "Какова разница в показателе «{column}» между {second} и {first}?",
    ),
    "zh": ("{first} 的“{column}”比 {second} 高多少？", "{second} 与 {first} 的“{column}”相差多少？"),
}


def _comparisons(table: _Table, chance: random.Random) -> Iterator[Question]:
    """At most two: the row with the one largest value, and the difference between two rows."""
    numeric = [
        (ask, values)
        for ask in table.spec["ask"]
        if len(values := [row.cells[ask["column"]] for row in table.rows]) >= _MIN_NUMERIC_ROWS
        and all(_NUMBER.fullmatch(value) for value in values)
        and any("{value} " in answer for answer in ask["answer"])
    ]
    probes = (False, True) if table.group.split == "train" else (False,)
    key = table.spec["key"]
    chance.shuffle(numeric)
    for ask, values in numeric:
        numbers = [Decimal(value) for value in values]
        if numbers.count(max(numbers)) == 1:
            row = table.rows[numbers.index(max(numbers))]
            names = {"title": table.title, "kind": table.spec["kind"], "column": _spoken(table, ask["column"])}
            for probe in probes:
                wording = _LARGEST[table.spec["language"]][probe].format(**names)
                fact = f"largest/{ask['column']}"
                yield table.question("m", 1, wording, [row.cells[key]], [row], fact, probe=probe, numeric=True)
            break
    for ask, values in reversed(numeric):
        pairs = [
            (first, second)
            for first, second in itertools.permutations(range(len(values)), 2)
            if Decimal(values[first]) > Decimal(values[second])
        ]
        if not pairs:
            continue
        first, second = chance.choice(pairs)
        difference = f"{Decimal(values[first]) - Decimal(values[second]):f}"
        rows = [table.rows[first], table.rows[second]]
        answers = [answer.format(value=difference) for answer in ask["answer"]]
        names = {"column": _spoken(table, ask["column"]), "first": rows[0].cells[key], "second": rows[1].cells[key]}
        for probe in probes:
            wording = _DIFFERENCE[table.spec["language"]][probe].format(**names)
            fact = f"difference/{names['first']}/{names['second']}/{ask['column']}"
            yield table.question("d", 1, wording, answers, rows, fact, probe=probe, numeric=True)
        break


def _spoken(table: _Table, column: str) -> str:
    """A column's header as it is said in a sentence: without the unit, unless two columns differ by it alone."""
    bare = column.partition(" (")[0]
    if sum(name.partition(" (")[0] == bare for name in table.rows[0].cells) > 1:
        return column
    first = bare.split()[0]
    return bare[0].lower() + bare[1:] if len(first) > 2 and first[1:].islower() else bare


def _missing(table: _Table, chance: random.Random, known: str) -> Iterator[Question]:
    """Questions about keys that look right and stand in no document: those whose last digit differs."""
    keys = [row.cells[table.spec["key"]] for row in table.rows]
    keys = [key for key in chance.sample(keys, len(keys)) if re.search(r"\d", key)]
    splits = (False, False, True, True) if table.group.split == "train" else (False, False)
    number = 0
    for key in keys:
        if number == len(splits):
            break
        at = max(match.start() for match in re.finditer(r"\d", key))
        others = [key[:at] + digit + key[at + 1 :] for digit in "123456789"]
        others = [other for other in others if other.casefold() not in known]
        if not others:
            continue
        ask = chance.choice(table.spec["ask"])
        wording = chance.choice(ask["wordings"]).format(key=(missing := chance.choice(others)))
        known += "\n" + missing.casefold()
        question = table.question(
            "u", number + 1, wording, [], [], f"none-{missing}", probe=splits[number], numeric=False
        )
        yield replace(question, answerable=False, tags=("unanswerable", "table"))
        number += 1


def _no_repeats(questions: Sequence[Question], problems: Problems) -> None:
    """No id and no question twice; and a probe that has an answer asks for a fact of the train split."""
    ids: set[str] = set()
    texts: dict[str, str] = {}
    for question in questions:
        if question.id in ids:
            problems.add(f"{question.id}: there are two questions of this id")
        ids.add(question.id)
        text = " ".join(question.question.casefold().split())
        if text in texts:
            problems.add(f"{question.id}: the same question as {texts[text]}: {question.question}")
        texts[text] = question.id
    facts = {question.fact_key for question in questions if question.split == "train"}
    for question in questions:
        if question.split == "probe" and question.answerable and question.fact_key not in facts:
            problems.add(f"{question.id}: no train question has its fact {question.fact_key}")
