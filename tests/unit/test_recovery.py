"""Which pipeline a recovery store belongs to, and what removes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from chillflow.errors import RecoveryError
from chillflow.running.recovery import VERSION, PipelineIdentity, bind, check_identity, locked_for_removal, remove_store

IDENTITY = PipelineIdentity(
    topic="trip-events", partitions=4, key_groups=1, stream_time_rank=20, windows=[15, 60], topic_id="first"
)


@pytest.mark.parametrize("other", [IDENTITY, replace(IDENTITY, topic_id=None)])
def test_a_store_serves_its_pipeline_again(tmp_path: Path, other: PipelineIdentity) -> None:
    for identity in (IDENTITY, other, IDENTITY):
        bind(tmp_path, identity)
    assert json.loads((tmp_path / "pipeline.json").read_text())["version"] == VERSION
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": "other"}, "was made with topic=trip-events, not other"),
        ({"partitions": 6}, "was made with partitions=4, not 6"),
        ({"key_groups": 8}, "was made with key_groups=1, not 8"),
        ({"stream_time_rank": 1}, "was made with stream_time_rank=20, not 1"),
        ({"windows": [60]}, r"was made with windows=\[15, 60\], not \[60\]"),
        ({"topic_id": "second"}, "topic 'trip-events' was recreated after the recovery store"),
    ],
)
def test_a_store_refuses_another_pipeline(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    bind(tmp_path, IDENTITY)
    with pytest.raises(RecoveryError, match=message):
        bind(tmp_path, replace(IDENTITY, **changes))
    check_identity(tmp_path, IDENTITY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"pipeline\.json cannot be read"),
        ('{"version": 1}', r"pipeline\.json cannot be read: .*`topic`"),
        (f'{{"version": {VERSION + 1}}}', rf"pipeline\.json of version {VERSION + 1}, this release knows {VERSION}"),
    ],
)
def test_an_unreadable_identity_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "pipeline.json").write_text(content)
    with pytest.raises(RecoveryError, match=message):
        bind(tmp_path, IDENTITY)
    assert (tmp_path / "pipeline.json").read_text() == content


def test_a_removed_store_leaves_no_directory(tmp_path: Path) -> None:
    folder = tmp_path / "recovery"
    with locked_for_removal(folder):
        bind(folder, IDENTITY)
        (folder / "pipeline.7.tmp").touch()
        remove_store(folder)
    assert not folder.exists()
