"""The engine of every board does what the Python model does, byte for byte and event for event.

Rings of odd descriptors are run in digital loopback. Streams start with the converter's clock off, so that both engines
see the same frames; then everything but the board times must agree.
"""

import random
import struct
from dataclasses import dataclass

import numpy as np
import pytest

from codecrig.board import Board, EventRecord, Snapshot, stream_register
from codecrig.board.events import decode_record
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, StreamState
from codecrig.model import BoardModel

RENDER, CAPTURE = 0, 1
RING_BASES = (0x1F000, 0x1F400)
BUFFER_BASES = (0x0000, 0x8000)
BUFFER_BYTES = 0x4000
GUARD = 0xEE
EVENTS_WANTED = 40


@dataclass
class Script:
    """Two streams in digital loopback, chosen by a seed, as the requests that set them up."""

    seed: int

    def __post_init__(self) -> None:
        chooser = random.Random(self.seed)
        self.containers = [chooser.choice([1, 2, 3, 4]) for _ in range(2)]
        self.channels = [chooser.choice([1, 2]) for _ in range(2)]
        self.rings: list[list[tuple[int, int]]] = []
        for base in BUFFER_BASES:
            ring, address = [], base
            for _ in range(chooser.randint(1, 6)):
                address += chooser.randint(0, 5)
                length = chooser.choice([chooser.randint(1, 40), chooser.randint(100, 900), chooser.randint(100, 900)])
                ring.append((address, length))
                address += length
            # Short rings would post more events than a host can take.
            ring.append((address, 1200))
            chooser.shuffle(ring)
            self.rings.append(ring)

    def block_bytes(self, stream: int) -> int:
        return self.containers[stream] * self.channels[stream]

    def set_up(self) -> list[Request]:
        content = np.random.default_rng(self.seed).integers(0, 256, BUFFER_BYTES, dtype=np.uint8).tobytes()
        requests = [
            Request.write(BUFFER_BASES[RENDER], content),
            Request.write(BUFFER_BASES[CAPTURE], bytes([GUARD]) * BUFFER_BYTES),
            Request.write_word(regs.FPGA_CONVERTER_CONTROL, self.control(enable=False)),
        ]
        for stream in (RENDER, CAPTURE):
            flags = 1 << regs.DESCRIPTOR_EVENT_FLAG_BIT | 1 << regs.DESCRIPTOR_KEEP_BIT
            ring = b"".join(
                struct.pack("<4I", address, length, 1000 + index, flags)
                for index, (address, length) in enumerate(self.rings[stream])
            )
            config = (
                stream << regs.STREAM_CONFIG_CAPTURE_LSB
                | (self.containers[stream] - 1) << regs.STREAM_CONFIG_CONTAINER_LSB
                | (self.channels[stream] - 1) << regs.STREAM_CONFIG_CHANNELS_LSB
            )
            requests.append(Request.write(RING_BASES[stream], ring))
            for offset, value in (
                (regs.STREAM_CONFIG, config),
                (regs.STREAM_RING_BASE, RING_BASES[stream]),
                (regs.STREAM_RING_SIZE, len(self.rings[stream])),
                (regs.STREAM_EVENT_ENABLE, 0xF),
            ):
                requests.append(Request.write_word(stream_register(stream, offset), value))
        requests += [self.state(CAPTURE, StreamState.RUN), self.state(RENDER, StreamState.RUN)]
        return requests

    @staticmethod
    def control(*, enable: bool) -> int:
        return int(enable) | InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB

    @staticmethod
    def state(stream: int, state: StreamState) -> Request:
        return Request.write_word(stream_register(stream, regs.STREAM_CONTROL), state)


