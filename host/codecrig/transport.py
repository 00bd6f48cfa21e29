"""How a run's audio gets to and from a pin: a render and a capture side for each stream model, over its port.

A run opens the sides, prepares render in PAUSE, sets the states, and serves a side each time its pin's event was set.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from codecrig.board import Board, BoardSystem, Snapshot
from codecrig.miniport import MiniportWaveCyclic, MiniportWavePci, MiniportWaveRT
from codecrig.miniport.engine import CAPTURE_PIN, RENDER_PIN
from codecrig.port import (
    PortWaveCyclic,
    PortWavePci,
    PortWaveRT,
    WaveCyclicPin,
    WavePciPacket,
    WavePciPin,
    WaveRTPin,
)
from codecrig.portcls import NTSTATUS, Format, NtStatusError

StreamModel = Literal["wavert", "wavecyclic", "wavepci"]
"""Which of Windows' stream models moves the audio."""
STREAM_MODELS: tuple[StreamModel, ...] = get_args(StreamModel)

QUEUED_PACKETS = 2
"""WaveCyclic: packets that a run keeps queued at the port."""
CLIENT_PACKETS = 3
"""WavePci: packets of a run in each direction; 24 of 31 pages at 96 kHz, 32 bits, stereo."""


def silence(data_format: Format, byte_count: int) -> bytes:
    """Bytes that a stream of the format plays as silence."""
    return (b"\x80" if data_format.container_bits == 8 else b"\0") * byte_count


class RenderSide(ABC):
    """Plays the data of a run."""

    pin: Any

    @property
    @abstractmethod
    def late_packets(self) -> int:
        """Packets that came too late."""

    @abstractmethod
    def prepare(self) -> None:
        """The pin is in PAUSE."""

    @abstractmethod
    def started(self) -> None:
        """The pin has just gone to RUN."""

    @abstractmethod
    def serve(self) -> None:
        """The pin's event was set: hand over what there is room for."""


class CaptureSide(ABC):
    """Gets the data of a run."""

    pin: Any
    late_packets: int = 0
    """Packets that were lost because they were read too late."""

    @abstractmethod
    def serve(self) -> Iterator[bytes]:
        """The pin's event was set: what was captured meanwhile."""


class WaveRTRender(RenderSide):
    """Writes the data packet by packet, and silence behind it."""

    def __init__(self, port: PortWaveRT, data_format: Format, packet_bytes: int, data: bytes) -> None:
        self.pin: WaveRTPin = port.open_pin(RENDER_PIN, False, data_format, packet_bytes=packet_bytes)
        self._format = data_format
        self._packet_bytes = packet_bytes
        self._data = data
        self._written_bytes = 0
        self._silent_packets = 0
        self._late_packets = 0

    @property
    def late_packets(self) -> int:
        return self._late_packets

    def prepare(self) -> None:
        self.serve()

    def started(self) -> None:
        self.serve()

    def serve(self) -> None:
        data = self._data[self._written_bytes : self._written_bytes + self._packet_bytes]
        if not data:  # silence until every place holds it
            if self._silent_packets == self.pin.packets:
                return
            self._silent_packets += 1
        packet = data + silence(self._format, self._packet_bytes - len(data))
        for _ in range(2):
            try:
                self.pin.write_packet(packet)
                break
            except NtStatusError as error:
                if error.status is not NTSTATUS.DATA_LATE_ERROR:
                    raise
                self._late_packets += max(1, self.pin.resynchronise())
        self._written_bytes += len(data)


class WaveRTCapture(CaptureSide):
    """Reads every packet that is complete and intact."""

    def __init__(
        self, port: PortWaveRT, data_format: Format, packet_bytes: int, sample: Callable[[], Snapshot]
    ) -> None:
        """`sample` takes the position of the stream."""
        self.pin: WaveRTPin = port.open_pin(CAPTURE_PIN, True, data_format, packet_bytes=packet_bytes)
        self._packet_bytes = packet_bytes
        self._sample = sample
        self._expected_packet = 0

    def serve(self) -> Iterator[bytes]:
        more = True
        while more:
            try:
                packet, data = self.pin.read_packet()
            except NtStatusError as error:
                if error.status is not NTSTATUS.DEVICE_NOT_READY:
                    raise
                return
            number = packet.PacketNumber
            self.late_packets += number - self._expected_packet
            # Packet `number` is overwritten when the engine begins with the one that has the same place.
            if self._sample().bytes > (number + self.pin.packets) * self._packet_bytes:
                self.late_packets += 1
            self._expected_packet = number + 1
            yield data
            more = packet.MoreData


