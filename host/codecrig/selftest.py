"""Bring-up of a board in named stages, from the USB plug to the cable between its analog sockets.

Each stage asks one question, is bounded, and on failure names the part to look at, from what it saw. A stage that needs
one that failed is skipped. Nothing is mended: the only thing that a selftest changes is an FPGA that is empty, or that
holds a design which is none of ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from codecrig import client
from codecrig.board import Board, BoardError, Connection, EnvironmentProblem, EventRecord
from codecrig.board.bitstream import Bitstream
from codecrig.board.loading import fpga_state, load_bitstream
from codecrig.link import Link, LinkError, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, LoadCommand
from codecrig.measure import align_exact, compare_exact
from codecrig.measure.converter import (
    AMPLITUDE,
    PERIOD_FRAMES,
    ChannelFigures,
    Samples,
    fold,
    make_signal,
)
from codecrig.portcls import Format, NtStatusError
from codecrig.wave import pack_samples, unpack_samples

Verdict = Literal["passed", "failed", "skipped"]

SAMPLE_BITS = 24
PATTERN_ROUNDS = 512
"""Writes and reads of a register: about 300,000 bits over the serial link."""
MEMORY_BLOCK = 4096
EVENTS = 8
EVENT_LATENCY_S = 0.004
"""From an event to the answer of the WAIT: a few packets on a full-speed bus."""
NOISE_FRAMES = 4800
TONE_PERIODS = 42
"""85 ms of tone."""
LISTENING_PERIODS = 1000
"""2 s, where somebody may listen."""
SETTLING_FRAMES = 10 * PERIOD_FRAMES
"""Left out of the analog capture: the path's delay and the filters' start."""
GAIN_TOLERANCE_DB = 3.0
NOISE_LIMIT_DBFS = -55.0
DISTORTION_LIMIT_DB = -35.0
MISSING_DB = -30.0
"""A tone is missing if it is so much weaker than it should be."""
CLOCK_LIMIT_PPM = 200.0
"""A crystal is good for 50, the host's clock for 100."""


class StageFailed(Exception):
    """What a stage saw, which part it points at, and what to do there."""

    def __init__(self, text: str, part: str, hint: str) -> None:
        super().__init__(text)
        self.part = part
        self.hint = hint


@dataclass
class StageResult:
    """One stage and what came of it."""

    name: str
    verdict: Verdict
    text: str
    """What was seen, in one line."""
    part: str = ""
    """Which part is to blame: one of a few words, for scripts."""
    hint: str = ""
    """Where to look, and what to do."""
    seconds: float = 0.0
    """By the link's clock: on a simulated board, that of the simulated host."""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Settings:
    """What a selftest is given beside the board."""

    bitstream: Bitstream | None = None
    """What the FPGA should hold; None if it is not known here."""
    stages: tuple[str, ...] = ()
    """Only these, and what they cannot do without; empty: all."""
    before: Callable[[Connection], None] = lambda connection: None
    """Called when the board has been found; simulated boards get their faults here."""
    on_result: Callable[[StageResult], None] = lambda result: None


class _Run:
    """The state that stages share."""

    def __init__(self, find: Callable[[], Connection], settings: Settings, stack: ExitStack) -> None:
        self._find = find
        self.settings = settings
        self._stack = stack
        self._connection: Connection | None = None
        self._board: Board | None = None
        self.figures: dict[str, Any] = {}
        self._deadline_ns: int | None = None
        self._limit_s = 0.0

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(self._find())
        return self._connection

    @property
    def link(self) -> Link:
        return self.connection.link

    @property
    def board(self) -> Board:
        """The board, quiet. Opened when the first stage wants it; safe when the run ends."""
        if self._board is None:
            self._board = self._stack.enter_context(self.connection.lend())
        return self._board

    def wired(self, *signals: str) -> str:
        """Where signals of the converter can be probed, as the profile says."""
        wiring = self.connection.profile.converter.wiring
        places = [f"{each.replace('_', ' ')} {place}" for each in signals if (place := getattr(wiring, each))]
        return f" ({'; '.join(places)})" if places else ""

    def begin(self, limit_s: float) -> int:
        start_ns = self.link.host_time_ns() if self._connection is not None else 0
        self._limit_s = limit_s
        self._deadline_ns = start_ns + int(limit_s * 1e9) if self._connection is not None else None
        return start_ns

    def watch(self) -> None:
        """Ends the stage if its time is over."""
        if self._deadline_ns is not None and self.link.host_time_ns() > self._deadline_ns:
            raise StageFailed(
                f"it did not end within {self._limit_s:g} s",
                "board",
                "the board answers, but slowly: run again with -v, look at its console",
            )


