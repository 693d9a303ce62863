"""Other libraries that do the same job, each in its own environment: they need other client versions than ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["PEERS", "Peer", "interpreter"]

_BUILD = Path(__file__).parents[1] / "build" / "peers"


class Peer(NamedTuple):
    """A library to compare with: the script of the job, and what to install for it."""

    name: str
    requirement: str
    script: Path


PEERS = {
    "quix": Peer("Quix Streams, at-least-once", "quixstreams==3.28.1", Path(__file__).with_name("peer_quix.py")),
    "pathway": Peer("Pathway, no recovery", "pathway==0.33.0", Path(__file__).with_name("peer_pathway.py")),
}


def interpreter(peer: Peer) -> str:
    """Path of the Python in the peer's environment, which is installed on first use."""
    folder = _BUILD / peer.requirement
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "--quiet", "install", peer.requirement], check=True)
    return str(python)
