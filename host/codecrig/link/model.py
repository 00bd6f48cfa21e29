"""`ModelLink`: the Python model of a board as a link. No wire, no device, no wall clock.

Requests pass through the same encoding as on USB; time is virtual and flows only here. What an exchange costs is a
rough picture of a full-speed bus: `TRANSFER_TICKS` for each OUT transfer with its replies, and `BYTE_TICKS` a byte
of request and of reply. The same requests therefore give the same bytes, events and times on every machine.
"""

import base64
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from codecrig.link import Link, LinkError, Reply, Request
from codecrig.link.registers import Status
from codecrig.link.wire import HEADER_BYTES, Exchange, decode_header, encode_reply
from codecrig.model import BoardModel, CodecSettings
from codecrig.model.board import host_rate
from codecrig.model.midi import FRAME_TICKS as MIDI_BYTE_TICKS

TRANSFER_TICKS = 1229
"""100 us: an OUT transfer, the way through the bridge, and the first poll of the IN endpoint that finds data."""
BYTE_TICKS = 10
"""0.81 us a byte: 19 full packets of 64 bytes in a 1 ms frame."""
CLOCK_RATE = Fraction(12_288_000)
CABLE_FAULTS = ("none", "open", "stuck0", "stuck1", "swap")


class ModelLink(Link):
    """A link to a `BoardModel` of its own."""

    name = "model"

    def __init__(
        self,
        *,
        clock_ppm: float = 37.0,
        clock_rate: Fraction = CLOCK_RATE,
        frame_clocks: int = 256,
        codec: CodecSettings | None = None,
        serial: int = 1,
        bulk: bool = True,
    ) -> None:
        """`clock_ppm`: how much faster than nominal the board's clock runs by the host's. `bulk`: see `EngineModel`."""
        self.board = BoardModel(frame_clocks=frame_clocks, codec=codec, bulk=bulk, serial=serial)
        self.control = ModelControl(self.board, self)
        self.serial = f"{serial:016X}"
        self.exchanges = 0
        """Exchanges so far: how often a bus would have been turned round."""
        self.transferred_bytes = 0
        self._rate = host_rate(clock_rate, clock_ppm)
        self._sequence = 0
        self._closed = False

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        if self._closed:
            raise LinkError.of("an open link", "a closed one", "open the board again")
        exchange = Exchange(requests, self._sequence)
        self._sequence = (self._sequence + exchange.pieces) & 0xFFFF
        self.exchanges += 1
        for transfer in exchange.transfers:
            exchange.sent(transfer)
            self.board.pass_time(self.board.now_ticks + TRANSFER_TICKS)
            offset = 0
            for _ in transfer.pieces:
                header = decode_header(transfer.data, offset)
                payload_bytes = header.length if header.operation & 0x40 else 0
                request_bytes = HEADER_BYTES + payload_bytes
                self._cost(request_bytes)
                payload = transfer.data[offset + HEADER_BYTES : offset + request_bytes]
                offset += request_bytes
                status, data = self.board.answer(header.operation, header.address, header.length, payload)
                reply = encode_reply(header, status, data if status is Status.OK else b"")
                self._cost(len(reply))
                exchange.feed(reply)
        return exchange.replies()

    def host_time_ns(self) -> int:
        return int(self.board.now_ticks * 1_000_000_000 / self._rate)

    def close(self) -> None:
        self._closed = True

    def _cost(self, count_bytes: int) -> None:
        self.transferred_bytes += count_bytes
        self.board.pass_time(self.board.now_ticks + count_bytes * BYTE_TICKS)