# ---------------------------------------------------------------- stages


def _find(run: _Run) -> str:
    try:
        link = run.connection.link
    except EnvironmentProblem as error:
        raise StageFailed(
            str(error), "usb", "the cable, the USB socket, and the permission to open it (`codecrig doctor`)"
        ) from error
    run.settings.before(run.connection)
    return f"{run.connection.profile.name}: {link.name}, serial {link.serial or 'none'}"


def _identify(run: _Run) -> str:
    (reply,) = run.link.exchange([Request.read(regs.BRIDGE_ID, regs.BRIDGE_SERIAL_HI + 4 - regs.BRIDGE_ID)])
    firmware = "load this release's firmware: `codecrig load --firmware FILE.uf2`"
    if reply.status is not Status.OK:
        raise StageFailed(f"the bridge refuses its own registers ({reply.status.name})", "firmware", firmware)
    words = [int.from_bytes(reply.data[at : at + 4], "little") for at in range(0, len(reply.data), 4)]
    if words[0] != regs.BRIDGE_ID_RESET or words[1] >> 24 != regs.BRIDGE_VERSION_MAJOR_RESET:
        text = f"BRIDGE_ID 0x{words[0]:08X}, version 0x{words[1]:08X}: not what this package speaks"
        raise StageFailed(text, "firmware", firmware)
    run.figures |= {"bridge_build": f"{words[2]:08X}", "spi_hz": words[6]}
    version = f"{words[1] >> 24}.{words[1] >> 16 & 0xFF}.{words[1] & 0xFF}"
    return f"firmware speaks wire {version}, build {words[2]:08X}, SPI at {words[6] / 1e6:g} MHz"


def _load(run: _Run) -> str:
    wanted = run.settings.bitstream
    state = fpga_state(run.link)
    loaded = ""
    if not state.ready:
        if wanted is None:
            raise StageFailed(
                f"the FPGA is empty: {state.problem}", "bitstream", "`codecrig build`, then `codecrig load`"
            )
        try:
            state = load_bitstream(run.link, wanted)
        except BoardError as error:
            raise StageFailed(
                str(error), "FPGA", "the FPGA: its supplies, its reset and its configuration lines"
            ) from error
        loaded = f", loaded from {wanted.name}"
    if state.build is None:
        _look_behind_done(run.link, state.problem)
    run.figures |= {"fpga_build": f"{state.build:08X}"}
    if wanted is not None and state.build != wanted.build:
        raise StageFailed(
            f"the FPGA holds build {state.build:08X}, not {wanted.build or 0:08X} of {wanted.name}",
            "bitstream",
            "the wrong bitstream is in the FPGA: `codecrig load`",
        )
    known = "" if wanted is not None else "; no bitstream was built here to compare with"
    return f"the FPGA runs build {state.build:08X}{loaded}{known}"


