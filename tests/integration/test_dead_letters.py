"""Dead letters are listed and replayed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pipelines.pipeline import Pipeline


def listed(pipeline: Pipeline, *arguments: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in pipeline.run("dead-letters", "list", "--json", *arguments).lines]


def test_letters_are_listed_and_replayed(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.produce(trips_file, "--limit", 50)
    good = max(pipeline.events(), key=lambda message: message.timestamp or 0)
    event = {**good.json, "trip_key": "t", "schema_version": 2}
    for key, value in ((b"t", json.dumps(event).encode()), (b"\xff\x00", b"\xffnothing"), (None, b"{}")):
        pipeline.topics.send(
            pipeline.topic,
            key,
            value,
            timestamp=good.timestamp,
            headers={"from": b"elsewhere"},
            partition=good.partition,
        )
    before = len(pipeline.events())
    summary = pipeline.assemble(DATABASE_URL=None)
    assert summary["dead_letters"] == 3

    letters = listed(pipeline)
    assert {letter["stage"] for letter in letters} == {"decode"}
    assert [letter["from"] for letter in letters] == ["elsewhere"] * 3
    (newer,) = (letter for letter in letters if "schema_version" in letter["reason"])
    text = pipeline.run("dead-letters", "list")
    assert len(text.lines) == 3
    assert "3  dead letters" in text.stderr

    # one, chosen by its reason: it fails again and names the first letter
    assert "1 messages sent to" in pipeline.run("dead-letters", "replay", "--reason", "schema_version").stderr
    again = pipeline.events()[before:] if pipeline.embedded else pipeline.events()
    (sent,) = (message for message in again if "replayed-from" in message.headers)
    assert (sent.key, sent.partition, sent.timestamp) == (b"t", good.partition, good.timestamp)
    assert sent.json == event
    assert sent.headers == {"from": "elsewhere", "replayed-from": newer["place"]}
    assert newer["place"] not in {letter["place"] for letter in listed(pipeline)}
    assert len(listed(pipeline, "--again")) == 3
    assert pipeline.assemble(DATABASE_URL=None)["dead_letters"] == 4
    (failed_again,) = (letter for letter in listed(pipeline) if "replayed-from" in letter)
    assert failed_again["replayed-from"] == newer["place"]

    # a replayed letter is skipped unless --again is given
    once = pipeline.run("dead-letters", "replay", "--offset", newer["place"])
    assert "0 messages sent to" in once.stderr
    assert "1 already replayed, skipped (--again includes them)" in once.stderr
    assert "1 messages" in pipeline.run("dead-letters", "replay", "--again", "--offset", newer["place"]).stderr
    assert "3 messages" in pipeline.run("dead-letters", "replay").stderr
    assert listed(pipeline) == []


def test_replay_warns_of_messages_that_may_be_late(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file, "--limit", 50)
    embedded.topics.send(embedded.topic, b"k", b"nothing", timestamp=1_000_000_000_000)
    embedded.assemble(DATABASE_URL=None)
    done = embedded.run("dead-letters", "replay")
    assert "warning: 1 of them are so old" in done.stderr
