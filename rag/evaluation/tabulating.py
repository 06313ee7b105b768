"""Findings to tables of text, the same for every form of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rag.evaluation.analysis import RETRIEVAL, ArmFindings, ContrastFindings, Findings, Mean
from rag.evaluation.records import RunRecord
from rag.evaluation.scoring import METRICS

_QUALITY = ("correct", "token_f1", "exact_match", "contains", "numeric_match", "semantic_similarity")
_FINDING = (*RETRIEVAL, "mrr", "ndcg", "context_recall", "citation_precision", "citation_recall", "faithfulness")
_COST = ("prompt_tokens", "cached_tokens", "output_tokens", "machine_seconds", "money")


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(run: RunRecord, findings: Findings) -> list[Table]:
    """The quality of every arm first; the rest is left out where no arm has it."""
    names = [arm.name for arm in findings.arms]
    primary = [run.primary, *(name for name in _QUALITY if name != run.primary)]
    found = [
        Table(
            "Answers",
            "Means with 95 % intervals by cluster. An unanswerable question counts 1 where the arm abstains, else 0.",
            ["arm", *primary],
            [[arm.name, *(_interval(arm.means[name]) for name in primary)] for arm in findings.arms],
        ),
        Table(
            "Planned contrasts",
            f"Differences of {run.primary}; their intervals hold all at once, p is Holm's.",
            ["contrast", "difference", "p", "detectable", "questions", "groups"],
            [_contrast_row(each) for each in findings.contrasts],
        ),
        Table(
            "Outcomes",
            "Empty, truncated and not fitting answers count 0. Engine faults are unmeasured. Of the ok ones, "
            "verbatim are those that the documents' own sentences stood in for, since nothing supported the model's.",
            ["arm", "ok", "verbatim", "abstained", "empty", "truncated", "does not fit", "unmeasured"],
            [[arm.name, *_outcomes(findings, arm)] for arm in findings.arms],
        ),
        Table(
            "Abstention",
            "A refusal of an unanswerable question is a hit. Coverage is the share of questions answered.",
            ["arm", "precision", "recall", "F1", "coverage"],
            [
                [arm.name, *(_share(arm, name) for name in ("precision", "recall", "f1", "coverage"))]
                for arm in findings.arms
            ],
        ),
        Table(
            "Retrieval, context and citations",
            "By overlap with the gold passages, among the hits that the arm asked for (retrieval.top_k); faithfulness "
            "by the answer flow's own check. Closed book has none.",
            ["arm", *_FINDING],
            [[arm.name, *(_value(arm.means[name].value) for name in _FINDING)] for arm in findings.arms],
        ),
        Table(
            "Cost",
            f"Means of a question; the totals by the table of prices, in {run.prices.currency}. A run that was "
            "interrupted lost the time of the answers under way.",
            ["arm", *(name.replace("_", " ") for name in _COST), "total seconds", "total money"],
            [_cost_row(arm) for arm in findings.arms],
        ),
        Table(
            "Latency",
            "Seconds, of the questions that were asked one at a time.",
            ["arm", "p50", "p95", "first token p50", "first token p95", "questions"],
            [_latency_row(arm) for arm in findings.arms],
        ),
        Table(
            f"{run.primary} by tag (exploratory)",
            "Where to look, not what to do: nothing here was planned, and the numbers of questions are small.",
            ["tag", *names],
            _tag_rows(findings),
        ),
    ]
    gates = [
        [arm.name, gate.name, _value(gate.value), f"{gate.low:.3f} to {gate.high:.3f}", "yes" if gate.passed else "no"]
        for arm in run.arms
        for gate in arm.adapter_gates
    ]
    if gates:
        columns = ["arm", "gate", "value", "interval", "passed"]
        found.append(Table("What the adapters kept", "Their gates when they were trained.", columns, gates))
    return [table for table in found if table.rows]


def facts(run: RunRecord, findings: Findings) -> list[tuple[str, str]]:
    splits = f", split {', '.join(run.splits)}" if run.splits else ""
    told = [
        ("Questions", f"{findings.questions} of {run.questions_file}{splits}; {findings.clusters} independent groups"),
        ("Questions' hash", run.questions_sha256),
        ("Collection", f"{run.collection}, {run.collection_sha256}"),
        ("Model", run.model),
        ("Primary metric", f"{run.primary}: {METRICS[run.primary]}"),
        ("Seed", str(run.seed)),
        ("Begun", run.created_at),
        ("Run key", run.key),
        ("Versions", ", ".join(f"{name} {value}" for name, value in run.versions.items())),
    ]
    if run.transductive:
        told.append(("Transductive", "adapters may have been trained on the facts that are asked for"))
    for arm in run.arms:
        adapter = "" if arm.adapter is None else f", adapter {arm.adapter}"
        shots = f", {arm.examples} solved examples" if arm.examples else ""
        changed = "".join(f", {key} = {value}" for key, value in arm.settings.items())
        told.append((f"Arm {arm.name}", f"{arm.strategy}{adapter}{shots}{changed}"))
    return told


def _contrast_row(each: ContrastFindings) -> list[str]:
    found = each.judged.estimate
    if not found.has_verdict:
        return [str(each.contrast), "no verdict", "-", "-", str(found.questions), str(found.clusters)]
    low, high = each.judged.interval.low, each.judged.interval.high
    difference = f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    detectable = f"{each.judged.detectable:.3f}"
    return [
        str(each.contrast),
        difference,
        f"{each.judged.p:.2g}",
        detectable,
        str(found.questions),
        str(found.clusters),
    ]


def _outcomes(findings: Findings, arm: ArmFindings) -> list[str]:
    ok, *counts = (arm.statuses.get(status, 0) for status in ("ok", "abstained", "empty", "truncated", "does_not_fit"))
    return [str(each) for each in (ok, arm.fallbacks, *counts, findings.unmeasured[arm.name])]


def _share(arm: ArmFindings, name: str) -> str:
    found = arm.abstention.get(name)
    return "-" if found is None else _interval(Mean(found.value, found.low, found.high, 1))


def _cost_row(arm: ArmFindings) -> list[str]:
    means = [f"{mean.value:.4g}" if mean.questions else "-" for mean in (arm.means[name] for name in _COST)]
    return [arm.name, *means, f"{arm.totals['machine_seconds']:.1f}", f"{arm.totals['money']:.4f}"]


def _latency_row(arm: ArmFindings) -> list[str]:
    whole, first = arm.percentiles["latency"], arm.percentiles["first_token"]
    return [arm.name, *(_value(each) for each in (*whole[:2], *first[:2])), str(whole[2])]


def _tag_rows(findings: Findings) -> list[list[str]]:
    tags = sorted({tag for arm in findings.arms for tag in arm.by_tag})
    rows = []
    for tag in tags:
        cells = [arm.by_tag.get(tag) for arm in findings.arms]
        rows.append([tag, *("-" if cell is None else f"{cell[0]:.2f} ({cell[1]})" for cell in cells)])
    return rows


def _interval(mean: Mean) -> str:
    if math.isnan(mean.value):
        return "-"
    if math.isnan(mean.low):
        return f"{mean.value:.3f}"
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def _value(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
