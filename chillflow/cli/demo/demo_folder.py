"""The folder of a demo: a file of trips, and an embedded pipeline next to it."""

from __future__ import annotations

from pathlib import Path

from chillflow.errors import ChillFlowError
from chillflow.settings import Settings
from chillflow.synthetic.trip_generator import generate

__all__ = ["new_folder"]


def new_folder(
    settings: Settings, folder: Path, *, trips: int, days: int, seed: int, file: Path | None
) -> tuple[Path, Settings]:
    """Create the folder, and trips in it unless `file` has them. Returns the file of trips and the pipeline's settings.

    Raises ChillFlowError if the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ChillFlowError(f"{folder} is not empty: the demo needs a new folder")
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
