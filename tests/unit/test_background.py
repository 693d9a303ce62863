"""Background writes: calls in order, errors raised by the next call, pauses that leave time to the flow."""

from threading import Event

import pytest

from chillflow.connectors.background import BackgroundWriter, pause_after


@pytest.mark.parametrize(
    ("took", "share", "pause"),
    [
        (0.0, 0.33, 0.05),  # no write
        (0.003, 0.33, 0.05),
        (0.033, 0.33, 0.1),
        (0.005, 0.01, 0.5),  # in a replay
        (0.03, 0.01, 1.0),
        (5.0, 0.33, 1.0),
    ],
)
def test_a_pause_keeps_work_to_its_share_and_is_at_most_a_second(took: float, share: float, pause: float) -> None:
    assert pause_after(took, share=share, least=0.05) == pytest.approx(pause)


def test_calls_run_in_order_and_an_error_is_raised_by_the_next_call() -> None:
    writer, done, go = BackgroundWriter(), list[str](), Event()

    def first() -> None:
        go.wait(10)
        done.append("first")

    writer.start(first)
    assert done == []
    go.set()
    writer.start(lambda: done.append("second"))
    assert done[0] == "first"
    writer.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.end(lambda: done.append("last"))

    assert done == ["first", "second", "last"]