class ModelControl:
    """The bench of the model: the operations of the twin's control channel that need no pins. Never moves time."""

    def __init__(self, board: BoardModel, link: ModelLink) -> None:
        self._board = board
        self._link = link

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One operation; {"ok": False, "error": text} if it is unknown or refused."""
        handler = getattr(self, f"_do_{operation}", None)
        if handler is None:
            known = sorted(name[4:] for name in dir(self) if name.startswith("_do_"))
            return {"ok": False, "error": f"operation {operation!r} is unknown; known: {', '.join(known)}"}
        try:
            return {"ok": True, **handler(**arguments)}
        except (TypeError, ValueError) as error:
            return {"ok": False, "error": f"{operation}: {error}"}

    def _do_host_time(self) -> dict[str, Any]:
        return {"ns": self._link.host_time_ns()}

    def _do_status(self) -> dict[str, Any]:
        return {
            "ticks": self._board.now_ticks,
            "host_ns": self._link.host_time_ns(),
            "cycles": 0,
            "sck_edges": 0,
            "codec_frames": self._board.analog.frames,
            "exchanges": self._link.exchanges,
            "transferred_bytes": self._link.transferred_bytes,
        }

    def _do_codec(self, **settings: Any) -> dict[str, Any]:
        before = self._board.analog.settings
        self._board.analog.configure(CodecSettings(**{**vars(before), **settings}))
        return vars(self._board.analog.settings)

    def _do_tap(self, action: str) -> dict[str, Any]:
        board = self._board
        if action == "start":
            board.tap = []
            return {}
        if action == "stop":
            board.tap = None
            return {}
        if action != "read":
            raise ValueError(f"action is {action!r}; accepted: start, stop, read")
        kept = board.tap or []
        samples = np.concatenate(kept) if kept else np.zeros((0, 2), dtype=np.int32)
        if board.tap is not None:
            board.tap = []
        data = base64.b64encode(np.ascontiguousarray(samples, dtype="<i4").tobytes()).decode("ascii")
        return {"tick": board.tap_first_ticks, "samples": data}

    def _do_inject(self, samples: str) -> dict[str, Any]:
        data = base64.b64decode(samples, validate=True)
        if len(data) % 8:
            raise ValueError(f"expected whole stereo frames of 8 bytes, found {len(data)} bytes")
        self._board.analog.inject(np.frombuffer(data, dtype="<i4").reshape(-1, 2).astype(np.int32))
        return {}

    def _do_trigger(self, level: bool | None = None) -> dict[str, Any]:
        trigger = self._board.trigger
        if level is not None:
            trigger.set_level_in(level, self._board.now_ticks)
        edges = trigger.out_edges
        return {"out": len(edges) % 2 == 1, "out_edges": list(edges)}

    def _do_midi(self, action: str = "read", **arguments: Any) -> dict[str, Any]:
        midi = self._board.midi
        if action == "loop":
            midi.looped = bool(arguments["connected"])
            return {}
        if action == "send":
            data = base64.b64decode(arguments["bytes"], validate=True)
            midi.arrive(data, max(arguments.get("tick", 0), self._board.now_ticks))
            return {"pending": midi.pending}
        if action != "read":
            raise ValueError(f"action is {action!r}; accepted: read, send, loop")
        whole = [sent for sent in midi.sent if sent[0] + MIDI_BYTE_TICKS <= self._board.now_ticks]
        del midi.sent[: len(whole)]
        values = base64.b64encode(bytes(value for _, value in whole)).decode("ascii")
        return {"bytes": values, "ticks": [ticks for ticks, _ in whole], "broken": [], "pending": midi.pending}

    def _do_spdif(self, action: str = "read") -> dict[str, Any]:
        spdif = self._board.spdif
        if action in ("start", "stop"):
            spdif.tap = [] if action == "start" else None
            return {}
        if action != "read":
            raise ValueError(f"action is {action!r}; accepted: start, stop, read")
        kept = spdif.tap or []
        samples = np.concatenate([frames for _, frames, _ in kept]) if kept else np.zeros((0, 2), dtype=np.int32)
        flags = np.concatenate([flags for _, _, flags in kept]) if kept else np.zeros(0, dtype=np.uint8)
        running = spdif.tap is not None
        if running:
            spdif.tap = []
        return {
            "samples": base64.b64encode(np.ascontiguousarray(samples, dtype="<i4").tobytes()).decode("ascii"),
            "flags": base64.b64encode(flags.tobytes()).decode("ascii"),
            "tick": kept[0][0] if kept else 0,
            "errors": 0,
            "half_cell_ticks": self._board.frame_clocks // 128 if kept else 0,
            "running": running,
        }

    def _do_cable(self, fault: str) -> dict[str, Any]:
        if fault not in CABLE_FAULTS:
            raise ValueError(f"fault is {fault!r}; accepted: {', '.join(CABLE_FAULTS)}")
        self._board.analog.fault = fault
        return {}

    def _do_memory_stall(self, ticks: int) -> dict[str, Any]:
        """The engine gets no answer from memory for `ticks` from now on."""
        self._board.memory_stalled_until_ticks = self._board.now_ticks + ticks
        return {}