def _look_behind_done(link: Link, problem: str) -> None:
    """CDONE is high, but nobody answers: whose level is that? The FPGA is reset to see; it holds no design of ours."""
    link.exchange([Request.write_word(regs.BRIDGE_LOAD, LoadCommand.BEGIN)])
    # The second write waits for the end of the first.
    link.exchange([Request.write_word(regs.LOAD_BUFFER_BASE, 0)])
    (reply,) = link.exchange([Request.read(regs.BRIDGE_FPGA_STATUS, 4)])
    if reply.data and reply.data[0] & 1 << regs.BRIDGE_FPGA_STATUS_READY_LSB:
        raise StageFailed(
            "CDONE stays high while the FPGA is held in reset: there is no FPGA, or its reset is not connected",
            "FPGA",
            "the FPGA: soldering, its 1.2 V core supply, CRESET_B and CDONE",
        )
    raise StageFailed(
        f"a design that is not codecrig was in the FPGA: {problem}",
        "bitstream",
        "the wrong bitstream was in the FPGA, which is now empty: `codecrig load`",
    )


_SERIAL_HINT = (
    "the SPI lines between microcontroller and FPGA: chip select, clock, data both ways, and the FPGA's clock"
)


def _link_pattern(run: _Run) -> str:
    generator = random.Random(7)
    size = regs.LOAD_BUFFER_BYTES
    there = run.connection.profile.kind in ("usb", "twin")  # other links have no microcontroller behind them
    for _ in range(8 * there):
        data = generator.randbytes(size)
        _, reply = run.link.exchange(
            [Request.write(regs.LOAD_BUFFER_BASE, data), Request.read(regs.LOAD_BUFFER_BASE, size)]
        )
        if reply.status is Status.OK and reply.data != data:
            raise StageFailed(
                "bytes written to the microcontroller come back changed",
                "microcontroller",
                "the USB link checks itself: firmware or memory of the microcontroller",
            )
        run.watch()
    words = [1 << bit for bit in range(32)] + [0xFFFFFFFF ^ 1 << bit for bit in range(32)] + [0, 0xFFFFFFFF]
    words += [0xAAAAAAAA, 0x55555555]
    words += [generator.getrandbits(32) for _ in range(PATTERN_ROUNDS - len(words))]
    requests = []
    for word in words:
        requests += [Request.write_word(regs.FPGA_SCRATCH, word), Request.read(regs.FPGA_SCRATCH, 4)]
    replies = run.link.exchange(requests)
    refused: dict[str, int] = {}
    flipped, wrong = 0, 0
    for word, write, read in zip(words, replies[::2], replies[1::2], strict=True):
        for reply in (write, read):
            if reply.status is not Status.OK:
                refused[reply.status.name] = refused.get(reply.status.name, 0) + 1
        found = int.from_bytes(read.data, "little")
        if write.status is read.status is Status.OK and found != word:
            wrong += 1
            flipped |= found ^ word
    run.figures |= {"words": len(words), "wrong_words": wrong, "refused": refused}
    if wrong or refused:
        seen = [f"{wrong} wrong (bits 0x{flipped:08X})"] if wrong else []
        seen += [f"{count} {name}" for name, count in refused.items()]
        raise StageFailed(f"of {len(words)} words over SPI: {', '.join(seen)}", "serial link", _SERIAL_HINT)
    first = f"8 x {size} bytes to the microcontroller, " if there else ""
    return f"{first}{len(words)} words to the FPGA and back, all right"


def _memory(run: _Run) -> str:
    """A march: every cell is written both ways and read both ways, up and down; the data depend on the address."""
    size = run.connection.profile.memory.audio_bytes
    data = random.Random(11).randbytes(size)
    inverse = bytes(each ^ 0xFF for each in data)
    up = range(0, size, MEMORY_BLOCK)
    steps: list[tuple[Iterable[int], bytes | None, bytes | None]] = [(up, None, data), (up, data, inverse)]
    # A simulated cell has no transitions to fail in, and a simulated link takes its time.
    if run.connection.profile.kind == "usb":
        steps += [(up, inverse, data), (up, data, inverse)]
    steps.append((reversed(up), inverse, None))
    for addresses, expected, written in steps:
        for address in addresses:
            span = slice(address, address + MEMORY_BLOCK)
            requests = [] if expected is None else [Request.read(address, MEMORY_BLOCK)]
            requests += [] if written is None else [Request.write(address, written[span])]
            replies = run.link.exchange(requests)
            bad = next((reply.status.name for reply in replies if reply.status is not Status.OK), "")
            if bad:
                raise StageFailed(f"a request for audio memory ends with {bad}", "serial link", _SERIAL_HINT)
            if expected is not None and replies[0].data != expected[span]:
                _wrong_memory(run, address, expected[span], replies[0].data)
            run.watch()
    run.figures |= {"bytes": size}
    return f"{size // 1024} KiB, each bit written and read as 0 and 1, up and down"


