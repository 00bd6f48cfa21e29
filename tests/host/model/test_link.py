"""ModelLink: the statuses of docs/wire.md, waiting, time, the bench."""

import base64

import numpy as np
import pytest

from codecrig.link import LinkError, Request
from codecrig.link import registers as regs
from codecrig.link.model import BYTE_TICKS, TRANSFER_TICKS, ModelLink
from codecrig.link.registers import Operation, Status


def status(link: ModelLink, request: Request) -> Status:
    good = Request.read(regs.FPGA_ID, 4)
    replies = link.exchange([request, good])
    # Whatever was wrong with the first, the next request works.
    assert replies[1].status is Status.OK and replies[1].data == b"GIRC"
    return replies[0].status


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request.read(0, 1), Status.OK),
        (Request.read(regs.AUDIO_MEMORY_BYTES - 1, 1), Status.OK),
        (Request.read(regs.AUDIO_MEMORY_BYTES - 1, 2), Status.UNMAPPED),
        (Request.read(regs.AUDIO_MEMORY_BYTES, 1), Status.UNMAPPED),
        (Request.read(0, 0), Status.BAD_LENGTH),
        (Request.write(3, b"x" * 4096), Status.OK),
        (Request.read(regs.FPGA_ID + 1, 4), Status.MISALIGNED),
        (Request.read(regs.FPGA_ID, 6), Status.BAD_LENGTH),
        (Request.read(regs.FPGA_BASE + 0xFC, 4), Status.OK),
        (Request.read(regs.FPGA_BASE + 0xFC, 8), Status.UNMAPPED),
        (Request.read(regs.FPGA_BASE + 0x100, 4), Status.UNMAPPED),
        (Request.read(regs.STREAM_BASE + 0xF00, 0x100), Status.OK),
        (Request.read(regs.STREAM_BASE + 0xFFC, 8), Status.UNMAPPED),
        (Request.read(regs.MIDI_BASE, 0x1000), Status.OK),
        (Request.read(regs.MIDI_BASE + 0x1000, 4), Status.UNMAPPED),
        (Request.read(regs.EVENT_RING_BASE, regs.EVENT_RING_BYTES), Status.OK),
        (Request.read(regs.EVENT_RING_BASE + regs.EVENT_RING_BYTES, 4), Status.UNMAPPED),
        (Request.read(regs.BRIDGE_BASE + 0xFFC, 4), Status.OK),
        (Request.read(regs.BRIDGE_BASE + 0x1000, 4), Status.UNMAPPED),
        (Request.read(0x20000002, 4), Status.UNMAPPED),
        (Request(Operation.WAIT, 0, 4), Status.BAD_LENGTH),
        (Request.wait(0), Status.OK),
    ],
)
def test_statuses(request_: Request, expected: Status) -> None:
    assert status(ModelLink(), request_) is expected


def test_long_requests_are_split_and_rejoined() -> None:
    link = ModelLink()
    data = np.random.default_rng(3).integers(0, 256, 50_001, dtype=np.uint8).tobytes()
    wrote, read = link.exchange([Request.write(7, data), Request.read(7, len(data))])
    assert wrote.status is Status.OK and read.data == data
    assert link.exchange([Request.read(regs.AUDIO_MEMORY_BYTES - 5000, 9000)])[0].status is Status.UNMAPPED


def test_time_flows_for_requests_only() -> None:
    link = ModelLink(clock_ppm=0)
    before = link.board.now_ticks
    for _ in range(10):
        link.host_time_ns()
    assert link.board.now_ticks == before
    link.exchange([Request.read(0, 100)])
    assert link.board.now_ticks - before == TRANSFER_TICKS + (12 + 12 + 100) * BYTE_TICKS


def test_wait_ends_at_its_deadline_or_with_an_event() -> None:
    link = ModelLink()
    link.exchange([Request.write_word(regs.FPGA_EVENT_ENABLE, 1), Request.wait(1_000_000)])
    assert 1_000_000 <= link.board.now_ticks <= 1_000_000 + 12 * BYTE_TICKS
    link.exchange([Request.write_word(regs.FPGA_ALARM_TIME, 1_500_000), Request.wait(9_000_000)])
    assert 1_500_000 <= link.board.now_ticks <= 1_500_000 + 12 * BYTE_TICKS
    # The record was not taken: waiting again ends at once.
    link.exchange([Request.wait(9_000_000)])
    assert link.board.now_ticks < 1_600_000


@pytest.mark.parametrize("clock_ppm", [-250.5, 0.0, 37.0])
def test_host_time_differs_by_the_ppm(clock_ppm: float) -> None:
    link = ModelLink(clock_ppm=clock_ppm)
    link.exchange([Request.wait(2_000_000_000)])
    ticks_per_host_second = link.board.now_ticks / (link.host_time_ns() / 1e9)
    assert ticks_per_host_second / 12_288_000 - 1 == pytest.approx(clock_ppm * 1e-6, abs=1e-11)


def test_bridge_counts_requests_and_errors() -> None:
    link = ModelLink()
    link.exchange([Request.read(0, 4), Request.read(0x30000000, 4), Request.read(0, 4)])
    counters = link.exchange([Request.read(regs.BRIDGE_REQUESTS, 8)])[0].data
    assert counters == (3).to_bytes(4, "little") + (1).to_bytes(4, "little")