def model_after(script: Script, frames: int) -> tuple[bytes, list[EventRecord]]:
    """Capture area and events of the model, moving frame by frame, when capture has taken `frames` frames."""
    model = BoardModel(bulk=False)
    records: list[EventRecord] = []

    def take() -> None:
        slot_bytes = regs.EVENT_RECORD_BYTES
        for number in range(model.events.consumer, model.events.producer):
            slot = number * slot_bytes % regs.EVENT_RING_BYTES
            records.append(decode_record(bytes(model.events.memory[slot : slot + slot_bytes])))
        for stream in (RENDER, CAPTURE):
            model.write_register(stream_register(stream, regs.STREAM_EVENT_CAUSE), 0xF)
        model.write_register(regs.FPGA_EVENT_CONSUMER, model.events.producer)

    for request in script.set_up():
        for offset in range(0, request.length, 4096):
            data = request.data[offset : offset + 4096]
            model.answer(request.operation, request.address + offset, len(data), data)
    model.write_register(regs.FPGA_CONVERTER_CONTROL, script.control(enable=True))
    while model.streams[CAPTURE].frames < frames:
        model.pass_time(model.now_ticks + model.frame_clocks)
        model.catch_up()
        take()
    start = BUFFER_BASES[CAPTURE]
    return model.memory[start : start + BUFFER_BYTES].tobytes(), records


def facts(records: list[EventRecord], stream: int) -> list[tuple[int, ...]]:
    """All of a stream's events but their times and their order among other streams' events."""
    return [
        (record.cause, record.data0, record.data1, record.data2, record.data3)
        for record in records
        if record.stream == stream and not record.of_board
    ]


@pytest.mark.parametrize("seed", range(6))
def test_engine_equals_its_model(board: Board, seed: int) -> None:
    script = Script(seed)
    records: list[EventRecord] = []
    unsubscribe = board.events.subscribe(None, records.append)
    board.transact(script.set_up())
    board.write_register(regs.FPGA_CONVERTER_CONTROL, script.control(enable=True))
    while len(records) < EVENTS_WANTED:
        assert board.pump(board.events.time_ticks + board.clock.ticks(1.0)) > 0
    running = [board.snapshot(stream) for stream in (RENDER, CAPTURE)]
    board.transact([script.state(stream, StreamState.PAUSE) for stream in (CAPTURE, RENDER)])
    ended = [board.snapshot(stream) for stream in (RENDER, CAPTURE)]
    while board.poll():
        pass
    unsubscribe()

    for snapshot in (running[RENDER], ended[RENDER]):
        assert snapshot.bytes == snapshot.frames * script.block_bytes(RENDER) + snapshot.fifo_bytes
    for snapshot in (running[CAPTURE], ended[CAPTURE]):
        assert snapshot.bytes == snapshot.frames * script.block_bytes(CAPTURE) - snapshot.fifo_bytes
    assert [snapshot.underruns + snapshot.overruns for snapshot in ended] == [0, 0]

    memory, expected = model_after(script, ended[CAPTURE].frames)
    for stream in (RENDER, CAPTURE):
        found, modelled = facts(records, stream), facts(expected, stream)
        common = min(len(found), len(modelled))
        assert common >= min(len(found) - 1, 8)
        assert found[:common] == modelled[:common]
        assert all(fact[0] == Cause.DESCRIPTOR for fact in found)
    base = BUFFER_BASES[CAPTURE]
    places = [address - base + offset for address, length in script.rings[CAPTURE] for offset in range(length)]
    # A pause may come between taking a frame and writing it: the model has written it already.
    waiting = {places[position % len(places)] for position in range(ended[CAPTURE].bytes, waiting_end(ended, script))}
    assert len(waiting) < script.block_bytes(CAPTURE) + 1
    captured = board.read_memory(base, BUFFER_BYTES)
    assert [i for i in range(BUFFER_BYTES) if captured[i] != memory[i] and i not in waiting] == []
    # The model itself is honest: no byte outside the descriptors was written.
    assert {memory[i] for i in set(range(BUFFER_BYTES)) - set(places)} == {GUARD}


def waiting_end(ended: list[Snapshot], script: Script) -> int:
    """Bytes that capture has taken from the converter."""
    return ended[CAPTURE].frames * script.block_bytes(CAPTURE)