class WaveCyclicRender(RenderSide):
    """Keeps data queued at the port, which puts silence behind it."""

    def __init__(self, port: PortWaveCyclic, data_format: Format, packet_bytes: int, data: bytes) -> None:
        self.pin: WaveCyclicPin = port.open_pin(RENDER_PIN, False, data_format)
        self._packet_bytes = packet_bytes
        self._data = data
        self._written_bytes = 0

    @property
    def late_packets(self) -> int:
        return self.pin.gaps

    def prepare(self) -> None:
        # What the port copies at RUN, and as much again.
        self._queue(self.pin.ahead_bytes + QUEUED_PACKETS * self._packet_bytes)

    def started(self) -> None:
        pass

    def serve(self) -> None:
        self._queue(QUEUED_PACKETS * self._packet_bytes)

    def _queue(self, wanted_bytes: int) -> None:
        while self.pin.queued_bytes < wanted_bytes and self._written_bytes < len(self._data):
            data = self._data[self._written_bytes : self._written_bytes + self._packet_bytes]
            self.pin.write(data)
            self._written_bytes += len(data)


class WaveCyclicCapture(CaptureSide):
    """Takes what the port has copied."""

    def __init__(self, port: PortWaveCyclic, data_format: Format, sample: Callable[[], Snapshot]) -> None:
        self.pin: WaveCyclicPin = port.open_pin(CAPTURE_PIN, True, data_format)
        self._sample = sample

    def serve(self) -> Iterator[bytes]:
        self._sample()
        self.late_packets = self.pin.gaps
        yield self.pin.read()


class WavePciRender(RenderSide):
    """Keeps packets of data at the port, and packets of silence behind it."""

    def __init__(self, port: PortWavePci, data_format: Format, packet_bytes: int, data: bytes) -> None:
        self.pin: WavePciPin = port.open_pin(RENDER_PIN, False, data_format)
        self._format = data_format
        self._packet_bytes = packet_bytes
        self._data = data
        self._written_bytes = 0
        self._packets: deque[WavePciPacket] = deque()
        self._late_packets = 0

    @property
    def late_packets(self) -> int:
        return self._late_packets

    def prepare(self) -> None:
        while len(self._packets) < CLIENT_PACKETS:
            self._submit()

    def started(self) -> None:
        pass

    def serve(self) -> None:
        if not any(packet.pending for packet in self._packets):
            self._late_packets += 1
        while self._packets and not self._packets[0].pending:
            self._packets.popleft().free()
            self._submit()

    def _submit(self) -> None:
        data = self._data[self._written_bytes : self._written_bytes + self._packet_bytes]
        packet = data + silence(self._format, self._packet_bytes - len(data))
        self._packets.append(self.pin.submit(packet))
        self._written_bytes += len(data)


class WavePciCapture(CaptureSide):
    """Keeps empty packets at the port, and takes them when they are full."""

    def __init__(
        self, port: PortWavePci, data_format: Format, packet_bytes: int, sample: Callable[[], Snapshot]
    ) -> None:
        self.pin: WavePciPin = port.open_pin(CAPTURE_PIN, True, data_format)
        self._packet_bytes = packet_bytes
        self._sample = sample
        self._packets = deque(self.pin.submit_empty(packet_bytes) for _ in range(CLIENT_PACKETS))

    def serve(self) -> Iterator[bytes]:
        self._sample()
        if not any(packet.pending for packet in self._packets):
            self.late_packets += 1
        while not self._packets[0].pending:
            full = self._packets.popleft()
            data = full.read()
            full.free()
            self._packets.append(self.pin.submit_empty(self._packet_bytes))
            yield data


class Transport:
    """A port over the miniport of one model, in a `with` block, and its sides."""

    def __init__(self, model: StreamModel, board: Board) -> None:
        self._model = model
        self.port: Any
        if model == "wavert":
            self.port = PortWaveRT(MiniportWaveRT(board), BoardSystem(board))
        elif model == "wavecyclic":
            self.port = PortWaveCyclic(MiniportWaveCyclic(board), BoardSystem(board))
        elif model == "wavepci":
            self.port = PortWavePci(MiniportWavePci(board), BoardSystem(board))
        else:
            raise ValueError(f"expected a stream model, one of {', '.join(STREAM_MODELS)}; found {model!r}")

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *problem: Any) -> None:
        self.port.__exit__(*problem)

    def render(self, data_format: Format, packet_bytes: int, data: bytes) -> RenderSide:
        """A stopped render pin that will play `data`."""
        kinds: dict[str, type[WaveRTRender | WaveCyclicRender | WavePciRender]] = {
            "wavert": WaveRTRender,
            "wavecyclic": WaveCyclicRender,
            "wavepci": WavePciRender,
        }
        return kinds[self._model](self.port, data_format, packet_bytes, data)

    def capture(self, data_format: Format, packet_bytes: int, sample: Callable[[], Snapshot]) -> CaptureSide:
        """A stopped capture pin."""
        if self._model == "wavert":
            return WaveRTCapture(self.port, data_format, packet_bytes, sample)
        if self._model == "wavepci":
            return WavePciCapture(self.port, data_format, packet_bytes, sample)
        return WaveCyclicCapture(self.port, data_format, sample)