def _wrong_memory(run: _Run, base: int, expected: bytes, found: bytes) -> None:
    """A cell, or the way to it? A bad cell is wrong again and again."""
    at = next(index for index in range(len(expected)) if expected[index] != found[index])
    address = base + at
    bit = ((expected[at] ^ found[at]) & -(expected[at] ^ found[at])).bit_length() - 1
    levels = []
    for level in (0, 1) * 4:
        value = 0xFF * level
        write, read = run.link.exchange([Request.write(address, bytes([value])), Request.read(address, 1)])
        levels.append((level, read.data[0] >> bit & 1 if write.status is read.status is Status.OK else -1))
    stuck = {found_level for _, found_level in levels}
    run.figures |= {"address": address, "bit": bit}
    if len(stuck) == 1 and stuck != {-1}:
        block = (address >> 16 & 1) * 2 + (address >> 1 & 1)
        raise StageFailed(
            f"bit {bit} of byte 0x{address:05X} is {stuck.pop()} whatever is written",
            "audio memory",
            f"SPRAM {block} of the FPGA: a bad cell; another FPGA",
        )
    if all(level == found_level for level, found_level in levels):
        raise StageFailed(f"byte 0x{address:05X} was read wrong once, and right after", "serial link", _SERIAL_HINT)
    raise StageFailed(
        f"bit {bit} of byte 0x{address:05X} is not what was written, now and then",
        "audio memory",
        "SPRAM of the FPGA, its 1.2 V supply, or the serial link",
    )


def _clocks(run: _Run) -> str:
    board = run.board
    board.write_register(regs.FPGA_CONVERTER_CONTROL, client.CONVERTER_ENABLE)
    # A simulated link has no jitter; on a real one the longer line makes up for it.
    real = run.connection.profile.kind == "usb"
    fit = board.clock.fit(span_s=2.0, points=64) if real else board.clock.fit(span_s=0.12, points=16)
    ppm = fit.ppm(board.profile.clock_rate)
    limit = board.profile.limits.clock_error_ppm or CLOCK_LIMIT_PPM
    times, frames = zip(*(_frame_reading(board) for _ in range(2)), strict=True)
    clocks = (times[1] - times[0]) & 0xFFFFFFFF
    counted = ((frames[1] - frames[0]) & 0xFFFFFFFF) * board.profile.frame_clocks
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 0)
    run.figures |= {"error_ppm": ppm, "limit_ppm": limit}
    if abs(ppm) > limit:
        raise StageFailed(
            f"the board's clock is off by {ppm:+.0f} ppm by the host's; {limit:g} are allowed",
            "crystal",
            "the microcontroller's crystal (12 MHz) and its load capacitors, or the clock set-up in its firmware",
        )
    if abs(counted - clocks) > 2 * board.profile.frame_clocks:
        raise StageFailed(
            f"{counted} clocks by the frames, {clocks} by board time",
            "FPGA",
            "the frame clock does not fit the system clock: the wrong bitstream, or the FPGA's clock stops at times",
        )
    return f"{float(board.profile.clock_rate) / 1e6:g} MHz {ppm:+.1f} ppm by the host's clock, frames in step with it"


def _frame_reading(board: Board) -> tuple[int, int]:
    board.sleep(0.005)
    time_low, frames = board.transact([Request.read(regs.FPGA_TIME_LO, 4), Request.read(regs.FPGA_FRAME_TICKS, 4)])
    return int.from_bytes(time_low, "little"), int.from_bytes(frames, "little")


