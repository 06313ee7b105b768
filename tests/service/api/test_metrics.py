"""What /metrics exports is what docs/metrics.md lists, and no user's word becomes a label."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag.errors import EngineBusyError, EngineFaultError, EngineTimeoutError, EngineUnavailableError, UsageError
from rag.types import Finished, Rewriting, TextDelta, Usage
from service.api.circuit import Circuit
from service.api.metrics import Metrics
from service.api.places import Places

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
DOCUMENTED = Path(__file__).parents[3] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) ?\| (.+) \|$", re.MULTILINE)


def asking(text: str = "Which torque?", **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **more}


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def metrics_after(client_for, library, *bodies) -> dict:
    async with client_for(library) as client:
        for body in bodies:
            await client.post(PATH, json=body)
        response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return samples_of(response.text)


def test_the_page_lists_what_is_exported():
    """By name, type and labels: both ways."""
    metrics = Metrics()
    metrics.watch(Places(1, 1), Circuit(1, 1, 1))
    exported = {}
    for metric in metrics.registry._names_to_collectors.values():
        name = metric._name + ("_total" if metric._type == "counter" else "")
        exported[name] = (metric._type, metric._labelnames)
    listed = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in _ROW.findall(DOCUMENTED.read_text("utf-8"))
    }
    assert listed == exported


async def test_an_answer_is_counted_in_every_respect(client_for, scripts):
    answer = replace(
        scripts.cited,
        timings={"retrieval": 0.25, "generation": 1.0, "citing": 0.1, "first_token": 0.6, "total": 1.5},
        rewriting=Rewriting("Which torque?", "rules", "the server cannot"),
    )
    got = await metrics_after(client_for, scripts.library([TextDelta("x"), Finished(answer)]), asking(), asking())
    strategy = (("strategy", "rag"),)
    assert got["domainqa_http_requests_total", (("route", PATH), ("status", "200"), *strategy)] == 2
    assert got["domainqa_answers_total", (("outcome", "answered"), *strategy)] == 2
    assert got["domainqa_prompt_tokens_total", ()] == 200
    assert got["domainqa_cached_prompt_tokens_total", ()] == 128
    assert got["domainqa_completion_tokens_total", ()] == 24
    assert got["domainqa_citations_total", ()] == 4
    assert got["domainqa_unsupported_citations_total", ()] == 2
    assert got["domainqa_rewritings_total", (("by", "rules_instead"),)] == 2
    assert got["domainqa_time_to_first_token_seconds_count", strategy] == 2
    assert got["domainqa_time_to_first_token_seconds_sum", strategy] == pytest.approx(1.2, abs=0.1)
    assert got["domainqa_answer_seconds_count", strategy] == 2
    assert got["domainqa_answer_wait_seconds_count", ()] == 2
    assert got["domainqa_step_seconds_sum", (("step", "retrieval"),)] == 0.5
    assert got["domainqa_step_seconds_count", (("step", "citing"),)] == 2
    assert ("domainqa_step_seconds_count", (("step", "total"),)) not in got
    assert got["domainqa_answers_running", ()] == got["domainqa_answers_waiting", ()] == 0
    assert got["domainqa_circuit_state", (("state", "closed"),)] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "outcome", "kind"),
    [
        (EngineBusyError("full", 1), "refused", "busy"),
        (EngineUnavailableError("down"), "failed", "unavailable"),
        (EngineTimeoutError("late"), "timeout", "timeout"),
        (EngineFaultError("broken"), "failed", "fault"),
        (UsageError("no"), "invalid", None),
        (RuntimeError("a bug"), "failed", None),
    ],
)
async def test_failures_are_counted_by_kind(client_for, scripts, error, outcome, kind, stream):
    got = await metrics_after(client_for, scripts.library([error]), asking(stream=stream))
    assert got["domainqa_answers_total", (("outcome", outcome), ("strategy", "rag"))] == 1
    kinds = {labels: value for (name, labels), value in got.items() if name == "domainqa_engine_errors_total"}
    assert kinds == ({} if kind is None else {(("kind", kind),): 1})


@pytest.mark.parametrize(
    ("change", "outcome"),
    [({"abstained": True}, "abstained"), ({"fallback": "not supported"}, "fallback")],
)
async def test_abstentions_and_fallbacks_are_outcomes(client_for, scripts, change, outcome):
    answer = replace(scripts.cited, usage=Usage(5, 1, None), **change)
    got = await metrics_after(client_for, scripts.library([Finished(answer)]), asking())
    assert got["domainqa_answers_total", (("outcome", outcome), ("strategy", "rag"))] == 1
    assert got["domainqa_cached_prompt_tokens_total", ()] == 0


async def test_no_word_of_a_client_becomes_a_label(client_for, scripts):
    word = "xyzzy"
    async with client_for(scripts.library()) as client:
        await client.post(PATH, json=asking(word, model=word, collection=word))
        await client.post(PATH, json=asking(word, model=f"rag@{word}"))
        await client.post(PATH, json={word: word})
        await client.get(f"/{word}")
        await client.get(f"/static/{word}.js")
        await client.get(f"/v1/collections/default/documents/{word}")
        await client.get("/healthz", headers={"Host": word})
        text = (await client.get("/metrics")).text
    assert word not in text
    got = samples_of(text)
    by_route = {
        tuple(dict(labels)[name] for name in ("route", "status", "strategy")): count
        for (metric, labels), count in got.items()
        if metric == "domainqa_http_requests_total"
    }
    assert by_route == {
        (PATH, "200", "other"): 1,
        (PATH, "200", "rag"): 1,
        (PATH, "400", "none"): 1,
        ("other", "404", "none"): 2,
        ("/v1/collections/{collection}/documents/{document_id}", "404", "none"): 1,
        ("other", "403", "none"): 1,
    }
