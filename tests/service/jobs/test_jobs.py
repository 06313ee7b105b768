"""Uploads against a real server with a real ingest process, both of which get killed."""

import json
import os
import signal
import sqlite3
import time

import httpx
import pytest

pytestmark = pytest.mark.integration


def test_an_upload_becomes_documents_that_the_next_question_finds(server) -> None:
    server.collection()
    job = server.ended(server.upload(oil="The oil of the pump is red.", bolt="Tighten the bolt to 42 Nm."))
    assert (job["state"], job["files"]) == ("done", {"total": 2, "done": 2, "failed": 0})
    assert server.sources() == ["bolt.txt", "oil.txt"]
    hits = server.client.post("/v1/search", json={"query": "oil of the pump"}).json()["hits"]
    assert hits[0]["document"] == "oil.txt"
    assert list((server.home / "spool" / "jobs").iterdir()) == []
    assert list((server.home / "spool" / "incoming").iterdir()) == []


def test_the_same_bytes_under_two_names_are_two_documents(server) -> None:
    server.collection()
    server.ended(server.upload(one="The oil is red."))
    server.ended(server.upload(two="The oil is red."))
    assert server.sources() == ["one.txt", "two.txt"]


@pytest.mark.parametrize("server", [{"files_per_turn": 3}], indirect=True)
def test_a_killed_server_goes_on_where_it_was_with_nothing_twice_and_nothing_lost(server) -> None:
    server.collection()
    texts = {f"n{number}": f"SLOW document number {number} about valve{number}." for number in range(8)}
    job_id = server.upload(**texts)
    while server.job(job_id)["files"]["done"] < 3:
        time.sleep(0.05)
    workers = server.workers()
    assert len(workers) == 1
    server.kill()
    deadline = time.monotonic() + 200
    while server.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.workers() == []
    # As if it had been down for a long time: that is no lack of progress.
    with sqlite3.connect(server.home / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE jobs SET updated_at = '2020-01-01T00:00:00+00:00'")
    catalog.close()
    server.start()
    job = server.ended(job_id)
    assert (job["state"], job["files"]) == ("done", {"total": 8, "done": 8, "failed": 0})
    assert server.sources() == sorted(f"{name}.txt" for name in texts)
    for number in range(8):
        hits = server.client.post("/v1/search", json={"query": f"valve{number}", "top_k": 50}).json()["hits"]
        assert [hit["document"] for hit in hits].count(f"n{number}.txt") == 1


def test_a_file_that_kills_its_reader_fails_after_the_second_death_and_the_job_goes_on(server) -> None:
    server.collection()
    job_id = server.upload(a="The oil is red.", b="CRASH", c="The water is blue.")
    statuses = set()
    while (job := server.job(job_id))["state"] not in ("done", "failed"):
        statuses.add(server.client.get("/healthz").status_code)
        time.sleep(0.05)
    assert (job["state"], job["files"]) == ("done", {"total": 3, "done": 2, "failed": 1})
    assert statuses == {200}
    assert server.sources() == ["a.txt", "c.txt"]
    failures = server.client.get("/v1/collections/default/documents", params={"failed": True}).json()["data"]
    assert [each["document"] for each in failures] == ["b.txt"]
    assert "SIGSEGV" in failures[0]["reason"]
    metrics = server.client.get("/metrics").text
    assert "domainqa_ingest_process_deaths 2.0" in metrics
    assert "domainqa_job_failed_documents 1.0" in metrics


def test_a_killed_ingest_process_is_started_again_and_blames_no_file_for_one_death(server) -> None:
    server.collection()
    job_id = server.upload(a="SLOW red oil.", b="SLOW blue water.", c="SLOW green grass.")
    while server.job(job_id)["current"] is None:
        time.sleep(0.02)
    os.kill(server.workers()[0], signal.SIGKILL)
    job = server.ended(job_id)
    assert (job["state"], job["files"]) == ("done", {"total": 3, "done": 3, "failed": 0})


@pytest.mark.parametrize("server", [{"stalled_after_s": 12.0}], indirect=True)
def test_a_file_that_is_never_read_to_its_end_fails_too(server) -> None:
    server.collection()
    job = server.ended(server.upload(a="HANG", b="The water is blue."))
    assert (job["state"], job["files"]) == ("done", {"total": 2, "done": 1, "failed": 1})
    assert "without progress" in job["documents"][0]["reason"]


@pytest.mark.parametrize("server", [{"files_per_turn": 1}], indirect=True)
def test_a_running_job_is_cancelled_between_two_documents(server) -> None:
    server.collection()
    large = server.upload(**{f"l{number}": f"SLOW {number}" for number in range(20)})
    server.until(large, "running")
    cancelled = server.client.post(f"/v1/jobs/{large}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["cancelling"]
    job = server.ended(large)
    assert job["state"] == "cancelled"
    states = [each["state"] for each in job["documents"]]
    assert set(states) <= {"done", "cancelled"}
    assert "cancelled" in states
    assert len(server.sources()) == states.count("done") == job["files"]["done"]
    assert server.client.post(f"/v1/jobs/{large}/cancel").status_code == 409


def test_cancelling_within_a_turn_keeps_what_was_stored_and_stores_no_more(server) -> None:
    server.collection()
    job_id = server.upload(**{f"n{number}": f"SLOW {number}" for number in range(20)})
    while server.job(job_id)["current"] is None:
        time.sleep(0.02)
    server.client.post(f"/v1/jobs/{job_id}/cancel")
    job = server.ended(job_id)
    assert job["state"] == "cancelled"
    assert len(server.sources()) == job["files"]["done"]
    server.ended(server.upload(other="The next job runs."))
    assert "other.txt" in server.sources()


def test_questions_are_answered_while_a_job_ingests(server) -> None:
    server.collection()
    server.ended(server.upload(oil="The oil of the pump is red."))
    job_id = server.upload(**{f"n{number}": f"SLOW sentence about gasket{number}." for number in range(6)})
    statuses = []
    while server.job(job_id)["state"] not in ("done", "failed"):
        body = {"messages": [{"role": "user", "content": "Which colour has the oil of the pump?"}]}
        statuses.append(server.client.post("/v1/chat/completions", json=body).status_code)
        statuses.append(server.client.post("/v1/search", json={"query": "oil pump"}).status_code)
    assert set(statuses) == {200}
    answer = server.client.post(
        "/v1/chat/completions",
        json={"model": "extractive", "messages": [{"role": "user", "content": "Which sentence is about gasket3?"}]},
    ).json()
    cited = answer["choices"][0]["message"]["domainqa"]["citations"]
    assert [each["document"] for each in cited] == ["n3.txt"]


def events_of(response: httpx.Response) -> list[tuple[int, str, dict[str, object]]]:
    events = []
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
            fields = {}
    return events


def test_progress_is_streamed_and_a_watcher_that_comes_back_misses_nothing(server) -> None:
    server.collection()
    job_id = server.upload(**{f"n{number}": f"SLOW {number}" for number in range(3)})
    with server.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response)
    ids = [each[0] for each in events]
    assert ids == sorted(set(ids))
    assert [kind for _, kind, _ in events] == ["progress"] * (len(events) - 1) + ["end"]
    done = [each["files"]["done"] for _, _, each in events]
    assert done == sorted(done)
    assert events[-1][2]["state"] == "done"
    with server.client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(ids[0])}) as response:
        again = events_of(response)
    assert [(each[0], each[1]) for each in again] == [(ids[-1], "end")]
    finished = server.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(ids[-1])})
    assert finished.status_code == 204


def test_nothing_of_a_stopped_service_stays_and_its_job_goes_on_later(server) -> None:
    server.collection()
    job_id = server.upload(**{f"n{number}": f"SLOW {number}" for number in range(6)})
    while server.job(job_id)["current"] is None:
        time.sleep(0.02)
    server.stop()
    assert server.workers() == []
    server.start()
    assert server.ended(job_id)["files"] == {"total": 6, "done": 6, "failed": 0}


@pytest.mark.parametrize("server", [{"idle_s": 0.5}], indirect=True)
def test_the_ingest_process_is_there_only_while_it_is_needed(server) -> None:
    server.collection()
    assert server.workers() == []
    server.ended(server.upload(a="red"))
    deadline = time.monotonic() + 200
    while server.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.workers() == []
    assert server.ended(server.upload(b="blue"))["state"] == "done"
