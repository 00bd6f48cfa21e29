"""One stream of any wave model, opened and fed, so that the rules of all models can be judged alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from codecrig.contract.rig import Model, Rig
from codecrig.contract.watch import unwrap
from codecrig.portcls import KSSTATE, PAGE_BYTES, Format

BUFFER_MS = 40
"""Length of the cyclic buffers: two packets of 20 ms, what `play` and `record` use too."""


class ModelStream(ABC):
    """A pin of one model, in STOP, with everything it needs to run."""

    model: Model
    buffer_bytes: int | None = None
    """Positions wrap here; None: they do not wrap."""

    def __init__(self, rig: Rig, *, capture: bool, data_format: Format | None = None) -> None:
        self.rig = rig
        self.capture = capture
        self.format = data_format or rig.formats[0]
        self.number = int(capture)
        """The engine's stream behind the pin."""
        self.port = rig.port(self.model)
        self.pin = self.open_pin()
        created = rig.trace.of("new_stream", caller="port")[-1].result
        self.real = unwrap(getattr(created, "Stream", created))
        """The miniport's stream itself, for defects and counts."""
        self.stream = rig.trace.wrap(self.real, "port")
        """The stream as the port sees it."""

    @abstractmethod
    def open_pin(self) -> Any:
        """Open the pin of the port."""

    @abstractmethod
    def position_bytes(self) -> int:
        """What GetPosition of the stream says is converted, in bytes: unwrapped or modulo `buffer_bytes`."""

    @abstractmethod
    def captured(self, moved_bytes: int) -> bytes:
        """The first `moved_bytes` bytes captured, as far as they are still there."""

    def set_state(self, state: KSSTATE) -> None:
        """As a client asks for it."""
        self.pin.set_state(state)

    @property
    def state(self) -> KSSTATE:
        """The state that the port reports."""
        return KSSTATE(self.pin.state)

    @property
    def ladder(self) -> list[KSSTATE]:
        """The states that the port has asked the stream for, in order."""
        calls = self.rig.trace.of("set_state", caller="port", target=self.real)
        return [KSSTATE(call.arguments[0]) for call in calls]


class WaveRTModel(ModelStream):
    """A WaveRT pin with a notification buffer of two packets."""

    model = "wavert"

    def open_pin(self) -> Any:
        packet_bytes = self.format.sample_rate * BUFFER_MS // 2000 * self.format.block_bytes
        self.buffer_bytes = 2 * packet_bytes
        return self.port.open_pin(int(self.capture), self.capture, self.format, packet_bytes=packet_bytes)

    def position_bytes(self) -> int:
        return int(self.stream.get_position().PlayOffset)

    def captured(self, moved_bytes: int) -> bytes:
        return bytes(self.pin.buffer.read(0, min(moved_bytes, self.buffer_bytes or 0)))


class WaveCyclicModel(ModelStream):
    """A WaveCyclic pin; render plays silence."""

    model = "wavecyclic"

    def open_pin(self) -> Any:
        pin = self.port.open_pin(int(self.capture), self.capture, self.format)
        channel = self.rig.trace.of("new_stream", caller="port")[-1].result.DmaChannel
        self.buffer_bytes = channel.buffer_size()
        return pin

    def position_bytes(self) -> int:
        return int(self.stream.get_position())

    def captured(self, moved_bytes: int) -> bytes:
        channel = unwrap(self.rig.trace.of("new_stream", caller="port")[-1].result.DmaChannel)
        return bytes(channel.system_address().read(0, min(moved_bytes, self.buffer_bytes or 0)))


class WavePciModel(ModelStream):
    """A WavePci pin with packets for a quarter of a second, cut so that frames are split across them."""

    model = "wavepci"

    def open_pin(self) -> Any:
        pin = self.port.open_pin(int(self.capture), self.capture, self.format)
        packet_bytes = min(self.format.bytes_per_second // 20, 3 * PAGE_BYTES) - 1
        self.packets = [
            pin.submit_empty(packet_bytes) if self.capture else pin.submit(bytes(packet_bytes)) for _ in range(5)
        ]
        return pin

    def position_bytes(self) -> int:
        return int(self.stream.get_position())

    def captured(self, moved_bytes: int) -> bytes:
        return b"".join(packet.view.read(0, packet.extent_bytes) for packet in self.packets)[:moved_bytes]


MODELS: tuple[type[ModelStream], ...] = (WaveRTModel, WaveCyclicModel, WavePciModel)
"""In the order in which checks of all models go through them."""
