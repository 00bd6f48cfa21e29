"""What the firmware costs and carries, measured on a simulated board: the figures of docs/firmware.md.

    python firmware/measure.py [--board NAME] [--seconds S]

Prints Markdown. The board is `twin-rp2040` if none is named: the binary that is flashed, in the emulator, whose cycle
counts are estimates. On `twin` the firmware takes no time: what is left is the bus and the serial link. Delays are
board time, throughput is by the simulated host's clock; neither depends on the machine.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from codecrig import client
from codecrig.board import Board, EventRecord, open_board
from codecrig.link import Link, Reply, Request
from codecrig.link import registers as regs
from codecrig.link.usb import UsbLink
from codecrig.portcls import Format

CLOCK_HZ = 61_440_000  # of the microcontroller
BUS_BYTES_PER_S = 1_216_000  # 19 packets of 64 bytes in each of 1000 frames
REQUEST_BYTES = 4096
CONSOLE_TIMEOUT_MS = 10_000  # wall clock
# From the event in the FPGA until its record is at the host, and until the host's answer to it has been carried out.
LATENCY_LIMIT_MS = 2.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Data through the bridge for a while."""

    name: str
    seconds: float
    frames: int
    out_bytes: int
    in_bytes: int
    out_packets: int
    in_packets: int
    out_naks: int
    in_naks: int
    bus_busy: float  # share of bus time with packets that were taken
    cycles_awake: int | None
    payload: int = 0  # of the requests: audio memory, or audio

    @property
    def out_rate(self) -> float:
        return self.out_bytes / self.seconds

    @property
    def in_rate(self) -> float:
        return self.in_bytes / self.seconds

    @property
    def cycles_per_packet(self) -> float | None:
        """All that the processor did, interrupts and looks at idle endpoints included, over packets with data."""
        if self.cycles_awake is None:
            return None
        full = (self.out_bytes + self.in_bytes) / 64
        return self.cycles_awake / full

    @property
    def load(self) -> float | None:
        return None if self.cycles_awake is None else self.cycles_awake / (self.seconds * CLOCK_HZ)


def flow(board: Board, name: str, run: Callable[[], int]) -> Flow:
    """Counts what `run` moves; it returns bytes of payload."""
    before = board.bench.statistics()
    payload = run()
    after = board.bench.statistics()
    usb = {key: after["usb"][key] - before["usb"][key] for key in after["usb"]}
    mcu = after.get("microcontroller")
    return Flow(
        name=name,
        seconds=(after["host_ns"] - before["host_ns"]) / 1e9,
        frames=usb["frames"],
        out_bytes=usb["out_bytes"],
        in_bytes=usb["in_bytes"],
        out_packets=usb["out_packets"],
        in_packets=usb["in_packets"],
        out_naks=usb["out_naks"],
        in_naks=usb["in_naks"],
        bus_busy=usb["busy_units"] / usb["total_units"],
        cycles_awake=None if mcu is None else mcu["cycles_awake"] - before["microcontroller"]["cycles_awake"],
        payload=payload,
    )


def throughput(board: Board, total_bytes: int = 262_144) -> list[Flow]:
    """Audio memory written, read, and both in turn, in requests of 4 KiB."""
    count = total_bytes // REQUEST_BYTES
    data = random.Random(1).randbytes(REQUEST_BYTES)
    writes = [Request.write(index % 16 * REQUEST_BYTES, data) for index in range(count)]
    reads = [Request.read(index % 16 * REQUEST_BYTES, REQUEST_BYTES) for index in range(count)]
    both = [request for pair in zip(writes[::2], reads[::2], strict=True) for request in pair]

    def exchange(requests: Sequence[Request]) -> Callable[[], int]:
        def run() -> int:
            board.transact(requests)
            return REQUEST_BYTES * len(requests)

        return run

    return [
        flow(board, "out: audio memory written", exchange(writes)),
        flow(board, "in: audio memory read", exchange(reads)),
        flow(board, "both in turn", exchange(both)),
    ]


