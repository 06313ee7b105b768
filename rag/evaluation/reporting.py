"""A run's folder to its report: one HTML file that needs nothing else, Markdown and JSON. Asks nobody anything.

The same answers give the same bytes: nothing of the time or the machine that the report is written on gets into it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.evaluation.analysis import Findings, analyse
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import AnswerRecord, RunRecord, read_answers, read_scores
from rag.evaluation.scoring import METRICS
from rag.evaluation.tabulating import Table, facts, tables

_DIGITS = 6
HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"


@dataclass(frozen=True, slots=True)
class Written:
    verdicts: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_reports(folder: Path, run: RunRecord, questions: Sequence[EvaluationQuestion]) -> Written:
    from rag.evaluation.page import page

    answers, scores = read_answers(folder), read_scores(folder)
    findings = analyse(run, scores, answers)
    as_json = to_json(run, findings)
    found = tables(run, findings)
    (folder / JSON).write_text(json.dumps(as_json, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
    (folder / MARKDOWN).write_text(to_markdown(run, findings, found), "utf-8")
    values = {score.key: score.metrics.get(run.primary) for score in scores}
    (folder / HTML).write_text(page(run, findings, found, questions, by_key(answers), values), "utf-8")
    return Written(findings.verdicts, found[0].columns, found[0].rows)


def by_key(answers: Sequence[AnswerRecord]) -> dict[tuple[str, str], AnswerRecord]:
    return {answer.key: answer for answer in answers}


def to_markdown(run: RunRecord, findings: Findings, found: Sequence[Table]) -> str:
    parts = [f"# {run.name}: which strategy\n", "## Verdict\n", *(f"- {each}" for each in findings.verdicts), ""]
    for table in found:
        parts += [f"## {table.title}\n", table.note, ""]
        parts.append(f"| {' | '.join(table.columns)} |")
        parts.append(f"| {' | '.join('---' for _ in table.columns)} |")
        parts += [f"| {' | '.join(map(_escaped, row))} |" for row in table.rows]
        parts.append("")
    parts += ["## What was measured\n", *(f"- {name}: {value}" for name, value in facts(run, findings)), ""]
    parts += [f"- {name}: {told}" for name, told in METRICS.items()]
    return "\n".join(parts) + "\n"


def to_json(run: RunRecord, findings: Findings) -> dict[str, object]:
    return {
        "run": run.model_dump(mode="json"),
        "verdicts": findings.verdicts,
        "questions": findings.questions,
        "clusters": findings.clusters,
        "unmeasured": dict(findings.unmeasured),
        "contrasts": [
            {
                "contrast": str(each.contrast),
                "difference": _plain(each.judged.estimate.value),
                "interval": [_plain(each.judged.interval.low), _plain(each.judged.interval.high)],
                "p": _plain(each.judged.p),
                "detectable": _plain(each.judged.detectable),
                "significant": each.judged.is_significant,
                "has_verdict": each.judged.estimate.has_verdict,
                "questions": each.judged.estimate.questions,
                "clusters": each.judged.estimate.clusters,
                "unmeasured": each.judged.estimate.unmeasured,
            }
            for each in findings.contrasts
        ],
        "arms": [_plain(asdict(arm)) for arm in findings.arms],
        "disagreeing": list(findings.disagreeing),
    }


def _plain(value: object) -> object:
    """JSON has no NaN, and no figure needs more than six digits."""
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
