"""Events: records from the board's ring, fetched with WAIT and handed to subscribers.

One exchange does a whole round: it waits, reads board time and the ring's counts, and reads the next few slots. Causes
are cleared and EVENT_CONSUMER moves ahead of whatever is exchanged next (or with `acknowledge`), never before the
records were taken.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from codecrig.board.clock import join_time
from codecrig.board.errors import BoardError, EventsLost
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause

PREFETCH_RECORDS = 2
"""Slots read along with every WAIT. A slot costs 43 us of a full-speed bus and 17 us of SPI whether or not it holds
anything new; in full duplex a WAIT was always answered by one record. More records cost one exchange more."""

_RECORD = struct.Struct("<BBBxIQIIII")
_STATE = struct.Struct("<11I")
_STATE_BYTES = _STATE.size
LOOK_BYTES = 4
"""Enough of it to see whether there are records."""
_FIRST_BOARD_CAUSE = Cause.TIMER
_CAUSES = {int(cause): cause for cause in Cause}

Handler = Callable[["EventRecord"], None]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One record as the board wrote it."""

    cause: Cause
    stream: int
    """Stream number; without meaning for causes of the board."""
    reposted: bool
    """The cause was still set when the ring ran empty; its data may be old."""
    sequence: int
    time_ticks: int
    """Board time of the cause."""
    data0: int
    data1: int
    data2: int
    data3: int
    raw: bytes = field(repr=False)

    @property
    def of_board(self) -> bool:
        """True for a cause of the board, False for one of a stream."""
        return self.cause >= _FIRST_BOARD_CAUSE


def decode_record(raw: bytes) -> EventRecord:
    """The record in 32 bytes. Raises BoardError for a cause that does not exist."""
    cause, stream, flags, sequence, time_ticks, data0, data1, data2, data3 = _RECORD.unpack(raw)
    if cause not in _CAUSES:
        raise BoardError(
            f"expected an event cause, one of {', '.join(f'{c.name} {int(c)}' for c in Cause)}; found {cause} in "
            f"record {raw.hex(' ')}; next step: compare FPGA_VERSION with this package (`codecrig info`)"
        )
    return EventRecord(_CAUSES[cause], stream, bool(flags & 1), sequence, time_ticks, data0, data1, data2, data3, raw)


