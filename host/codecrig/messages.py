"""MIDI messages: where one ends and the next begins in a stream of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SYSEX_LIMIT = 1 << 16
"""A SysEx longer than this is passed on in pieces, so that one that never ends takes no more memory."""

_SYSEX, _SYSEX_END, _REAL_TIME = 0xF0, 0xF7, 0xF8
_UNDEFINED = frozenset((0xF4, 0xF5, 0xF9, 0xFD))


def message_bytes(status: int) -> int | None:
    """Bytes of a message with that status byte, the status included; None for a SysEx, which says so itself."""
    if status == _SYSEX:
        return None
    if status < _SYSEX:
        return 2 if status & 0xE0 == 0xC0 else 3
    return {0xF1: 2, 0xF2: 3, 0xF3: 2}.get(status, 1)


@dataclass(frozen=True, slots=True)
class MidiMessage:
    """One message, with the time of its first byte in the unit of whoever cut it."""

    time: int
    data: bytes
    """With its status byte, also where running status left it out."""
    complete: bool = True
    """False: a piece of a SysEx, or one that was broken off."""


class MessageCutter:
    """Cuts bytes into whole messages. Bytes may come in any pieces; real-time messages may stand inside others.

    Running status ends with any message of the system. Undefined status bytes are left out.
    """

    def __init__(self) -> None:
        self._running = 0
        self._data = bytearray()
        self._time = 0

    def reset(self) -> None:
        """Forget what has begun."""
        self._running = 0
        self._data.clear()

    def feed(self, time: int, data: bytes) -> Iterator[MidiMessage]:
        """The messages that `data`, of that time, completes. To be consumed to its end."""
        for value in data:
            if value >= _REAL_TIME:
                if value not in _UNDEFINED:
                    yield MidiMessage(time, bytes([value]))
            elif value >= 0x80:
                yield from self._status(time, value)
            else:
                yield from self._data_byte(time, value)

    def _status(self, time: int, value: int) -> Iterator[MidiMessage]:
        if self._data[:1] == b"\xf0":
            if value == _SYSEX_END:
                yield self._take(value)
                return
            yield self._take(complete=False)
        self._data.clear()
        self._running = value if value < _SYSEX else 0
        if value in _UNDEFINED or value == _SYSEX_END:
            return
        self._begin(time, value)
        if message_bytes(value) == 1:
            yield self._take()

    def _data_byte(self, time: int, value: int) -> Iterator[MidiMessage]:
        if not self._data:
            if not self._running:
                return  # belongs to no message
            self._begin(time, self._running)
        self._data.append(value)
        wanted = message_bytes(self._data[0])
        if wanted is None:
            if len(self._data) >= SYSEX_LIMIT:
                yield MidiMessage(self._time, bytes(self._data), complete=False)
                self._data[:] = b"\xf0"
        elif len(self._data) == wanted:
            yield self._take()

    def _begin(self, time: int, status: int) -> None:
        self._time = time
        self._data[:] = bytes([status])

    def _take(self, last: int | None = None, complete: bool = True) -> MidiMessage:
        message = MidiMessage(self._time, bytes(self._data) + (b"" if last is None else bytes([last])), complete)
        self._data.clear()
        return message
