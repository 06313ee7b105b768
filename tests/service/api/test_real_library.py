"""The API over a real library: ingested files, real indexes, the real answer flow; only the models are fakes."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import pytest

from rag.build import Library
from rag.catalog import Catalog
from rag.config import AnsweringSettings, Settings
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.types import Message

pytestmark = pytest.mark.integration
QUESTION = "Which torque do the casing bolts of the ZP-40/2 take?"
SENTENCE = "Tighten the casing bolts of the ZP-40/2 to a torque of 42 Nm."
FILES = {
    "pumps/zp-40.md": f"# ZP-40/2 manual\n\n## Casing\n\nOil the bolts. {SENTENCE}\n\n## Storage\n\nKeep it dry.\n",
    "rules.txt": "Returns are accepted within thirty days of delivery, in the original box.\n",
}


def answering_with_the_passage(messages: Sequence[Message]) -> str:
    """Repeats the sentence behind the number of the passage that holds it."""
    prompt = messages[-1].content
    numbers = re.findall(r'number="(\d+)"', prompt[: prompt.index(SENTENCE)])
    return f"{SENTENCE[:-1]} [{numbers[-1]}]."


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name, text in FILES.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    made = Library(
        tmp_path / "home",
        Settings(answering=AnsweringSettings(unsupported="mark")),
        embedder=FakeEmbedder(),
        chat_model=ScriptedModel(answering_with_the_passage),
    )
    made.ingest([tmp_path / "files"])
    return made


def test_a_question_is_answered_and_its_citation_stands_in_the_document(running, library):
    messages = [{"role": "user", "content": QUESTION}]
    with (
        running(library) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client,
    ):
        assert next(iter(client.models.list())).id == "rag"
        whole = client.chat.completions.create(model="rag", messages=messages).choices[0].message
        chunks = list(client.chat.completions.create(model="rag", messages=messages, stream=True))
        details = whole.domainqa
        citation = details["citations"][0]
        document = client.get(f"/collections/default/documents/{citation['document_id']}", cast_to=dict)
        around = client.get(
            f"/collections/default/documents/{citation['document_id']}",
            cast_to=dict,
            options={"params": {"start": citation["start"], "end": citation["end"], "around": 5}},
        )
        found = client.post("/search", cast_to=dict, body={"query": QUESTION, "top_k": 1})
        verbatim = client.chat.completions.create(model="extractive", messages=messages).choices[0].message
        with pytest.raises(openai.NotFoundError, match="nonsense"):
            client.chat.completions.create(model="nonsense", messages=messages)
        with pytest.raises(openai.NotFoundError, match="nowhere"):
            client.chat.completions.create(model="rag", messages=messages, extra_body={"collection": "nowhere"})

    assert "42 Nm" in (whole.content or "")
    assert citation["document"] == "pumps/zp-40.md"
    assert citation["supported"]
    assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
    assert around["text"] == document["text"][citation["start"] - 5 : citation["end"] + 5]
    assert found["hits"][0]["document"] == "pumps/zp-40.md"
    assert SENTENCE in (verbatim.content or "")

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.content
    streamed = chunks[-1].domainqa
    assert streamed | {"timings": None} == details | {"timings": None}


def test_what_the_documents_do_not_say_is_not_answered(running, library):
    with (
        running(library) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client,
    ):
        messages = [{"role": "user", "content": "Who won the football championship?"}]
        answer = client.chat.completions.create(model="rag", messages=messages).choices[0].message
    assert answer.domainqa["abstained"]
    assert answer.domainqa["citations"] == []


def test_an_openai_client_with_a_key_until_it_is_revoked_elsewhere(running, library, issue):
    with running(library) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200
        key = issue(library, requests_per_minute=3)
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30) as client:
            messages = [{"role": "user", "content": QUESTION}]
            assert client.chat.completions.create(model="rag", messages=messages).choices[0].message.content
            client.models.list()
            client.models.list()
            with pytest.raises(openai.RateLimitError, match="3 requests per minute"):
                client.models.list()
            with Catalog.open(library.home) as elsewhere:
                elsewhere.keys.revoke(key[4:16], datetime.now(UTC))
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
