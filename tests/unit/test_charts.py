"""Charts of characters."""

from __future__ import annotations

from chillflow.cli.demo.charts import PLAIN, bars, columns


def test_bars_have_the_lengths_of_their_numbers() -> None:
    assert [*bars([("one", 1000), ("a long name", 500), ("none", 0)], label=6, width=4)] == [
        "one        1,000 ████",
        "a long       500 ██",
        "none           0",
    ]
    assert [*bars([])] == []


def test_columns_have_the_heights_of_their_numbers() -> None:
    assert [*columns([0, 8, 12, 16], height=2)] == [
        "     16       ▄▄ ██",
        "           ██ ██ ██",
    ]
    assert [*columns([0, 16], height=2, cells=PLAIN)] == ["     16    ##", "           ##"]
    assert [*columns([0, 0], height=1)] == ["      1"]