def _events(run: _Run) -> str:
    board = run.board
    before = board.read_register(regs.FPGA_EVENT_ENABLE)
    records: list[EventRecord] = []
    unsubscribe = board.events.subscribe(None, records.append)
    board.write_register(regs.FPGA_EVENT_ENABLE, before | 1 << regs.FPGA_EVENT_ENABLE_TIMER_LSB)
    late = 0.0
    hint = "the attention line from the FPGA to the microcontroller, or the wrong bitstream"
    try:
        for number in range(EVENTS):
            due = board.clock.now() + board.clock.ticks(0.002)
            board.write_register(regs.FPGA_ALARM_TIME, due & 0xFFFFFFFF)
            wanted = number + 1
            if not board.wait_for(lambda wanted=wanted: len(records) >= wanted, 0.1):  # type: ignore[misc]
                raise StageFailed(f"alarm {wanted} of {EVENTS} never came as an event", "events", hint)
            error = records[-1].time_ticks - due
            late = max(late, float(board.clock.seconds(board.events.time_ticks - records[-1].time_ticks)))
            if records[-1].cause is not Cause.TIMER or not 0 <= error <= 2:
                text = f"alarm {wanted} came as {records[-1].cause.name}, {error} clocks from its time"
                raise StageFailed(text, "events", hint)
            run.watch()
    finally:
        unsubscribe()
    board.events.acknowledge()
    board.write_register(regs.FPGA_EVENT_ENABLE, before)
    run.figures |= {"events": EVENTS, "latest_ms": late * 1e3}
    if late > EVENT_LATENCY_S:
        raise StageFailed(f"an event took {late * 1e3:.1f} ms to the host", "events", hint)
    return f"{EVENTS} alarms to the clock, answered within {late * 1e3:.2f} ms"


def _format(run: _Run) -> Format:
    bits = 24 if "pcm24" in run.connection.profile.formats else 16
    return Format(run.connection.profile.rates[0], 2, bits)


_ENGINE_HINT = "FPGA or bitstream: `codecrig load --force`; if it stays, `codecrig loopback` says which frames"


def _digital(run: _Run) -> str:
    form = _format(run)
    bits = form.valid_bits
    top = 1 << (bits - 1)
    played = np.random.default_rng(3).integers(-top, top, (NOISE_FRAMES, 2), np.int32)
    result = client.loopback(run.board, pack_samples(played, bits, form.container_bits), form, tail_frames=64)
    _check_interrupted(result)
    captured = unpack_samples(result.captured or b"", 2, bits, form.container_bits)
    start_up = run.connection.profile.start_up_frames
    offset = align_exact(played, captured)
    if offset is None:
        raise StageFailed("what was played is not found in what was captured", "engine", _ENGINE_HINT)
    compared = compare_exact(played, captured, offset.offset_frames, start_up_frames=start_up, bits=bits)
    gaps = result.underruns + result.overruns + result.late_packets
    run.figures |= {"frames": NOISE_FRAMES, "bad_frames": compared.bad_frames, "gaps": gaps}
    if gaps:
        text = f"{result.underruns} underruns, {result.overruns} overruns, {result.late_packets} late packets"
        raise StageFailed(text, "usb", "the bus is too slow: no hub, another socket, nothing else busy on this machine")
    if not compared.bit_exact:
        first = compared.first_bad
        seen = f"frame {first.index} is {first.defect}: {first.detail}" if first else "frames differ"
        raise StageFailed(f"{compared.bad_frames} wrong frames; {seen}", "engine", _ENGINE_HINT)
    return f"{NOISE_FRAMES} frames of {bits} bit noise out and back inside the FPGA, bit for bit"


def _check_interrupted(result: client.StreamRun) -> None:
    if result.interrupted:
        raise KeyboardInterrupt


