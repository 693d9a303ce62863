"""Where a demonstration takes place: trips in a file, and the settings of a pipeline on files in the same folder."""

from __future__ import annotations

from pathlib import Path

from chillflow.errors import ChillFlowError
from chillflow.settings import Settings
from chillflow.synthetic.trip_generator import generate

__all__ = ["new_place"]


def new_place(
    settings: Settings, folder: Path, *, trips: int, days: int, seed: int, file: Path | None
) -> tuple[Path, Settings]:
    """Make the folder, and generate the trips unless there is a file. Raises ChillFlowError if it holds something."""
    if folder.exists() and any(folder.iterdir()):
        raise ChillFlowError(f"{folder} is not empty: the demo starts over in a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    source = file or folder / "trips.parquet"
    if file is None:
        generate(source, trips, seed=seed, days=days)
    embedded = {
        "kafka_bootstrap_servers": f"file:{folder / 'topics'}",
        "database_url": f"sqlite:///{folder / 'trips.sqlite'}",
        "recovery_dir": folder / "recovery",
        "windows": "15min,1h",
    }
    return source, settings.model_copy(update=embedded)