class Events:
    """Subscriptions of one board, and the round that serves them."""

    def __init__(self, transact: Callable[[Sequence[Request]], list[bytes]], ring_records: int) -> None:
        self._transact = transact
        self._ring_records = ring_records
        self._handlers: dict[int | None, list[Handler]] = {}
        self._queue: deque[EventRecord] = deque()
        self._acknowledge: list[Request] = []
        self._producer = self._consumer = 0
        self._lost = self._lost_now = 0
        self._dispatching = False
        self._deliver: Callable[[Callable[[], None]], None] = lambda call: call()
        self.time_ticks = 0
        """Board time when the ring was last looked at."""

    def subscribe(self, stream: int | None, handler: Handler) -> Callable[[], None]:
        """Call `handler` with every record of `stream`'s own causes, or with every record of all if `stream` is None.

        A cause of the board in place of a stream, such as `Cause.MIDI_RECEIVED`, subscribes to that. Handlers run
        inside `Board.pump`, or between two parts of a long access to audio memory, in the order of subscription, those
        of a stream before those of all. They may use the board but must not pump. Returns the function that ends the
        subscription.
        """
        handlers = self._handlers.setdefault(stream, [])
        handlers.append(handler)

        def unsubscribe() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return unsubscribe

    @property
    def subscribed(self) -> bool:
        """True if a subscription has not been ended."""
        return any(self._handlers.values())

    def deliver_through(self, deliver: Callable[[Callable[[], None]], None]) -> None:
        """Make every call of a handler through `deliver(call)`: a machine runs it as its interrupt."""
        self._deliver = deliver

    def restart(self) -> None:
        """Forget what is in the ring and start with the next record."""
        state = self._transact([Request.read(regs.FPGA_TIME_HI, _STATE_BYTES)])[0]
        self._lost = self._lost_now = self._take_state(state)
        self._consumer = producer = self._producer
        self._queue.clear()
        self._acknowledge = []
        self._transact([Request.write_word(regs.FPGA_EVENT_CONSUMER, producer)])

    def acknowledge(self) -> None:
        """Clear the causes of records already delivered and move EVENT_CONSUMER now, not with the next exchange."""
        if self._acknowledge:
            self._transact(())

    def take_acknowledgement(self) -> list[Request]:
        """What clears the causes of records already delivered and moves EVENT_CONSUMER; for the next exchange.

        None while a handler is at work.
        """
        if self._dispatching:
            return []
        requests, self._acknowledge = self._acknowledge, []
        return requests

    @property
    def listening(self) -> bool:
        """Somebody wants to hear of events, and may now: no handler is at work."""
        return not self._dispatching and any(self._handlers.values())

    def look(self, data: bytes) -> None:
        """Note what a read of LOOK_BYTES or more from EVENT_PRODUCER on says: whether records wait."""
        self._producer = int.from_bytes(data[:LOOK_BYTES], "little")

    @property
    def waiting(self) -> int:
        """Records that were in the ring when it was last looked at, and not taken."""
        count = (self._producer - self._consumer) & 0xFFFFFFFF
        if count > self._ring_records:
            raise BoardError(
                f"expected at most {self._ring_records} records in the event ring; found EVENT_PRODUCER "
                f"{self._producer} with {self._consumer} taken; next step: open the board again, it was probably reset"
            )
        return count

    def deliver(self, count: int, data: bytes) -> int:
        """Take the next `count` records from `data`, which `slot_reads` gave, and call the handlers.

        Returns the number of records delivered. Raises EventsLost, after delivery, if records are missing.
        """
        problem = self._take_records(data, count) if count else ""
        if self._lost_now != self._lost:
            problem = f"EVENT_LOST rose by {(self._lost_now - self._lost) & 0xFFFFFFFF}"
            self._lost = self._lost_now
        delivered = self._dispatch()
        if problem:
            raise EventsLost(
                f"expected every event record; found that {problem}; next step: pump more often "
                f"(the ring holds {self._ring_records} records) or enable fewer events"
            )
        return delivered

    def round(self, deadline_ticks: int | None = None) -> int:
        """Wait for an event until `deadline_ticks` (None: do not wait), take all records, call the handlers.

        Returns the number of records delivered. Raises EventsLost, after delivery, if records are missing.
        """
        if self._dispatching:
            raise BoardError("events cannot be pumped inside an event handler: return from it first")
        requests = []
        if deadline_ticks is not None and deadline_ticks > self.time_ticks and not self._queue:
            requests.append(Request.wait(deadline_ticks))
        leading = len(requests)
        requests.append(Request.read(regs.FPGA_TIME_HI, _STATE_BYTES))
        requests += self.slot_reads(PREFETCH_RECORDS)
        replies = self._transact(requests)
        self._lost_now = self._take_state(replies[leading])
        data = b""
        if count := self.waiting:
            data = b"".join(replies[leading + 1 :])
            if count > PREFETCH_RECORDS:
                data += b"".join(self._transact(self.slot_reads(count - PREFETCH_RECORDS, PREFETCH_RECORDS)))
        return self.deliver(count, data)

    def slot_reads(self, count: int, skip: int = 0) -> list[Request]:
        """Reads of `count` slots behind the next `skip` that were not taken; two where the ring wraps."""
        slot = (self._consumer + skip) % self._ring_records
        before_wrap = min(count, self._ring_records - slot)
        bytes_each = regs.EVENT_RECORD_BYTES
        reads = [Request.read(regs.EVENT_RING_BASE + slot * bytes_each, before_wrap * bytes_each)]
        if count > before_wrap:
            reads.append(Request.read(regs.EVENT_RING_BASE, (count - before_wrap) * bytes_each))
        return reads

    def _take_state(self, state: bytes) -> int:
        """EVENT_LOST. Notes the rest."""
        words = _STATE.unpack(state)
        self.time_ticks = join_time(words[0], words[1], words[2])
        self._producer = words[8]
        return int(words[10])

    def _take_records(self, data: bytes, count: int) -> str:
        """Queue records and prepare their acknowledgement. Returns what is wrong with their sequence, if anything."""
        problem = ""
        causes: dict[int, int] = {}
        board_causes = 0
        for index in range(count):
            record = decode_record(data[index * regs.EVENT_RECORD_BYTES : (index + 1) * regs.EVENT_RECORD_BYTES])
            due = (self._consumer + index) & 0xFFFFFFFF
            if record.sequence != due and not problem:
                problem = f"record {record.sequence} ({record.cause.name}) lay where record {due} was due"
            if record.of_board:
                board_causes |= 1 << (record.cause - _FIRST_BOARD_CAUSE)
            else:
                causes[record.stream] = causes.get(record.stream, 0) | 1 << record.cause
            self._queue.append(record)
        self._consumer = (self._consumer + count) & 0xFFFFFFFF
        for stream, mask in causes.items():
            address = regs.STREAM_BASE + stream * regs.STREAM_STRIDE + regs.STREAM_EVENT_CAUSE
            self._acknowledge.append(Request.write_word(address, mask))
        if board_causes:
            self._acknowledge.append(Request.write_word(regs.FPGA_EVENT_CAUSE, board_causes))
        # After the causes: emptying the ring with a cause still set would post it again.
        self._acknowledge.append(Request.write_word(regs.FPGA_EVENT_CONSUMER, self._consumer))
        return problem

    def _dispatch(self) -> int:
        """Deliver the queue. If a handler raises, the records behind stay queued for the next round."""
        delivered = 0
        self._dispatching = True
        try:
            while self._queue:
                record = self._queue.popleft()
                delivered += 1
                source = record.cause if record.of_board else record.stream
                for handler in tuple(self._handlers.get(source, ())):
                    self._deliver(partial(handler, record))
                for handler in tuple(self._handlers.get(None, ())):
                    handler(record)
        finally:
            self._dispatching = False
        return delivered