def throughput_listening(board: Board, total_bytes: int = 262_144) -> list[Flow]:
    """Audio memory written and read through a view, while somebody wants to hear of events."""
    view = board.memory_view(0, 65536)
    data = random.Random(4).randbytes(5760)  # 20 ms of 48 kHz stereo of 24 bits
    spans = range(0, total_bytes, len(data))

    def write() -> int:
        for span in spans:
            view.write(span % 49152, data)
        return len(data) * len(spans)

    def read() -> int:
        for span in spans:
            view.read(span % 49152, len(data))
        return len(data) * len(spans)

    unsubscribe = board.events.subscribe(None, lambda record: None)
    try:
        return [
            flow(board, "out, events are heard meanwhile", write),
            flow(board, "in, events are heard meanwhile", read),
        ]
    finally:
        unsubscribe()


class AnswerWatch(Link):
    """A link that notes when each of a board's event records was taken, and when the host's answer was carried out.

    The answer is the write of EVENT_CONSUMER, behind those that clear the causes.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._link = board.link
        self._waiting: list[EventRecord] = []
        self.name, self.serial = self._link.name, self._link.serial
        self.at_host: list[float] = []
        self.answered: list[float] = []
        board.link = self
        self._unsubscribe = board.events.subscribe(None, self._note)

    def _age_ms(self, record: EventRecord) -> float:
        return ticks_to_ms(self._board.bench.statistics()["ticks"] - record.time_ticks)

    def _note(self, record: EventRecord) -> None:
        self._waiting.append(record)
        self.at_host.append(self._age_ms(record))

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        # What comes behind the answer has nothing to do with it, and may be a WAIT: so the answer goes alone.
        answers = [index for index, each in enumerate(requests) if self._is_answer(each)]
        behind = answers[0] + 1 if answers else 0
        replies: list[Reply] = []
        for part in (requests[:behind], requests[behind:]):
            if part:
                replies += self._link.exchange(part)
                self._note_answers(part)
        return replies

    @staticmethod
    def _is_answer(request: Request) -> bool:
        return request.address == regs.FPGA_EVENT_CONSUMER and bool(request.data)

    def _note_answers(self, requests: Sequence[Request]) -> None:
        if any(map(self._is_answer, requests)):
            self.answered += map(self._age_ms, self._waiting)
            self._waiting.clear()

    def send(self, requests: Sequence[Request]) -> None:
        self._link.send(requests)
        self._ahead.append(requests)

    def receive(self) -> list[Reply]:
        replies = self._link.receive()
        self._note_answers(self._ahead.popleft())
        return replies

    def host_time_ns(self) -> int:
        return self._link.host_time_ns()

    def close(self) -> None:
        """Give the board its own link back."""
        self._unsubscribe()
        self._board.link = self._link


def stream(board: Board, seconds: float, bits: int) -> Flow:
    """48 kHz stereo both ways through WaveRT; must come back bit for bit."""
    form = Format(48000, 2, bits)
    data = random.Random(2).randbytes(round(seconds * 48000) * form.block_bytes)
    if bits == 32:  # of which 24 count
        data = b"".join(b"\0" + data[at + 1 : at + 4] for at in range(0, len(data), 4))

    def run() -> int:
        result = client.loopback(board, data, form, tail_frames=100)
        captured = result.captured or b""
        lead = captured.index(data[: 64 * form.block_bytes])
        if captured[lead : lead + len(data)] != data or result.underruns or result.overruns:
            raise SystemExit(f"error: {bits}-bit loopback on {board.profile.name} lost or changed something")
        return 2 * len(data)

    return flow(board, f"48 kHz stereo {bits} bit both ways", run)


def stream_latency(board: Board, seconds: float, bits: int) -> tuple[list[float], list[float]]:
    """Delays in ms of the events of such streams: record at the host; its answer carried out."""
    with AnswerWatch(board) as watch:
        stream(board, seconds, bits)
    return watch.at_host, watch.answered


def ticks_to_ms(ticks: int) -> float:
    return ticks / (256 * 48.0)


def latency(board: Board, events: int = 300) -> tuple[list[float], list[float]]:
    """Delays in ms of timer events at random moments, the host waiting: record at the host; its answer carried out."""
    at_host: list[float] = []
    answered: list[float] = []
    moments = random.Random(3)
    seen: list[EventRecord] = []
    unsubscribe = board.events.subscribe(None, seen.append)
    enable = board.read_register(regs.FPGA_EVENT_ENABLE)
    board.write_register(regs.FPGA_EVENT_ENABLE, enable | 1)
    for _ in range(events):
        board.poll()
        due = board.events.time_ticks + moments.randrange(24_000, 60_000)
        board.write_register(regs.FPGA_ALARM_TIME, due & 0xFFFF_FFFF)
        board.write_register(regs.FPGA_ALARM_CONTROL, 1)
        seen.clear()
        while not seen:
            board.pump(due + 1_000_000)
        at_host.append(ticks_to_ms(board.bench.statistics()["ticks"] - seen[0].time_ticks))
        board.events.acknowledge()
        answered.append(ticks_to_ms(board.bench.statistics()["ticks"] - seen[0].time_ticks))
    unsubscribe()
    board.write_register(regs.FPGA_EVENT_ENABLE, enable)
    return at_host, answered


def deepest_calls(board: Board) -> None:
    """What takes the most stack: every command of the console, log lines, refused requests, control transfers."""
    link = board.link
    assert isinstance(link, UsbLink)
    device = link._device
    device.ctrl_transfer(0x21, 0x22, 1, 1)  # a terminal listens
    for command in ("help", "version", "log debug", "counters", "nonsense", "log off"):
        device.write(0x03, f"{command}\r\n".encode())
        device.read(0x83, 1024, CONSOLE_TIMEOUT_MS)
        board.link.exchange([Request.read(0x9000_0000, 4), Request.read(regs.FPGA_ID, 4)])
    for kind, length in ((1, 18), (2, 255), (0x0303, 64), (15, 64)):
        device.ctrl_transfer(0x80, 6, kind if kind > 255 else kind << 8, 0, length)
    device.ctrl_transfer(0xC0, 0x20, 0, 7, 178)


def share_within(delays_ms: Sequence[float], limit_ms: float = LATENCY_LIMIT_MS) -> float:
    return sum(delay <= limit_ms for delay in delays_ms) / len(delays_ms)


def quantile(delays_ms: Sequence[float], share: float) -> float:
    return sorted(delays_ms)[min(len(delays_ms) - 1, int(share * len(delays_ms)))]


def print_flows(flows: Sequence[Flow]) -> None:
    columns = "Load,MB/s out,MB/s in,Bus busy,Frames,Packets out / NAKs,In / NAKs,Cycles a packet,CPU".split(",")
    print(f"| {' | '.join(columns)} |")
    print("| --- " * len(columns) + "|")
    for one in flows:
        cycles, load = one.cycles_per_packet, one.load
        print(
            f"| {one.name} | {one.out_rate / 1e6:.3f} | {one.in_rate / 1e6:.3f} | {one.bus_busy:.1%} | {one.frames} "
            f"| {one.out_packets} / {one.out_naks} | {one.in_packets} / {one.in_naks} "
            f"| {'-' if cycles is None else f'{cycles:.0f}'} | {'-' if load is None else f'{load:.0%}'} |"
        )


def print_delays(rows: Sequence[tuple[str, Sequence[float]]]) -> None:
    print("| Delay in ms | Events | Least | Median | 90 % | 99 % | Most | Within 2 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, delays in rows:
        parts = " | ".join(f"{quantile(delays, share):.2f}" for share in (0, 0.5, 0.9, 0.99))
        print(f"| {name} | {len(delays)} | {parts} | {max(delays):.2f} | {share_within(delays):.1%} |")


def main() -> int:
    parser = argparse.ArgumentParser(description="Figures of docs/firmware.md.")
    parser.add_argument("--board", default="twin-rp2040")
    parser.add_argument("--seconds", type=float, default=1.0, help="audio for the streams")
    options = parser.parse_args()
    with open_board(options.board) as board:
        deepest_calls(board)
        flows = throughput(board) + throughput_listening(board)
        at_host, answered = latency(board)
        flows.append(stream(board, options.seconds, 24))
        flows.append(stream(board, options.seconds, 32))
        loaded = stream_latency(board, options.seconds, 24)
        print_flows(flows)
        print()
        print_delays(
            [
                ("timer event, its record at the host", at_host),
                ("the same, host's answer carried out", answered),
                ("24 bit stream both ways: any event, its record at the host", loaded[0]),
                ("the same, host's answer carried out", loaded[1]),
            ]
        )
        mcu: dict[str, Any] | None = board.bench.statistics().get("microcontroller")
        if mcu is not None:
            print(f"\nStack: {mcu['stack_used']} of {mcu['stack_bytes']} bytes used.")
            print(f"Sequence errors: {mcu['sequence_errors']}, overflows: {mcu['overflows']}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
