"""Others that do the same job, each with an interpreter of its own: their clients have other versions than ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["PEERS", "Peer", "interpreter"]

_BUILD = Path(__file__).parents[1] / "build" / "peers"


class Peer(NamedTuple):
    """One of them."""

    name: str
    requirement: str
    script: Path


PEERS = {
    "quix": Peer("Quix Streams, at least once", "quixstreams==3.28.1", Path(__file__).with_name("peer_quix.py")),
    "pathway": Peer("Pathway, no recovery", "pathway==0.33.0", Path(__file__).with_name("peer_pathway.py")),
}


def interpreter(peer: Peer) -> str:
    """Its Python; installed at the first use."""
    folder = _BUILD / peer.requirement
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "--quiet", "install", peer.requirement], check=True)
    return str(python)
