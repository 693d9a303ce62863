"""How long a writer rests: long enough to leave the time to the flow, and never longer than readers may wait."""

import pytest

from chillflow.connectors.background import pause_after


@pytest.mark.parametrize(
    ("took", "share", "pause"),
    [
        (0.0, 0.33, 0.05),  # nothing was written
        (0.003, 0.33, 0.05),
        (0.033, 0.33, 0.1),
        (0.005, 0.01, 0.5),  # in a replay
        (0.03, 0.01, 1.0),
        (5.0, 0.33, 1.0),
    ],
)
def test_a_writer_rests_by_its_share_and_at_most_a_second(took: float, share: float, pause: float) -> None:
    assert pause_after(took, share=share, least=0.05) == pytest.approx(pause)
