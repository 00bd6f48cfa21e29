"""Whole journeys through PortWavePci and MiniportWavePci, with the same test ids on every board."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codecrig.board import Board, BoardSystem
from codecrig.client import StreamRun, loopback, play, record
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect, PatternKind
from codecrig.miniport import MiniportWavePci
from codecrig.model import PatternSequence
from codecrig.model.engine import encode_samples
from codecrig.port import PortWavePci, WavePciPacket
from codecrig.portcls import KSSTATE, NTSTATUS, PAGE_BYTES, Format

RENDER_PIN, CAPTURE_PIN = 0, 1


def noise(frames: int, data_format: Format, seed: int = 1) -> bytes:
    """Random frames that a 24-bit converter passes unchanged; no sample is silence."""
    data = np.random.default_rng(seed).integers(1, 256, frames * data_format.block_bytes, dtype=np.uint8)
    if data_format.container_bits == 32:
        data[::4] = 0
    return data.tobytes()


def converter(board: Board, select: InputSelect = InputSelect.LOOPBACK, enable: bool = True) -> None:
    """Start or stop the converter's clock and choose what capture hears."""
    shifted = select << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, int(enable) | shifted)


class Duplex:
    """A render and a capture pin in digital loopback, both in PAUSE, the converter's clock off."""

    def __init__(self, board: Board, port: PortWavePci, data_format: Format) -> None:
        self.board = board
        self.port = port
        self.format = data_format
        self.capture = port.open_pin(CAPTURE_PIN, True, data_format)
        self.render = port.open_pin(RENDER_PIN, False, data_format)
        self.empty: list[WavePciPacket] = []
        self.full: list[WavePciPacket] = []
        converter(board, enable=False)

    def listen(self, extent_bytes: int, page_offset: int = 0) -> None:
        self.empty.append(self.capture.submit_empty(extent_bytes, page_offset=page_offset))

    def say(self, data: bytes, page_offset: int = 0) -> WavePciPacket:
        self.full.append(self.render.submit(data, page_offset=page_offset))
        return self.full[-1]

    def run(self) -> None:
        self.capture.set_state(KSSTATE.RUN)
        self.render.set_state(KSSTATE.RUN)
        converter(self.board)

    def sleep_frames(self, frames: int) -> None:
        self.port.system.sleep(frames / self.format.sample_rate)

    def heard(self) -> bytes:
        """All that was captured; the streams are stopped."""
        self.capture.set_state(KSSTATE.STOP)
        self.render.set_state(KSSTATE.STOP)
        assert self.capture.faults == self.render.faults == []
        return b"".join(packet.read() for packet in self.empty)

    def loud(self) -> bytes:
        """Of that, the frames that are not silence."""
        captured = self.heard()
        size = self.format.block_bytes
        frames = np.frombuffer(captured[: len(captured) // size * size], np.uint8).reshape(-1, size)
        return frames[frames.any(axis=1)].tobytes()


@pytest.fixture
def port(board: Board) -> Iterator[PortWavePci]:
    """A port over the miniport of the board under test."""
    with PortWavePci(MiniportWavePci(board), BoardSystem(board)) as opened:
        yield opened


@pytest.fixture
def narrow_port(board: Board) -> Iterator[PortWavePci]:
    """The same over a miniport with few and short descriptors."""
    miniport = MiniportWavePci(board, ring_descriptors=5, descriptor_bytes=700)
    with PortWavePci(miniport, BoardSystem(board)) as opened:
        yield opened


def odd_packets(chooser: random.Random, total: int) -> list[tuple[int, int]]:
    """(bytes, offset in the first page): some from 1 byte to more than a page, then the rest, at any addresses.

    Few enough that two such lists find room in 31 pages.
    """
    sizes = chooser.sample([1, 2, 5, 33, 700, 3001, 4097], 5)
    sizes.append(total - sum(sizes))
    return [(size, chooser.choice([0, 1, 2, 3, 4095, 1728])) for size in sizes]


def check_odd_packets(port: PortWavePci, board: Board, data_format: Format, seed: int) -> None:
    chooser = random.Random(seed)
    duplex = Duplex(board, port, data_format)
    data = noise(11_000 // data_format.block_bytes, data_format, seed)
    at = 0
    for size, offset in odd_packets(chooser, len(data)):
        duplex.say(data[at : at + size], offset)
        at += size
    for size, offset in odd_packets(chooser, len(data) + 600):
        duplex.listen(size, offset)
    duplex.run()
    assert board.wait_for(lambda: duplex.full[-1].status is NTSTATUS.SUCCESS, 0.5)
    duplex.sleep_frames(30)
    for position in (duplex.render.position(), duplex.capture.position()):
        assert position.PlayOffset % data_format.block_bytes == 0
    assert duplex.render.position().WriteOffset == len(data)
    captured = duplex.heard()
    lead = next(index for index in range(len(captured)) if captured[index]) // data_format.block_bytes
    assert lead <= board.profile.start_up_frames
    assert captured[lead * data_format.block_bytes :].startswith(data)
    assert all(packet.status is NTSTATUS.SUCCESS for packet in duplex.full)


@pytest.mark.parametrize(("bits", "channels"), [(16, 2), (24, 2), (32, 1), (24, 1)])
def test_loopback_with_odd_packets_is_bit_exact(board: Board, port: PortWavePci, bits: int, channels: int) -> None:
    check_odd_packets(port, board, Format(48000, channels, bits), seed=bits + channels)


def test_few_and_short_descriptors_sound_the_same(board: Board, narrow_port: PortWavePci) -> None:
    check_odd_packets(narrow_port, board, Format(48000, 2, 24), seed=3)


def test_packets_over_pages_that_are_no_neighbours(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 16)
    memory = port.pages.memory.length - 1
    pages = port.pages.take(memory, 12)
    # Backwards, then with every other page missing: every page border is the end of a mapping.
    scattered = tuple(reversed(pages[:4]))
    duplex = Duplex(board, port, data_format)
    data = noise(4 * 4000 // 4, data_format)
    port.pages.give_back(pages[4:])
    duplex.full.append(duplex.render.submit(data, page_offset=300, page_numbers=scattered))
    assert [length for _, length in duplex.full[0].pieces] == [PAGE_BYTES - 300, PAGE_BYTES, PAGE_BYTES, 4012]
    duplex.listen(len(data) + 400)
    duplex.run()
    assert board.wait_for(lambda: duplex.full[0].status is NTSTATUS.SUCCESS, 0.5)
    duplex.sleep_frames(30)
    assert duplex.loud() == data


def test_it_starves_and_goes_on_where_it_stopped(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 24)
    data = noise(900, data_format)
    duplex = Duplex(board, port, data_format)
    duplex.listen(12_000, 5)
    duplex.say(data[:1802], 3)
    duplex.run()
    duplex.sleep_frames(500)
    # The last frame lacks four of its six bytes.
    assert duplex.render.position().PlayOffset == 1800
    assert duplex.full[0].status is NTSTATUS.SUCCESS
    duplex.say(data[1802:])
    duplex.sleep_frames(200)
    assert 1800 < duplex.render.position().PlayOffset < len(data)
    duplex.sleep_frames(600)
    assert duplex.render.position().PlayOffset == len(data)
    assert duplex.loud() == data


def test_pause_keeps_every_byte(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 16)
    data = noise(2000, data_format)
    duplex = Duplex(board, port, data_format)
    duplex.listen(12_000, 7)
    duplex.say(data[:3333], 9)
    duplex.say(data[3333:], 1000)
    duplex.run()
    for _ in range(3):
        duplex.sleep_frames(300)
        duplex.render.set_state(KSSTATE.PAUSE)
        frozen = duplex.render.position()
        duplex.sleep_frames(60)
        assert duplex.render.position() == frozen
        duplex.render.set_state(KSSTATE.RUN)
    duplex.sleep_frames(1500)
    assert duplex.loud() == data


def test_a_cancelled_packet_is_not_heard_and_its_memory_is_free(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 24)
    parts = [noise(700, data_format, seed) for seed in range(4)]
    duplex = Duplex(board, port, data_format)
    duplex.listen(20_000)
    for part in parts:
        duplex.say(part, 100)
    duplex.run()
    duplex.sleep_frames(300)
    duplex.render.cancel(duplex.full[2])
    assert duplex.full[2].status is NTSTATUS.CANCELLED and duplex.full[2].held == 0
    duplex.full[2].view.write(0, b"\x77" * len(parts[2]))
    duplex.sleep_frames(2200)
    assert [packet.status.name for packet in duplex.full] == ["SUCCESS", "SUCCESS", "CANCELLED", "SUCCESS"]
    assert duplex.render.position().PlayOffset == 3 * len(parts[0])
    assert duplex.render.position().WriteOffset == 3 * len(parts[0])
    assert duplex.loud() == parts[0] + parts[1] + parts[3]


def test_cancelling_what_is_being_played(board: Board, port: PortWavePci) -> None:
    """What the engine had fetched is heard, nothing behind it, then the next packet from its beginning."""
    data_format = Format(48000, 2, 24)
    first, second = noise(1200, data_format, 1), noise(600, data_format, 2)
    duplex = Duplex(board, port, data_format)
    duplex.listen(14_000)
    duplex.say(first)
    duplex.say(second)
    duplex.run()
    duplex.sleep_frames(300)
    before = duplex.render.position().PlayOffset
    duplex.render.cancel(duplex.full[0])
    duplex.full[0].view.write(0, b"\x55" * len(first))
    duplex.sleep_frames(1000)
    heard = duplex.loud()
    played = heard.rfind(second[:6])
    assert before <= played < before + 300 * 6
    assert heard[: played - 6] == first[: played - 6] and heard[played:] == second
    # The frame in which it was cut off: what was fetched of it, then silence.
    cut = heard[played - 6 : played].rstrip(b"\0")
    assert first[played - 6 :].startswith(cut)


@pytest.mark.parametrize("seed", range(3))
def test_packets_come_and_are_cancelled_at_any_time(board: Board, port: PortWavePci, seed: int) -> None:
    """Of each packet all is heard, or if it was cancelled its beginning; every frame is in step."""
    chooser = random.Random(seed)
    data_format = Format(48000, 2, 24)
    duplex = Duplex(board, port, data_format)
    for _ in range(3):
        duplex.listen(14_000, chooser.randrange(4096))
    duplex.run()
    played: list[bytes] = []
    for turn in range(12):
        played.append(noise(chooser.randint(40, 300), data_format, 100 * seed + turn))
        duplex.say(played[-1], chooser.randrange(4096))
        if turn > 2:
            duplex.sleep_frames(chooser.randint(1, 250))
        pending = [packet for packet in duplex.full if packet.pending]
        if pending and chooser.random() < 0.5:
            duplex.render.cancel(chooser.choice(pending))
        if chooser.random() < 0.2:
            duplex.render.set_state(chooser.choice([KSSTATE.PAUSE, KSSTATE.ACQUIRE]))
            if pending and chooser.random() < 0.5:
                duplex.render.cancel(pending[-1])
            duplex.render.set_state(KSSTATE.RUN)
        for packet in duplex.full:
            if not packet.pending:
                packet.free()
    duplex.sleep_frames(3600)
    assert all(not packet.pending for packet in duplex.full)
    heard = duplex.loud()
    for packet, data in zip(duplex.full, played, strict=True):
        if packet.status is NTSTATUS.SUCCESS:
            assert heard.startswith(data)
            heard = heard[len(data) :]
            continue
        frames = 0
        while 6 * frames < len(data) and heard[: 6 * (frames + 1)] == data[: 6 * (frames + 1)]:
            frames += 1
        heard = heard[6 * frames :]
        # The frame in which it was cut off: what was fetched of it, then silence.
        rest = data[6 * frames : 6 * frames + 6]
        cut = heard[:6].rstrip(b"\0")
        if frames and rest and len(cut) < 6 and rest.startswith(cut):
            heard = heard[6:]
    assert heard == b""


def test_a_looped_packet_goes_round_until_stop(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 16)
    data = noise(150, data_format)
    duplex = Duplex(board, port, data_format)
    duplex.listen(8000)
    looped = duplex.render.submit(data, looped=True, page_offset=PAGE_BYTES - 200)
    duplex.run()
    positions = []
    for _ in range(6):
        duplex.sleep_frames(190)
        found = duplex.render.position()
        assert found.PlayOffset < len(data) and found.WriteOffset < len(data)
        positions.append(found.PlayOffset)
    assert looped.status is NTSTATUS.PENDING and len(set(positions)) > 3
    loud = duplex.loud()
    assert looped.status is NTSTATUS.SUCCESS
    assert len(loud) > 6 * len(data)
    assert loud == (data * 20)[: len(loud)]


def test_stop_gives_back_what_was_captured_and_begins_anew(board: Board, port: PortWavePci) -> None:
    data_format = Format(48000, 2, 24)
    for seed in (1, 2):
        data = noise(1000, data_format, seed)
        duplex = Duplex(board, port, data_format)
        for extent in (1000, 60_000, 1000):
            duplex.listen(extent)
        duplex.say(data)
        duplex.run()
        duplex.sleep_frames(1200)
        # 1000 + 6202 bytes and more: the second packet is open.
        captured = duplex.heard()
        assert [packet.status.name for packet in duplex.empty] == ["SUCCESS", "SUCCESS", "CANCELLED"]
        assert duplex.empty[0].used_bytes == 1000 and duplex.empty[2].used_bytes == 0
        assert 6202 < duplex.empty[1].used_bytes < 60_000 and len(captured) % 6 == 0
        assert data in captured
        assert captured.replace(data, b"").strip(b"\0") == b""
        duplex.capture.close()
        duplex.render.close()
        assert port.pages.free_pages == 31


def assert_bit_exact(run: StreamRun, data: bytes) -> None:
    """All that was played is in the capture, once, one frame behind its start."""
    captured, size = run.captured or b"", run.format.block_bytes
    quiet = (b"\x80" if run.format.container_bits == 8 else b"\0") * size
    assert captured[:size] == quiet and captured[size : size + len(data)] == data
    behind = captured[size + len(data) :]
    assert behind == quiet * (len(behind) // size)
    assert (run.underruns, run.overruns, run.late_packets) == (0, 0, 0)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_a_run_is_bit_exact(board: Board, bits: int, channels: int) -> None:
    data_format = Format(48000, channels, bits)
    data = noise(7777, data_format)
    run = loopback(board, data, data_format, tail_frames=100, model="wavepci")
    assert_bit_exact(run, data)
    assert run.frames_played == 7777 and run.frames_captured == 7877


@pytest.mark.parametrize(("rate", "bits"), [(96000, 16), (32000, 24), (8000, 8)])
def test_other_rates(board: Board, rate: int, bits: int) -> None:
    data_format = Format(rate, 2, bits)
    data = noise(rate // 10, data_format)
    assert_bit_exact(loopback(board, data, data_format, tail_frames=100, model="wavepci"), data)


def test_play_and_record(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    run = play(board, noise(5000, data_format), data_format, model="wavepci")
    assert run.frames_played == 5000 and run.late_packets == run.underruns == 0
    board.write_register(regs.FPGA_PATTERN_CONTROL, PatternKind.RAMP | 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
    run = record(board, 5000, data_format, source="pattern", model="wavepci")
    assert run.captured == encode_samples(PatternSequence(PatternKind.RAMP, 1).take(5000), 2).tobytes()


def test_a_late_host_is_counted(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    late = [3000]

    def be_late(done: int, wanted: int) -> None:
        if late and done >= late[0]:
            late.clear()
            board.sleep(0.1)

    run = loopback(board, noise(9600, data_format), data_format, model="wavepci", progress=be_late)
    # 100 ms are five packets of which three were there, in each direction.
    assert run.late_packets == 2 and run.underruns > 960 and run.overruns > 960
    assert run.frames_captured == 9600


def test_the_command_takes_the_model(board_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codecrig.cli.main import run
    from codecrig.wave import PcmAudio, write_wave

    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(1).integers(-(2**15), 2**15, (4800, 2)).astype(np.int32)
    write_wave(Path("in.wav"), PcmAudio(48000, 16, 16, samples))
    arguments = ["loopback", "in.wav", "--model", "wavepci", "--board", board_name, "--json", "out.json", "-q"]
    assert run(arguments) == 0
    result = json.loads(Path("out.json").read_text())
    assert result["bit_exact"] is True and result["model"] == "wavepci" and result["latency_frames"] == 1
