"""The report as one HTML file: no script, no address outside, light and dark, a phone's width, paper."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from rag.evaluation.analysis import RETRIEVAL, Findings
from rag.evaluation.plotting import Interval, forest, lines, points
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import AnswerRecord, RunRecord
from rag.evaluation.tabulating import Table, facts

_MOST_ITEMS = 60
_MOST_CHARACTERS = 600

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5a6575; --paper: #fff; --card: #f5f7fa; --line: #d5dbe3;
  --accent: #0b5cad; --heat: 11, 92, 173;
  --series-0: #0b5cad; --series-1: #c2410c; --series-2: #157f3c; --series-3: #8b2fb0; --series-4: #946200;
  --series-5: #b3185f; --series-6: #0f7b83; --series-7: #5a6575; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9fabba; --paper: #12161c; --card: #1b212a;
  --line: #364150; --accent: #7db7f5; --heat: 90, 160, 230;
  --series-0: #7db7f5; --series-1: #fb9a67; --series-2: #6fd08c; --series-3: #d39bef; --series-4: #e3b95c;
  --series-5: #f58bb8; --series-6: #63cfd7; --series-7: #9fabba; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
h1, h2 { line-height: 1.25; } p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .92rem; }
.verdict { background: var(--card); border-left: 4px solid var(--accent); border-radius: 4px; padding: .8rem 1.1rem; }
.verdict li { margin: .35rem 0; } .verdict ul { margin: 0; padding-left: 1.1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; min-width: 100%; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap;
  overflow-wrap: normal; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; position: sticky;
  left: 0; background: var(--paper); } td:first-child { font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.2rem; }
figure { margin: 0; background: var(--card); border-radius: 6px; padding: .9rem; }
figcaption { font-size: .9rem; font-weight: 600; margin-bottom: .5rem; }
figcaption span { display: block; color: var(--soft); font-weight: 400; }
svg { width: 100%; height: auto; display: block; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .55rem .8rem; } summary .soft { display: block; }
.item { padding: 0 .8rem .8rem; } .arm { border-top: 1px solid var(--line); padding: .6rem 0; }
.arm b { margin-right: .4rem; } .good { color: var(--series-2); } .bad { color: var(--series-1); }
blockquote { margin: .4rem 0 .4rem .2rem; padding-left: .7rem; border-left: 3px solid var(--line); font-size: .9rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 36rem) { body { font-size: 15px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { body { max-width: none; font-size: 10.5pt; } figure, details, tr { break-inside: avoid; }
  h2 { break-after: avoid; } th, td { white-space: normal; padding: .2rem .3rem; font-size: 8pt; } }
"""