def _tone(run: _Run) -> str:
    form = _format(run)
    periods = LISTENING_PERIODS if run.connection.profile.kind == "usb" else TONE_PERIODS
    played = make_signal(periods, form.valid_bits)
    tapped = run.board.bench.has("tap")
    if tapped:
        run.board.bench.tap_start()
    result = client.play(run.board, pack_samples(played, form.valid_bits, form.container_bits), form)
    _check_interrupted(result)
    run.figures |= {"frames": result.frames_played, "underruns": result.underruns}
    if result.underruns:
        raise StageFailed(f"{result.underruns} underruns", "usb", "the bus is too slow: no hub, another socket")
    what = f"{len(played)} frames to the DAC, 990 Hz left, 1485 Hz right, -12 dBFS"
    if not tapped:
        return f"{what}: nobody listens here but you"
    tap = run.board.bench.tap_read()
    run.board.bench.tap_stop()
    heard = tap.samples >> (32 - form.valid_bits)
    run.figures |= {"dac_frames": len(heard)}
    if not len(heard):
        raise _dead_clocks(run)
    if align := align_exact(played, heard):
        got = heard[align.offset_frames : align.offset_frames + len(played)]
        if np.array_equal(got, played):
            return f"{what}; a probe at the DAC's pins saw each of them"
    raise _wrong_at_dac(run, fold(_middle(heard, len(played))))


def _middle(heard: Samples, frames: int) -> Samples:
    """Of what was heard, a part in which the tone must be if it is anywhere: the streams begin with the clocks."""
    return heard[SETTLING_FRAMES : max(SETTLING_FRAMES + 4 * PERIOD_FRAMES, frames - PERIOD_FRAMES)]


def _dead_clocks(run: _Run) -> StageFailed:
    return StageFailed(
        "no frame reaches the converter",
        "clock line",
        f"bit clock or word clock to the converter{run.wired('bit_clock', 'word_clock')}: broken, or held at a level",
    )


def _wrong_at_dac(run: _Run, figures: list[ChannelFigures]) -> StageFailed:
    """What a probe at the DAC's pins saw, if not the tone as it was sent."""
    left, right = figures
    if left.constant and right.constant:
        level = "high" if left.value else "low"
        return StageFailed(
            f"the DAC's data line is always {level}",
            "data line to the DAC",
            f"the data line to the DAC{run.wired('dac_data')}: broken, or shorted",
        )
    return _wrong_format(run, figures, 1.0, "the DAC receives") or StageFailed(
        "the DAC receives something else than was sent", "engine", _ENGINE_HINT
    )


def _wrong_format(run: _Run, figures: list[ChannelFigures], gain: float, seen: str) -> StageFailed | None:
    """Faults that show in the samples, on either side of the converter; None if there are none."""
    wanted = AMPLITUDE * gain
    if all(each.level < wanted * _ratio(MISSING_DB) and each.other > wanted * 0.5 for each in figures):
        return StageFailed(
            f"{seen} left on the right and right on the left",
            "channels",
            f"left and right are exchanged: polarity of the word clock{run.wired('word_clock')}, plugs of the cable",
        )
    if max(each.noise for each in figures) > _ratio(NOISE_LIMIT_DBFS):
        level = 20 * np.log10(max(each.noise for each in figures))
        return StageFailed(
            f"{seen} the tone with {level:.0f} dBFS of noise that no two periods share",
            "bit clock edge",
            f"data change where they are taken: polarity, delay or ringing of the bit clock{run.wired('bit_clock')}",
        )
    errors = [20 * np.log10(max(each.level, 1e-9) / wanted) for each in figures]
    distorted = any(each.distortion > max(each.level, wanted) * _ratio(DISTORTION_LIMIT_DB) for each in figures)
    if distorted or any(abs(abs(error) - 6.02) < 1.0 for error in errors):
        detail = "distorted" if distorted else f"at {errors[0]:+.1f} dB"
        return StageFailed(
            f"{seen} the tone {detail}, alike in each period",
            "slot",
            "data begin a bit clock too early or too late: the converter's format (I2S, not left-justified), its "
            f"jumpers, the word clock{run.wired('word_clock')}",
        )
    if max(abs(error) for error in errors) > GAIN_TOLERANCE_DB:
        return StageFailed(
            f"{seen} the tone at {errors[0]:+.1f} and {errors[1]:+.1f} dB of what is due",
            "analog path",
            f"levels of the analog path, the cable{run.wired('cable')}",
        )
    return None