def test_read_only_registers_ignore_writes_and_scratch_keeps() -> None:
    link = ModelLink()
    for address in (regs.FPGA_SCRATCH, regs.BRIDGE_SCRATCH, regs.FPGA_ID, regs.FPGA_TRIGGER_IN):
        link.exchange([Request.write_word(address, 0xDEADBEEF)])
    words = [link.exchange([Request.read(address, 4)])[0].data for address in (regs.FPGA_SCRATCH, regs.FPGA_ID)]
    assert words == [bytes.fromhex("efbeadde"), b"GIRC"]


def test_the_bench_answers_like_the_twins_control_channel() -> None:
    link = ModelLink()
    call = link.control.call
    assert call("host_time") == {"ok": True, "ns": link.host_time_ns()}
    assert "known: " in call("fly")["error"]
    assert call("cable", fault="frayed")["ok"] is False
    assert call("codec", gain=1)["ok"] is False
    assert call("codec", gain_q16=1)["gain_q16"] == 1
    call("tap", action="start")
    link.exchange([Request.write_word(regs.FPGA_CONVERTER_CONTROL, 1), Request.wait(100_000)])
    tapped = call("tap", action="read")
    assert len(base64.b64decode(tapped["samples"])) % 8 == 0 and len(tapped["samples"]) > 1000
    assert call("trigger", level=True)["ok"]
    assert link.exchange([Request.read(regs.FPGA_TRIGGER_IN, 4)])[0].data[0] == 1
    link.exchange([Request.write_word(regs.FPGA_TRIGGER_OUT, 1)])
    assert len(call("trigger")["out_edges"]) == 1


def test_a_closed_link_says_so() -> None:
    link = ModelLink()
    link.close()
    with pytest.raises(LinkError, match="expected an open link"):
        link.exchange([])


def send_midi(link: ModelLink, data: bytes) -> None:
    records = b"".join(bytes(4) + bytes([value, 0, 0, 0]) for value in data)
    link.exchange(
        [
            Request.write(regs.MIDI_TX_RING_BASE, records),
            Request.write_word(regs.MIDI_TX_PRODUCER, len(data)),
            Request.wait(link.board.now_ticks + 100_000),
        ]
    )


def test_the_bench_hears_and_feeds_the_midi_pins() -> None:
    link = ModelLink()
    link.exchange([Request.write_word(regs.MIDI_CONTROL, 1)])
    send_midi(link, b"\x90\x40")
    heard = link.control.call("midi")
    assert base64.b64decode(heard["bytes"]) == b"\x90\x40"
    assert heard["ticks"][1] - heard["ticks"][0] == 3934
    assert link.control.call("midi")["bytes"] == ""
    assert link.exchange([Request.read(regs.MIDI_COUNTS, 4)])[0].data == bytes([0, 0, 2, 2])  # nobody answered
    start = link.board.now_ticks + 20_000
    bytes_in = base64.b64encode(b"\xf8\xfe").decode("ascii")
    assert link.control.call("midi", action="send", bytes=bytes_in, tick=start)["pending"] == 2
    link.exchange([Request.wait(start + 10_000)])
    counts, ring = link.exchange([Request.read(regs.MIDI_COUNTS, 4), Request.read(regs.MIDI_RX_RING_BASE, 16)])
    assert counts.data[0] == 2 and ring.data[4] == 0xF8 and ring.data[12] == 0xFE
    assert int.from_bytes(ring.data[8:12], "little") - int.from_bytes(ring.data[:4], "little") == 3930
    assert 2 <= int.from_bytes(ring.data[:4], "little") - start <= 3
    assert link.control.call("midi", action="loop", connected=True) == {"ok": True}
    link.exchange([Request.write_word(regs.MIDI_TX_PRODUCER, 3), Request.wait(link.board.now_ticks + 10_000)])
    assert link.exchange([Request.read(regs.MIDI_COUNTS, 4)])[0].data == bytes([3, 0, 3, 3])
    assert "accepted: read, send, loop" in link.control.call("midi", action="fly")["error"]


def test_the_bench_sees_marks_and_samples_of_spdif() -> None:
    link = ModelLink()
    link.control.call("spdif", action="start")
    link.exchange([Request.write_word(regs.FPGA_CONVERTER_CONTROL, 1), Request.wait(100_000)])
    assert link.control.call("spdif", action="read")["samples"] == ""  # not enabled: no carrier
    link.exchange([Request.write_word(regs.SPDIF_GATES, 1), Request.wait(180_000)])
    allowed = link.control.call("spdif", action="read")
    link.exchange([Request.write_word(regs.SPDIF_GATES, 3), Request.wait(300_000)])
    denied = link.control.call("spdif", action="read")
    for found, copy_bit in ((allowed, 1), (denied, 0)):
        flags = np.frombuffer(base64.b64decode(found["flags"]), dtype=np.uint8)
        assert len(base64.b64decode(found["samples"])) == 8 * len(flags) > 8 * 250
        starts = np.flatnonzero(flags & 64)
        start = int(starts[starts <= len(flags) - 36][-1])
        assert [int(flag) & 1 for flag in flags[start : start + 36]] == [
            0, 0, copy_bit, *[0] * 17, 1, 0, 0, 0, 0, 1, 0, 0, *[0] * 4, 1, 1, 0, 1,
        ]  # fmt: skip
        # The marks waited for the next frame, not for the end of the block.
        assert starts[0] < 12 and np.diff(starts).tolist() == [192] * (len(starts) - 1)
