"""ChillFlow Stream: trip records replayed as events through Kafka, and put together again."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("chillflow-stream")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