def _ratio(decibel: float) -> float:
    return float(10 ** (decibel / 20))


def _analog(run: _Run) -> str:
    form = _format(run)
    profile = run.connection.profile
    gain = abs(profile.analog.gain_q16) / 65536
    played = make_signal(TONE_PERIODS, form.valid_bits)
    data = pack_samples(played, form.valid_bits, form.container_bits)
    bench = run.board.bench
    tapped = bench.has("tap")
    if tapped:
        bench.tap_start()
    result = client.loopback(run.board, data, form, path="analog")
    _check_interrupted(result)
    tap = bench.tap_read() if tapped else None
    if tapped:
        bench.tap_stop()
    captured = unpack_samples(result.captured or b"", 2, form.valid_bits, form.container_bits)
    middle = captured[SETTLING_FRAMES:]
    figures = fold(middle, form.valid_bits)
    run.figures |= {
        "gain_db": [20 * float(np.log10(max(each.level, 1e-9) / AMPLITUDE)) for each in figures],
        "noise_dbfs": [20 * float(np.log10(max(each.noise, 1e-9))) for each in figures],
    }
    if result.underruns or result.overruns:
        text = f"{result.underruns} underruns, {result.overruns} overruns"
        raise StageFailed(text, "usb", "the bus is too slow: no hub, another socket")
    if all(each.constant for each in figures):
        raise _silent_adc(run, figures, None if tap is None else (len(tap.samples), tap.adc_frames))
    wanted = AMPLITUDE * gain
    if all(max(each.level, each.other) < wanted * _ratio(MISSING_DB) for each in figures):
        at_dac = tap is not None and bool(np.any(tap.samples))
        where = f"the cable between output and input{run.wired('cable')}"
        if not at_dac:
            where = (
                f"the data line and the clocks to the DAC{run.wired('dac_data', 'bit_clock', 'word_clock')}, or {where}"
            )
        text = "the ADC is alive, but hears nothing of the tone"
        raise StageFailed(text, "analog path" if at_dac or tap is None else "data line to the DAC", where)
    failed = _wrong_format(run, figures, gain, "the ADC hears")
    if failed is not None:
        raise failed
    gains = " and ".join(f"{value:+.2f}" for value in run.figures["gain_db"])
    noise = max(run.figures["noise_dbfs"])
    return f"both tones back through DAC, cable and ADC: gain {gains} dB, noise {noise:.0f} dBFS"


def _silent_adc(run: _Run, figures: list[ChannelFigures], tap: tuple[int, int | None] | None) -> StageFailed:
    """The FPGA sees one level on the ADC's data line. Probes at the converter's pins tell why, if there are any."""
    level = "high" if figures[0].value else "low"
    seen = f"the ADC's data line is always {level}"
    line = f"the data line from the ADC{run.wired('adc_data')}: broken, or shorted"
    power = f"the converter: its supply, its master clock{run.wired('master_clock')}, its jumpers"
    clocks = f"bit clock and word clock{run.wired('bit_clock', 'word_clock')}"
    if tap is None or tap[1] is None:
        order = [line, power, clocks] if level == "high" else [power, line, clocks]
        return StageFailed(seen, "converter", f"one of these, probe them in turn: {' / '.join(order)}")
    if not tap[0]:
        return _dead_clocks(run)
    if not tap[1]:
        return StageFailed(f"{seen}, and the ADC sends nothing, though its clocks run", "converter", power)
    return StageFailed(f"{seen}, though the ADC sends", "data line from the ADC", line)


