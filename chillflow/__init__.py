"""ChillFlow Stream: NYC taxi trips, replayed as events through Kafka and reassembled."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("chillflow-stream")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
