"""The program in docs/extending.md that reads windows from their topic."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.integration import windows
from tests.pipelines.pipeline import Pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def test_the_program_that_reads_windows(pipeline: Pipeline, trips_file: Path) -> None:
    program = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    pipeline.run("init-db")
    pipeline.produce(trips_file)
    pipeline.assemble()

    printed = pipeline.python(sys.executable, "-c", program).json

    table = windows.in_table(pipeline)
    assert printed == {"windows": table.height, "trips": table["trips"].sum()}
    assert printed["trips"] == 2 * 300, "windows of 15 minutes and of an hour"
