"""States that wait for their time, by key. Pure.

Of very many hardly any is touched between two snapshots. So those that are due in the same hour are sealed together,
and only where one has come or gone since is that done again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chillflow.keyed.closed_states import SPAN, Piece, due_of

__all__ = ["OpenStates"]


class OpenStates:
    r"""States that are held (see `remembered.held`).

    >>> from chillflow.keyed.closed_states import held
    >>> waiting = OpenStates()
    >>> waiting.put(b"k", held(5, b"data"))
    >>> waiting.pop(b"k"), waiting.pop(b"k")
    (b'\x80\x00\x00\x00\x00\x00\x00\x05data', None)
    """

    def __init__(self, seal: Callable[[bytes], Piece] = lambda data: data) -> None:
        self._seal = seal
        self.states: dict[bytes, bytes] = {}
        self._spans: dict[int, dict[bytes, bytes]] = {}
        """The same by the hour of their deadlines."""
        self._sealed: dict[int, Piece] = {}
        """Of the hours in which nothing has changed since."""

    def put(self, key: bytes, state: bytes) -> None:
        """Hold a state of a key that has none."""
        self.states[key] = state
        number = due_of(state) >> SPAN
        self._spans.setdefault(number, {})[key] = state
        self._sealed.pop(number, None)

    def pop(self, key: bytes) -> bytes | None:
        """Let go of the state of a key, if it has one."""
        state = self.states.pop(key, None)
        if state is None:
            return None
        number = due_of(state) >> SPAN
        span = self._spans[number]
        del span[key]
        self._sealed.pop(number, None)
        if not span:
            del self._spans[number]
        return state

    def snapshot(self) -> list[Piece]:
        """All of them, packed and sealed."""
        for number, states in self._spans.items():
            if number not in self._sealed:
                self._sealed[number] = self._seal(_pack(states))
        return [*self._sealed.values()]


_pack = msgspec.msgpack.Encoder().encode
