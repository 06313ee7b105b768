"""The trace says how an answer came about, when it is asked for, streaming or not."""

import json
from dataclasses import replace

import pytest

from rag.types import (
    ChannelScore,
    Dropped,
    FusedPlace,
    Hit,
    Judgement,
    Neighbour,
    PackingBudget,
    Rewriting,
    StoredChunk,
    Usage,
)

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"


@pytest.fixture
def traced(scripts):
    chunk = StoredChunk(
        7, "c1", "doc-1", "a" * 64, "pumps/zp-40.md", "ZP-40 manual", "en", 5, 30, 1, (), "", "text",
    )  # fmt: skip
    return replace(
        scripts.cited,
        search_query="Which torque do the casing bolts take?",
        rewriting=Rewriting("Which torque do the casing bolts take?", "model", None, Usage(40, 9, 16)),
        hits=(
            Hit(
                chunk,
                0.9,
                {"dense": ChannelScore(2, 0.7, 0.8), "lexical": ChannelScore(1, 8.5, 1.0)},
                "reranked",
                FusedPlace(3, 0.4),
            ),
        ),
        dropped=(
            Dropped("c2", "pumps/zp-40.md", "budget", tokens=90),
            Dropped("c3", "rules.txt", "near-duplicate", "c1", 0.91),
        ),
        neighbours=(Neighbour("c4", "pumps/zp-40.md", "c1"),),
        packing=PackingBudget(600, 420, {1: 300, 2: 120}),
        judgement=Judgement(0.9, 0.6, {"asked_coverage": 0.5}, {"asked_coverage": 0.25}),
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_it_tells_query_tokens_hits_and_what_was_left_out(client_for, scripts, traced, stream):
    body = {"messages": [{"role": "user", "content": "And the bolts?"}], "trace": True, "stream": stream}
    async with client_for(scripts.library(scripts.steps_of(traced))) as client:
        response = await client.post(PATH, json=body)
    if stream:
        details = json.loads(response.text.split("\n\n")[-3].removeprefix("data: "))["domainqa"]
    else:
        details = response.json()["choices"][0]["message"]["domainqa"]
    assert details["trace"] == {
        "search_query": "Which torque do the casing bolts take?",
        "rewriting": {"by": "model", "note": None, "tokens": {"prompt": 40, "cached": 16, "completion": 9}},
        "judgement": {
            "probability": 0.9,
            "threshold": 0.6,
            "signals": {"asked_coverage": 0.5},
            "parts": {"asked_coverage": 0.25},
        },
        "timings": {"waiting": 0.0, "retrieval": 0.25, "total": 1.5},
        "tokens": {"prompt": 100, "cached": 64, "completion": 12},
        "hits": [
            {
                "chunk": "c1",
                "document": "pumps/zp-40.md",
                "document_id": "doc-1",
                "start": 5,
                "end": 30,
                "score": 0.9,
                "score_name": "reranked",
                "fused": {"rank": 3, "score": 0.4},
                "channels": {
                    "dense": {"rank": 2, "score": 0.7, "normalised": 0.8},
                    "lexical": {"rank": 1, "score": 8.5, "normalised": 1.0},
                },
            }
        ],
        "dropped": [
            {
                "chunk": "c2",
                "document": "pumps/zp-40.md",
                "reason": "budget",
                "because": None,
                "similarity": None,
                "tokens": 90,
            },
            {
                "chunk": "c3",
                "document": "rules.txt",
                "reason": "near-duplicate",
                "because": "c1",
                "similarity": 0.91,
                "tokens": None,
            },
        ],
        "neighbours": [{"chunk": "c4", "document": "pumps/zp-40.md", "beside": "c1"}],
        "packing": {"limit": 600, "used": 420, "by_passage": {"1": 300, "2": 120}},
    }


@pytest.mark.parametrize("trace", [None, False])
async def test_it_is_left_out_unless_it_is_asked_for(client_for, scripts, traced, trace):
    body = {"messages": [{"role": "user", "content": "And the bolts?"}], "trace": trace}
    async with client_for(scripts.library(scripts.steps_of(traced))) as client:
        response = await client.post(PATH, json=body)
    assert response.json()["choices"][0]["message"]["domainqa"]["trace"] is None