@dataclass(frozen=True)
class _Stage:
    name: str
    question: str
    run: Callable[[_Run], str]
    needs: tuple[str, ...]
    limit_s: float
    """By the link's clock. Ten times what it takes on a board."""
    hint: str
    """Where to look if the board does not even answer."""


_BOARD_HINT = "the microcontroller: its console, its supply; then the serial link to the FPGA"
_STAGES = (
    _Stage(
        "find", "Is it on the bus, and may I open it?", _find, (), 10, "the cable, the USB socket, `codecrig doctor`"
    ),
    _Stage("identify", "Is it our firmware?", _identify, ("find",), 5, _BOARD_HINT),
    _Stage("load", "Does the FPGA run our design, this build?", _load, ("identify",), 20, "the FPGA and its supplies"),
    _Stage("link", "Do bits arrive as sent, to both chips?", _link_pattern, ("load",), 10, _SERIAL_HINT),
    _Stage("memory", "Does every bit of audio memory hold 0 and 1?", _memory, ("link",), 30, _SERIAL_HINT),
    _Stage("clocks", "Is the clock right by the host's?", _clocks, ("link",), 20, _BOARD_HINT),
    _Stage("events", "Do events come, in time?", _events, ("link",), 10, _BOARD_HINT),
    _Stage(
        "digital", "Does audio go round inside the FPGA, bit for bit?", _digital, ("memory", "events"), 30, _ENGINE_HINT
    ),
    _Stage("tone", "Does a tone reach the DAC?", _tone, ("digital",), 30, _ENGINE_HINT),
    _Stage("analog", "Does it come back through DAC, cable and ADC?", _analog, ("tone",), 30, _ENGINE_HINT),
)
STAGES = {stage.name: stage.question for stage in _STAGES}
"""The stages in their order, and the question that each asks."""
_ALWAYS = ("find", "identify", "load")


def selftest(find: Callable[[], Connection], settings: Settings | None = None) -> list[StageResult]:
    """Runs the stages on the board that `find` connects to; closes it. Only Ctrl-C comes out as an exception."""
    settings = settings or Settings()
    results: list[StageResult] = []
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        run = _Run(find, settings, stack)
        for stage in _STAGES:
            if settings.stages and stage.name not in (*_ALWAYS, *settings.stages):
                continue
            blocking = next((failed[each] for each in stage.needs if each in failed), None)
            if blocking is not None:
                failed[stage.name] = blocking
                result = StageResult(stage.name, "skipped", f"{blocking} failed")
            else:
                result = _run_stage(stage, run)
                if result.verdict == "failed":
                    failed[stage.name] = stage.name
            results.append(result)
            settings.on_result(result)
        if "load" not in failed:
            _leave_safe(run, results)
    return results


def _run_stage(stage: _Stage, run: _Run) -> StageResult:
    if stage.name == "analog" and "analog_loopback" not in run.connection.profile.features:
        return StageResult(stage.name, "skipped", "the profile lists no analog_loopback")
    run.figures = {}
    began = run.begin(stage.limit_s)
    result = StageResult(stage.name, "passed", "")
    try:
        result.text = stage.run(run)
    except StageFailed as failure:
        result = StageResult(stage.name, "failed", str(failure), failure.part, failure.hint)
    except (BoardError, LinkError, EnvironmentProblem, NtStatusError) as error:
        part = "serial link" if stage.name in ("memory", "clocks", "events") else "board"
        result = StageResult(stage.name, "failed", str(error), part, stage.hint)
    result.figures = run.figures
    if began:
        try:
            result.seconds = (run.link.host_time_ns() - began) / 1e9
        except LinkError:
            pass  # it is gone: that is what the stage says
    return result


def _leave_safe(run: _Run, results: list[StageResult]) -> None:
    """Closing the board stops what runs; if that fails the last stage says so."""
    if run._board is None:
        return
    try:
        run._board.close()
    except (BoardError, LinkError) as error:
        results[-1].text += f"; leaving the board safe failed: {error}"