def page(
    run: RunRecord,
    findings: Findings,
    tables: Sequence[Table],
    questions: Sequence[EvaluationQuestion],
    answers: Mapping[tuple[str, str], AnswerRecord],
    values: Mapping[tuple[str, str], float | None],
) -> str:
    verdicts = "".join(f"<li>{escape(each)}</li>" for each in findings.verdicts)
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts(run, findings))
    ahead = 2 if findings.contrasts else 1
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(run.name)}: which strategy</title><style>{_STYLE}</style></head><body>",
        f"<h1>Which strategy: {escape(run.name)}</h1>",
        f'<p class="soft">{findings.questions} questions, {len(findings.arms)} arms, {escape(run.model)}</p>',
        f'<h2>Verdict</h2><div class="verdict"><ul>{verdicts}</ul></div>',
        *(_table(table) for table in tables[:ahead]),
        "<h2>Plots</h2>",
        f'<div class="plots">{"".join(_plots(run, findings))}</div>',
        *(_table(table) for table in tables[ahead:]),
        _disagreements(findings, questions, answers, values),
        f"<h2>What was measured</h2><dl>{told}</dl>",
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    heat = "by tag" in table.title
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f"<tr>{''.join(_cell(cell, heat and at > 0) for at, cell in enumerate(row))}</tr>" for row in table.rows
    )
    return (
        f'<h2>{escape(table.title)}</h2><p class="soft">{escape(table.note)}</p>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(cell: str, heat: bool) -> str:
    if not heat or cell == "-":
        return f"<td>{escape(cell)}</td>"
    share = float(cell.split()[0])
    return f'<td style="background: rgba(var(--heat), {share * 0.45:.3f})">{escape(cell)}</td>'


def _plots(run: RunRecord, findings: Findings) -> list[str]:
    found = []
    rows = [
        Interval(
            str(each.contrast),
            each.judged.estimate.value,
            each.judged.interval.low,
            each.judged.interval.high,
            each.judged.is_significant,
        )
        for each in findings.contrasts
        if not math.isnan(each.judged.interval.low)
    ]
    if rows:
        note = "Simultaneous 95 % intervals; a filled mark is decided."
        found.append(_figure("Paired differences", note, forest(rows, f"difference of {run.primary}")))
    names = [arm.name for arm in findings.arms]
    quality = {arm.name: arm.means[run.primary].value for arm in findings.arms}
    by_cost = {arm.name: arm.means["money"].value for arm in findings.arms}
    across = f"money for a question ({run.prices.currency})"
    if not any(by_cost.values()):
        by_cost = {arm.name: arm.means["machine_seconds"].value for arm in findings.arms}
        across = "seconds of the machine for a question"
    for title, costs, axis in (
        ("Quality against cost", by_cost, across),
        (
            "Quality against latency",
            {arm.name: arm.percentiles["latency"][0] for arm in findings.arms},
            "median seconds, asked alone",
        ),
    ):
        told = {name: (cost, quality[name]) for name, cost in costs.items() if not math.isnan(cost + quality[name])}
        if told:
            found.append(
                _figure(title, "The dashed line joins what nothing else beats.", points(told, names, axis, run.primary))
            )
    risks = {arm.name: arm.risk_by_coverage for arm in findings.arms if arm.risk_by_coverage}
    if risks:
        note = "Answering the most promising questions only, by what retrieval found."
        found.append(
            _figure("Risk and coverage", note, lines(risks, names, "share answered", f"1 - {run.primary}", marks=False))
        )
    curves = {
        arm.name: [(float(name.partition("@")[2]), arm.means[name].value) for name in RETRIEVAL]
        for arm in findings.arms
        if not math.isnan(arm.means[RETRIEVAL[0]].value)
    }
    if curves:
        note = "Gold passages among the first k hits. Arms that search alike lie on each other."
        found.append(_figure("Retrieval", note, lines(curves, names, "k", "recall@k", marks=True)))
    return found


def _figure(title: str, note: str, svg: str) -> str:
    named = svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return f"<figure><figcaption>{escape(title)}<span>{escape(note)}</span></figcaption>{named}</figure>"


def _disagreements(
    findings: Findings,
    questions: Sequence[EvaluationQuestion],
    answers: Mapping[tuple[str, str], AnswerRecord],
    values: Mapping[tuple[str, str], float | None],
) -> str:
    by_id = {question.id: question for question in questions}
    shown = findings.disagreeing[:_MOST_ITEMS]
    if not shown:
        return ""
    items = []
    for each in shown:
        question = by_id[each]
        accepted = " / ".join(question.answers) or "not answerable from the documents"
        arms = "".join(
            _arm(answers[arm.name, each], values.get((arm.name, each)))
            for arm in findings.arms
            if (arm.name, each) in answers
        )
        gold = "".join(
            f"<blockquote>{escape(item.quote)} <i>{escape(item.document)}</i></blockquote>"
            for item in question.evidence
        )
        items.append(
            f'<details><summary>{escape(question.question)}<span class="soft">{escape(each)}; accepted: '
            f'{escape(accepted)}</span></summary><div class="item">{gold}{arms}</div></details>'
        )
    note = f"{len(shown)} of {len(findings.disagreeing)} questions, those that part the arms most first."
    return f'<h2>Where the arms disagree</h2><p class="soft">{note}</p>{"".join(items)}'


def _arm(answer: AnswerRecord, value: float | None) -> str:
    mark = "-" if value is None else f"{value:.2f}"
    tone = "" if value is None else ' class="good"' if value >= 0.5 else ' class="bad"'
    cited = "".join(
        f"<blockquote>[{each.marker}] {escape(_cut(each.quote))} <i>{escape(each.document)}</i>"
        f"{'' if each.supported else ' <b class=bad>not supported</b>'}</blockquote>"
        for each in answer.citations
    )
    seen = sorted({f"{item.title} ({item.document})" for item in answer.evidence})
    evidence = (
        f'<p class="soft">passages shown: {len(answer.evidence)}, of {escape("; ".join(seen))}</p>' if seen else ""
    )
    fallback = f'<p class="soft">{escape(answer.fallback)}</p>' if answer.fallback else ""
    fault = f'<p class="soft">{escape(answer.error)}</p>' if answer.error else ""
    return (
        f'<div class="arm"><b>{escape(answer.arm)}</b><span{tone}>{mark}</span> '
        f'<span class="soft">{escape(answer.status.replace("_", " "))}, {escape(answer.strategy)}</span>'
        f"<p>{escape(_cut(answer.output))}</p>{fallback}{fault}{cited}{evidence}</div>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
