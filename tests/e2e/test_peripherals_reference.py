"""MIDI port, S/PDIF gates, I2C and trigger: the same on every board, the Python model among them.

MIDI runs in its own loopback, I2C on a bus without a device, so nothing but the board is needed. Times are compared
where the design fixes them: from a time that was asked for to what left, and from byte to byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from codecrig.board import Board, EventRecord, stream_register
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, StreamState

GATE, HOLD, LOOPBACK, STALL, DEAD, CLEAR, FLUSH = (
    1 << lsb
    for lsb in (
        regs.MIDI_CONTROL_RX_GATE_LSB,
        regs.MIDI_CONTROL_TX_HOLD_LSB,
        regs.MIDI_CONTROL_LOOPBACK_LSB,
        regs.MIDI_CONTROL_STALL_LSB,
        regs.MIDI_CONTROL_DEAD_LSB,
        regs.MIDI_CONTROL_RX_CLEAR_LSB,
        regs.MIDI_CONTROL_TX_FLUSH_LSB,
    )
)
BYTE_TICKS = 3930
BACK_TO_BACK_TICKS = BYTE_TICKS + 4
RING_RECORDS = 128
MASK32 = 0xFFFFFFFF


@dataclass
class Midi:
    """The MIDI port of a board."""

    board: Board
    queued: int = 0
    taken: int = 0
    records: list[EventRecord] = field(default_factory=list)

    def control(self, bits: int) -> None:
        self.board.write_register(regs.MIDI_CONTROL, bits)

    def counts(self) -> tuple[int, ...]:
        """Receive producer and consumer, transmit producer and consumer."""
        return tuple(self.board.read_register(regs.MIDI_COUNTS).to_bytes(4, "little"))

    def has(self, lsb: int) -> bool:
        return bool(self.board.read_register(regs.MIDI_CONTROL) >> lsb & 1)

    def now(self) -> int:
        return self.board.read_register(regs.FPGA_TIME_LO)

    def send(self, data: bytes, times: list[int] | None = None) -> None:
        """Queue bytes; without times they leave at once."""
        past = self.now() - 1
        requests = []
        for offset, value in enumerate(data):
            slot = (self.queued + offset) % RING_RECORDS
            time = (times[offset] if times else past) & MASK32
            record = time.to_bytes(4, "little") + bytes([value, 0, 0, 0])
            requests.append(Request.write(regs.MIDI_TX_RING_BASE + 8 * slot, record))
        self.queued = (self.queued + len(data)) & 0xFF
        self.board.transact([*requests, Request.write_word(regs.MIDI_TX_PRODUCER, self.queued)])

    def bytes_pass(self, count: float) -> None:
        """Let time flow for so many bytes."""
        self.board.sleep(count * BACK_TO_BACK_TICKS / float(self.board.profile.clock_rate))

    def control_at(self, ticks: int, bits: int) -> None:
        """Write CONTROL at a board time to come."""
        self.board.poll()
        self.board.events.acknowledge()  # a record that waits would end the wait
        self.board.transact([Request.wait(ticks), Request.write_word(regs.MIDI_CONTROL, bits)])

    def receive(self) -> list[tuple[int, int, int]]:
        """What has come: byte, time of start, time of end in units of 256."""
        producer = self.counts()[0]
        found = []
        while self.taken != producer:
            slot = regs.MIDI_RX_RING_BASE + 8 * (self.taken % RING_RECORDS)
            time, data = self.board.read_registers(slot, 2)
            found.append((data & 0xFF, time, data >> 8))
            self.taken = (self.taken + 1) & 0xFF
        self.board.write_register(regs.MIDI_RX_CONSUMER, self.taken)
        return found


@pytest.fixture
def midi(board: Board) -> Iterator[Midi]:
    """A MIDI port in loopback, its gate open, its events enabled."""
    port = Midi(board)
    unsubscribe = board.events.subscribe(None, port.records.append)
    enable = board.read_register(regs.FPGA_EVENT_ENABLE)
    causes = sum(1 << cause - Cause.TIMER for cause in (Cause.MIDI_RECEIVED, Cause.MIDI_SENT, Cause.MIDI_OVERFLOW))
    board.write_register(regs.FPGA_EVENT_ENABLE, enable | causes)
    port.control(GATE | LOOPBACK)
    yield port
    unsubscribe()


def test_bytes_leave_at_their_times_and_arrive_with_them(midi: Midi) -> None:
    start = midi.now() + 60_000
    times = [start, start + 5000, start + 9999, start + 9999, start + 40_001]
    midi.send(b"\x90\x3c\x7f\x00\xff", times)
    midi.bytes_pass(30)
    found = midi.receive()
    assert bytes(value for value, _, _ in found) == b"\x90\x3c\x7f\x00\xff"
    begun = [time for _, time, _ in found]
    assert [time - asked & MASK32 for time, asked in zip(begun, times, strict=True)][:3] == [3, 3, 3]
    assert begun[3] - begun[2] & MASK32 == BACK_TO_BACK_TICKS
    assert begun[4] - times[4] & MASK32 == 3
    for _, time, end in found:
        # The middle of the stop bit.
        assert (end - ((time + 9 * 393 + 196) >> 8)) & 0xFFFFFF in (0, MASK32 >> 8)
    midi.board.poll()
    causes = [record.cause for record in midi.records if not record.reposted]
    assert causes.count(Cause.MIDI_RECEIVED) == 5 and causes.count(Cause.MIDI_OVERFLOW) == 0
    # The line is empty behind bytes 1, 2, 4 and 5 at most, and certainly behind the last.
    assert causes[-1] == Cause.MIDI_SENT
    assert abs((midi.records[-1].time_ticks - begun[4] & MASK32) - BYTE_TICKS) < 8


def test_hold_and_flush_keep_a_timed_byte_from_leaving(midi: Midi) -> None:
    midi.control(GATE | LOOPBACK | HOLD)
    midi.send(b"\x01\x02\x03")
    midi.bytes_pass(5)
    assert midi.counts() == (0, 0, 3, 0)
    midi.control(GATE | LOOPBACK | HOLD | FLUSH)
    midi.control(GATE | LOOPBACK)
    midi.queued = 0
    soon = midi.now() + 30_000
    midi.send(b"\x01\x02\x03", [soon] * 3)
    midi.control_at(soon + 1000, GATE | LOOPBACK | HOLD)  # the one that has begun goes on
    midi.bytes_pass(5)
    assert midi.counts() == (1, 0, 3, 1)
    midi.control(GATE | LOOPBACK | HOLD | FLUSH)
    midi.queued = 1
    midi.control(GATE | LOOPBACK)
    midi.bytes_pass(5)
    assert midi.counts() == (1, 0, 1, 1)
    later = midi.now() + 200_000
    midi.send(b"\x04", [later])
    midi.bytes_pass(5)
    midi.control(GATE | LOOPBACK | FLUSH)
    midi.queued = 1
    midi.bytes_pass(60)
    assert [value for value, _, _ in midi.receive()] == [1]


def test_a_stalled_and_a_dead_unit_send_nothing(midi: Midi) -> None:
    for bits, ready in ((STALL, True), (DEAD, False)):
        midi.control(GATE | LOOPBACK | bits)
        assert midi.has(regs.MIDI_CONTROL_READY_LSB) is ready
        midi.send(b"\x42")
        midi.bytes_pass(5)
        assert midi.receive() == []
        midi.control(GATE | LOOPBACK)
        midi.bytes_pass(2)
        assert [value for value, _, _ in midi.receive()] == [0x42]


def test_bytes_outside_the_gate_are_not_kept(midi: Midi) -> None:
    midi.control(LOOPBACK)
    soon = midi.now() + 30_000
    midi.send(b"\x01\x02", [soon] * 2)
    midi.control_at(soon + 1000, LOOPBACK | GATE)  # in the middle of the first
    midi.bytes_pass(3)
    assert [value for value, _, _ in midi.receive()] == [2]
    soon = midi.now() + 30_000
    midi.send(b"\x03\x04", [soon] * 2)
    midi.control_at(soon + 1000, LOOPBACK | GATE | CLEAR)  # drops the one that arrives
    midi.bytes_pass(3)
    assert [value for value, _, _ in midi.receive()] == [4]
    midi.send(b"\x05")
    midi.bytes_pass(2)
    midi.control(LOOPBACK | GATE | CLEAR)
    producer, consumer, _, _ = midi.counts()
    assert producer == consumer == (midi.taken + 1) & 0xFF


def test_a_full_ring_drops_the_newest_and_counts_it(midi: Midi) -> None:
    data = bytes(range(1, RING_RECORDS + 4))
    midi.send(data[:RING_RECORDS])
    midi.bytes_pass(RING_RECORDS / 2)
    midi.send(data[RING_RECORDS:])
    midi.bytes_pass(RING_RECORDS / 2 + 6)
    assert midi.board.read_register(regs.MIDI_CONTROL) >> regs.MIDI_CONTROL_DROPPED_LSB == 3
    assert bytes(value for value, _, _ in midi.receive()) == data[:RING_RECORDS]
    midi.board.poll()
    assert [record.cause for record in midi.records].count(Cause.MIDI_OVERFLOW) == 3
    midi.send(b"\x7e")
    midi.bytes_pass(2)
    assert [value for value, _, _ in midi.receive()] == [0x7E]


def test_a_producer_too_far_ahead_is_refused(midi: Midi) -> None:
    midi.board.write_register(regs.MIDI_TX_PRODUCER, RING_RECORDS + 1)
    midi.bytes_pass(3)
    assert midi.has(regs.MIDI_CONTROL_TX_REFUSED_LSB) and midi.counts()[3] == 0
    midi.board.write_register(regs.MIDI_TX_PRODUCER, 0)
    assert not midi.has(regs.MIDI_CONTROL_TX_REFUSED_LSB)
    midi.send(b"\x55")
    midi.bytes_pass(2)
    assert [value for value, _, _ in midi.receive()] == [0x55]


def test_nobody_answers_on_an_empty_i2c_bus(board: Board) -> None:
    start, write, read, stop = (
        1 << lsb
        for lsb in (
            regs.I2C_COMMAND_START_LSB,
            regs.I2C_COMMAND_WRITE_LSB,
            regs.I2C_COMMAND_READ_LSB,
            regs.I2C_COMMAND_STOP_LSB,
        )
    )

    def command(bits: int) -> int:
        """Status behind the command, without the levels of the lines."""
        board.write_register(regs.I2C_COMMAND, bits)
        for _ in range(100):
            status = board.read_register(regs.I2C_STATUS)
            if not status >> regs.I2C_STATUS_BUSY_LSB & 1:
                return status
        raise AssertionError("a command does not end")

    nack, owner = 1 << regs.I2C_STATUS_NACK_LSB, 1 << regs.I2C_STATUS_OWNER_LSB
    sda, scl = 1 << regs.I2C_STATUS_SDA_LSB, 1 << regs.I2C_STATUS_SCL_LSB
    for fast in (0, 1):
        board.write_register(regs.I2C_CONTROL, fast)
        assert board.read_register(regs.I2C_CONTROL) == fast
        assert command(start | write | 0x94) == 0x94 | nack | owner | sda
        assert command(start) & 0xFF00 == owner
        assert command(read) == 0xFF | owner
        assert command(stop) & 0xFF00 == sda | scl
    board.write_register(regs.I2C_CONTROL, 0)
    # Two at once: the second is refused, and the next one taken clears the mark.
    orders = [Request.write_word(regs.I2C_COMMAND, start | write | stop | value) for value in (0x10, 0x20)]
    board.transact(orders)
    board.sleep(0.001)
    refused = 1 << regs.I2C_STATUS_REFUSED_LSB
    assert board.read_register(regs.I2C_STATUS) == 0x10 | nack | refused | sda | scl
    assert command(start | write | stop) == nack | sda | scl


def test_gates_read_back_and_new_marks_wait_for_a_block(board: Board) -> None:
    for value in (0, 1, 2, 4, 8, 15, 0):
        board.write_register(regs.SPDIF_GATES, value)
        assert board.read_register(regs.SPDIF_GATES) == value
    assert board.read_register(regs.SPDIF_MARKS) == 2 << regs.SPDIF_MARKS_RATE_LSB
    board.write_register(regs.SPDIF_MARKS, 0xA55)
    assert board.read_register(regs.SPDIF_MARKS) == 0xA55
    board.sleep(0.0005)
    status = board.read_register(regs.SPDIF_STATUS)
    assert not status >> regs.SPDIF_STATUS_PENDING_LSB & 1
    assert 20 <= status >> regs.SPDIF_STATUS_FRAME_LSB < 192
    board.write_register(regs.SPDIF_MARKS, 2 << regs.SPDIF_MARKS_RATE_LSB)


@pytest.mark.parametrize("gate", [False, True])
def test_the_loopback_gate_silences_capture_and_not_the_dac(board: Board, gate: bool) -> None:
    played = np.random.default_rng(1).integers(1, 256, 1600, dtype=np.uint8).tobytes()
    board.write_memory(0, played)
    board.write_memory(0x8000, b"\xee" * 4000)
    for stream, (address, length) in enumerate(((0, 1600), (0x8000, 4000))):
        words = (address, length, 0, 1 << regs.DESCRIPTOR_KEEP_BIT)
        board.write_memory(0x1F000 + 16 * stream, b"".join(word.to_bytes(4, "little") for word in words))
        for offset, value in (
            (regs.STREAM_CONFIG, stream | 1 << 2 | 1 << 4),
            (regs.STREAM_RING_BASE, 0x1F000 + 16 * stream),
            (regs.STREAM_RING_SIZE, 1),
            (regs.STREAM_CONTROL, StreamState.RUN),
        ):
            board.write_register(stream_register(stream, offset), value)
    board.write_register(regs.SPDIF_GATES, int(gate) << regs.SPDIF_GATES_MUTE_LOOPBACK_LSB)
    taps = board.bench.has("tap")
    if taps:
        board.bench.tap_start()
    select = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 | select)
    board.sleep(0.015)
    captured = board.read_memory(0x8000, 4 * 400)
    expected = bytes(4 * 400) if gate else bytes(4) + played[: 4 * 399]
    assert captured == expected
    if taps:
        assert np.count_nonzero(board.bench.tap_read().samples) > 500


def test_trigger_out_at_its_time_and_in_with_its_time(board: Board) -> None:
    if not board.bench.has("trigger"):
        pytest.skip("the bench of this board has no trigger wires")
    records: list[EventRecord] = []
    board.events.subscribe(None, records.append)
    enable = board.read_register(regs.FPGA_EVENT_ENABLE)
    board.write_register(regs.FPGA_EVENT_ENABLE, enable | 1 << Cause.TRIGGER - Cause.TIMER)
    armed, high = 1 << regs.TRIGGER_CONTROL_ARMED_LSB, 1 << regs.TRIGGER_CONTROL_OUT_HIGH_LSB
    latched, level = 1 << regs.TRIGGER_CONTROL_IN_LATCHED_LSB, 1 << regs.TRIGGER_CONTROL_IN_HIGH_LSB

    asked = board.read_register(regs.FPGA_TIME_LO) + 30_000 & MASK32
    board.write_register(regs.TRIGGER_OUT_TIME, asked)
    assert board.read_register(regs.TRIGGER_CONTROL) == armed
    board.sleep(0.005)
    assert board.read_register(regs.TRIGGER_CONTROL) == 0
    rise, fall = board.bench.trigger().out_edges_ticks
    assert rise - asked & MASK32 in (1, 2) and fall - rise == 1024

    # A time that is past fires within 1024 clocks; disarmed, it never does.
    board.write_register(regs.TRIGGER_OUT_TIME, asked)
    board.sleep(0.001)
    late_rise, late_fall = board.bench.trigger().out_edges_ticks[2:]
    assert (late_rise - rise) % 1024 == 0 and late_fall - late_rise == 1024
    board.write_register(regs.TRIGGER_OUT_TIME, board.read_register(regs.FPGA_TIME_LO) + 30_000 & MASK32)
    board.write_register(regs.TRIGGER_CONTROL, 0)
    board.sleep(0.005)
    assert len(board.bench.trigger().out_edges_ticks) == 4
    assert board.read_register(regs.TRIGGER_CONTROL) & (armed | high) == 0

    before = board.read_register(regs.FPGA_TIME_LO)
    for wanted in (True, False, True):
        board.bench.trigger(wanted)
        board.sleep(0.001)
    after = board.read_register(regs.FPGA_TIME_LO)
    assert board.read_register(regs.TRIGGER_CONTROL) == latched | level
    low, rest = board.read_registers(regs.TRIGGER_IN_TIME_LO, 2)
    assert rest >> regs.TRIGGER_IN_TIME_HI_EDGES_LSB == 2
    found = [record for record in records if record.cause is Cause.TRIGGER]
    assert len(found) == 2 and 0 <= found[0].time_ticks - low & MASK32 <= 2
    assert 0 < low - before & MASK32 < after - before & MASK32
    # The falling edge is looked at where it is chosen, and latched once the old one was cleared.
    board.write_register(regs.TRIGGER_CONTROL, latched | 1 << regs.TRIGGER_CONTROL_IN_FALLING_LSB)
    board.bench.trigger(False)
    board.sleep(0.001)
    again, rest = board.read_registers(regs.TRIGGER_IN_TIME_LO, 2)
    assert again != low and rest >> regs.TRIGGER_IN_TIME_HI_EDGES_LSB == 3


def test_midi_bytes_at_the_pins(midi: Midi) -> None:
    """What leaves is what was queued, at its time; what comes in carries the time at which it did."""
    board = midi.board
    if not board.bench.has("midi"):
        pytest.skip("the bench of this board has no MIDI wires")
    midi.control(GATE)
    board.bench.midi_read()
    board.poll()
    start = board.events.time_ticks + 60_000
    midi.send(b"\xb0\x07\x7f", [start, start, start + 30_000])
    board.bench.midi_send(b"\x91\x00", start + 10_000)
    midi.bytes_pass(40)
    left = board.bench.midi_read()
    assert bytes(each.value for each in left) == b"\xb0\x07\x7f" and all(each.stop_good for each in left)
    # The start bit leaves 3 clocks behind its time and is seen by the clock behind that.
    assert [each.ticks - start for each in left] in (
        [delay, delay + BACK_TO_BACK_TICKS, delay + 30_000] for delay in (3, 4)
    )
    found = midi.receive()
    assert bytes(value for value, _, _ in found) == b"\x91\x00"
    assert 2 <= found[0][1] - (start + 10_000) & MASK32 <= 4
    # The sender keeps to 31250 baud: 3932.16 clocks a byte.
    assert abs((found[1][1] - found[0][1] & MASK32) - 3932) <= 3
    board.bench.midi_loop(True)
    midi.send(b"\x33")
    midi.bytes_pass(4)
    assert [value for value, _, _ in midi.receive()] == [0x33]
    board.bench.midi_loop(False)


def test_spdif_sends_what_the_dac_gets_with_its_marks(board: Board) -> None:
    if not (board.bench.has("spdif") and board.bench.has("tap")):
        pytest.skip("the bench of this board does not see S/PDIF and DAC")
    played = np.random.default_rng(2).integers(1, 256, 1800, dtype=np.uint8).tobytes()
    board.write_memory(0, played)
    board.write_memory(0x1F000, b"".join(word.to_bytes(4, "little") for word in (0, 1800, 0, 4)))
    for offset, value in (
        (regs.STREAM_CONFIG, 2 << 2 | 1 << 4),
        (regs.STREAM_RING_BASE, 0x1F000),
        (regs.STREAM_RING_SIZE, 1),
        (regs.STREAM_CONTROL, StreamState.RUN),
    ):
        board.write_register(stream_register(0, offset), value)
    enable, never = 1 << regs.SPDIF_GATES_ENABLE_LSB, 1 << regs.SPDIF_GATES_COPY_NEVER_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    for gates, copy_bit in ((enable, 1), (enable | never, 0)):
        board.write_register(regs.SPDIF_GATES, gates)
        board.sleep(0.001)
        board.bench.spdif_start()
        board.bench.tap_start()
        board.sleep(0.010)
        sent, dac = board.bench.spdif_read(), board.bench.tap_read().samples
        board.bench.spdif_stop()
        board.bench.tap_stop()
        assert (sent.parity_errors, sent.coding_errors, sent.marked_invalid, sent.half_cell_ticks) == (0, 0, 0, 2)
        status = sent.channel_status(0)
        assert status is not None
        # Consumer, copy bit, 48 kHz, left, 24 bits.
        assert status == copy_bit << 2 | 1 << 20 | 2 << 24 | 0b1011 << 32
        # The same frames, but for the delay between the two ends.
        middle = np.ascontiguousarray(sent.samples[100:300]).tobytes()
        assert middle in np.ascontiguousarray(dac).tobytes() and np.count_nonzero(sent.samples[100:300]) > 300
