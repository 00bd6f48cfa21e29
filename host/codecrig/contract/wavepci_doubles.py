"""What stands for one side of WavePci while the other is judged.

`ScriptedMiniport` does what a check tells it, to judge ports. `WavePciBench` drives a miniport with any pieces of
memory in place of a port's packets, and notices what the miniport does wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codecrig.contract.rig import Rig
from codecrig.link.registers import InputSelect
from codecrig.port.dma import DmaChannel
from codecrig.port.pages import PageAllocator
from codecrig.port.service import ServiceGroup
from codecrig.portcls import (
    IRQL,
    KSALLOCATOR_FRAMING,
    KSSTATE,
    NTSTATUS,
    POOL_TYPE_NON_PAGED,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IMiniportWavePci,
    IMiniportWavePciStream,
    IPortWavePci,
    IPortWavePciStream,
    IPreFetchOffset,
    IServiceGroup,
    IServiceSink,
    IUnknown,
    Mapping,
    NewWavePciStream,
    NtStatusError,
    ResourceList,
    SpinLock,
    System,
)


@dataclass(frozen=True, slots=True)
class Noted:
    """A call that the port made."""

    method: str
    arguments: tuple[object, ...]
    level: IRQL
    state: KSSTATE
    """Of the stream, when it was made."""


@dataclass(frozen=True, slots=True)
class Held:
    """A mapping that the stream holds."""

    tag: int
    mapping: Mapping


class ScriptedStream(IMiniportWavePciStream):
    """Writes down what the port calls, and takes and releases mappings when told."""

    def __init__(self, system: System, port_stream: IPortWavePciStream, group: IServiceGroup | None) -> None:
        self.system = system
        self.port_stream = port_stream
        self.group = group
        self.noted: list[Noted] = []
        self.held: list[Held] = []
        self.state = KSSTATE.STOP
        self.position = 0
        self.refused_states: set[KSSTATE] = set()
        """SetState fails for these."""
        self.on_service: Callable[[], None] | None = None
        self.on_revoke: Callable[[], None] | None = None
        """Called inside RevokeMappings, before anything is dropped."""
        self.revoke_is_refused = False
        self._next_tag = 0x1000
        port_stream.add_ref()

    def destroy(self) -> None:
        self.port_stream.release()
        if self.group is not None:
            self.group.release()

    def _note(self, method: str, *arguments: object) -> None:
        self.noted.append(Noted(method, arguments, self.system.level, self.state))

    def calls(self, method: str) -> list[Noted]:
        """The calls of `method`."""
        return [each for each in self.noted if each.method == method]

    # ------------------------------------------------------------------ what a check tells it

    def take(self, tag: int | None = None) -> Mapping | None:
        """Acquire a mapping; None if the port has none."""
        if tag is None:
            tag = self._next_tag
            self._next_tag += 0x10
        try:
            mapping = self.port_stream.get_mapping(tag)
        except NtStatusError as error:
            if error.status is not NTSTATUS.NOT_FOUND:
                raise
            return None
        self.held.append(Held(tag, mapping))
        return mapping

    def take_all(self, most: int = 64) -> list[Mapping]:
        """Acquire until refused."""
        taken: list[Mapping] = []
        while len(taken) < most and (mapping := self.take()) is not None:
            taken.append(mapping)
        return taken

    def give(self, index: int = 0) -> None:
        """Release a mapping: the oldest."""
        self.port_stream.release_mapping(self.held.pop(index).tag)

    # ------------------------------------------------------------------ IMiniportWavePciStream

    def set_format(self, data_format: Format) -> NTSTATUS:
        self._note("set_format", data_format)
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        self._note("set_state", state)
        if state in self.refused_states:
            raise NtStatusError(NTSTATUS.IO_DEVICE_ERROR, "as the check wants")
        self.state = state
        if state is KSSTATE.STOP:
            self.position = 0
        return NTSTATUS.SUCCESS

    def get_position(self) -> int:
        self._note("get_position")
        return self.position

    def normalize_physical_position(self, physical_position: int) -> int:
        return physical_position * REFERENCE_TIME_PER_SECOND // 192_000

    def get_allocator_framing(self) -> KSALLOCATOR_FRAMING:
        return KSALLOCATOR_FRAMING(0, 0x80000002, POOL_TYPE_NON_PAGED, 8, 1920, 3)

    def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
        self._note("revoke_mappings", first_tag, last_tag)
        if self.on_revoke is not None:
            self.on_revoke()
        tags = [each.tag for each in self.held]
        if self.revoke_is_refused:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "as the check wants")
        first = tags.index(first_tag) if first_tag in tags else 0
        end = len(tags) - tags[::-1].index(last_tag) if last_tag in tags else 0
        count = max(0, end - first)
        del self.held[first : first + count]
        return count

    def mapping_available(self) -> None:
        self._note("mapping_available")

    def service(self) -> None:
        self._note("service")
        if self.on_service is not None:
            self.on_service()


@dataclass
class Script:
    """How the scripted miniport is built."""

    stream_group: bool = True
    """Its streams have a service group."""
    init_group: bool = False
    """Init returns a service group."""
    streams: list[ScriptedStream] = field(default_factory=list)


class ScriptedMiniport(IMiniportWavePci):
    """Makes scripted streams on any pin and format."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.services: list[IRQL] = []
        """Level of each call of Service."""
        self.init_group: IServiceGroup | None = None
        self.port: IPortWavePci | None = None
        self.channel: IDmaChannel | None = None

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWavePci
    ) -> IServiceGroup | None:
        port.add_ref()
        self.port = port
        self.channel = port.new_master_dma_channel(None, 4096, True, False)
        if self.script.init_group:
            self.init_group = port.new_service_group()
            self.init_group.add_ref()
        return self.init_group

    def destroy(self) -> None:
        for held in (self.init_group, self.channel, self.port):
            if held is not None:
                held.release()
        self.port = None

    def new_stream(
        self, port_stream: IPortWavePciStream, pin: int, capture: bool, data_format: Format
    ) -> NewWavePciStream:
        assert self.port is not None, "no stream without init"
        group = self.port.new_service_group() if self.script.stream_group else None
        if group is not None:
            group.add_ref()
        stream = ScriptedStream(self.port.system, port_stream, group)
        self.script.streams.append(stream)
        return NewWavePciStream(stream, self.channel, group)

    def service(self) -> None:
        assert self.port is not None, "no service without init"
        self.services.append(self.port.system.level)


# ---------------------------------------------------------------------- in place of a port


@dataclass(frozen=True, slots=True)
class Piece:
    """A mapping to be handed out: bytes of audio memory."""

    address: int
    length: int
    last: bool = False
    """Of its packet."""


class PortStreamDouble(IPortWavePciStream, IPreFetchOffset):
    """Hands out the pieces that it is given, and writes down what the miniport does wrong."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.waiting: deque[Piece] = deque()
        self.looped = False
        """What was handed out comes again."""
        self.acquired: list[tuple[int, Piece]] = []
        self.held: list[tuple[int, Piece]] = []
        self.released: list[tuple[int, Piece]] = []
        self.faults: list[str] = []
        self.refused = False
        self.inside_get: Callable[[int], None] | None = None
        """Called inside GetMapping, when the piece has been given."""
        self.inside_release: Callable[[int], None] | None = None
        self.on_release: Callable[[Piece], None] | None = None

    def _enter(self, method: str) -> None:
        if SpinLock.held:
            self.faults.append(f"{method} under a lock")
        if self._rig.system.level > IRQL.DISPATCH:
            self.faults.append(f"{method} in {self._rig.system.level.words} context")

    def get_mapping(self, tag: int) -> Mapping:
        self._enter("GetMapping")
        if not self.waiting:
            self.refused = True
            raise NtStatusError(NTSTATUS.NOT_FOUND, "no client data now")
        piece = self.waiting.popleft()
        if self.looped:
            self.waiting.append(piece)
        if any(held == tag for held, _ in self.held):
            self.faults.append(f"GetMapping with tag {tag:#x}, which is held")
        self.acquired.append((tag, piece))
        self.held.append((tag, piece))
        if self.inside_get is not None:
            self.inside_get(tag)
        view = self._rig.board.memory_view(piece.address, piece.length)
        return Mapping(piece.address, view, piece.length, int(piece.last))

    def release_mapping(self, tag: int) -> NTSTATUS:
        self._enter("ReleaseMapping")
        tags = [held for held, _ in self.held]
        if tag not in tags:
            self.faults.append(f"ReleaseMapping of tag {tag:#x}, which is not held")
            raise NtStatusError(NTSTATUS.NOT_FOUND, f"no mapping of tag {tag:#x} is held")
        if tags[0] != tag:
            self.faults.append(f"ReleaseMapping of tag {tag:#x} before the older {tags[0]:#x}")
        _, piece = self.held.pop(tags.index(tag))
        self.released.append((tag, piece))
        if self.on_release is not None:
            self.on_release(piece)
        if self.inside_release is not None:
            self.inside_release(tag)
        return NTSTATUS.SUCCESS

    def terminate_packet(self) -> NTSTATUS:
        self._enter("TerminatePacket")
        return NTSTATUS.SUCCESS

    def set_pre_fetch_offset(self, pre_fetch_offset: int) -> None:
        pass

    @property
    def acquired_bytes(self) -> int:
        """Bytes of all mappings acquired."""
        return sum(piece.length for _, piece in self.acquired)


class _PortDouble(IPortWavePci):
    """The services of a port, and when it was notified."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.notified: list[tuple[IServiceGroup, int]] = []
        """Which group, and the board time at which."""
        self._pages = PageAllocator(rig.system.memory)

    @property
    def system(self) -> System:
        return self._rig.system

    def new_service_group(self) -> IServiceGroup:
        return ServiceGroup(self._rig.system)

    def notify(self, service_group: IServiceGroup) -> None:
        self.notified.append((service_group, self._rig.board.events.time_ticks))
        service_group.request_service()

    def new_master_dma_channel(
        self,
        resource_list: ResourceList | None,
        maximum_length: int,
        dma32_bit_addresses: bool,
        dma64_bit_addresses: bool,
        dma_width: int = -1,
        dma_speed: int = -1,
    ) -> IDmaChannel:
        return DmaChannel(self._rig.system, self._pages, maximum_length, 0xFFFFFFFF)


class _Sink(IServiceSink):
    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def request_service(self) -> None:
        self._call()


class WavePciSide:
    """One stream of the miniport under test, with pieces of memory in place of packets."""

    def __init__(self, bench: WavePciBench, *, capture: bool) -> None:
        self._rig = bench.rig
        self._bench = bench
        self.capture = capture
        self.number = int(capture)
        """The engine's stream behind the pin."""
        self.port_stream = PortStreamDouble(self._rig)
        made = bench.miniport.new_stream(self.port_stream, self.number, capture, bench.format)
        self._rig.expect(isinstance(made, NewWavePciStream), "what NewStream returned", "a NewWavePciStream", made)
        self.made: NewWavePciStream = made
        self.stream: IMiniportWavePciStream = made.Stream
        self.serves = True
        """Requests of the group lead to Service, in RUN."""
        self.state = KSSTATE.STOP
        self._sink = _Sink(self._serve)
        if made.ServiceGroup is not None:
            made.ServiceGroup.add_member(self._sink)

    def _serve(self) -> None:
        if self.serves and self.state is KSSTATE.RUN:
            self.stream.service()

    def service(self) -> None:
        """Call Service, once."""
        with self._rig.system.at(IRQL.DISPATCH):
            self.stream.service()

    def feed(self, *pieces: Piece, tell: bool = True) -> None:
        """Client data arrive; as a port does it, MappingAvailable follows if there was a refusal."""
        double = self.port_stream
        double.waiting.extend(pieces)
        if tell and double.refused:
            double.refused = False
            with self._rig.system.at(IRQL.DISPATCH):
                self.stream.mapping_available()

    def set_state(self, state: KSSTATE) -> None:
        """In single steps."""
        if state is self.state:
            self.stream.set_state(state)
        while self.state is not state:
            step = KSSTATE(self.state + (1 if state > self.state else -1))
            self.stream.set_state(step)
            self.state = step
            if step is KSSTATE.STOP and self.port_stream.held:
                self.revoke(self.port_stream.held[0][0], self.port_stream.held[-1][0])

    def position(self) -> int:
        """GetPosition."""
        return self.stream.get_position()

    def revoke(self, first_tag: int, last_tag: int) -> int:
        """RevokeMappings; what was held of the range is not any more. Returns what the miniport counted."""
        with self._rig.system.at(IRQL.DISPATCH):
            count = self.stream.revoke_mappings(first_tag, last_tag)
        double = self.port_stream
        order = [tag for tag, _ in double.acquired]
        gone = order[order.index(first_tag) : order.index(last_tag) + 1]
        double.held = [(tag, piece) for tag, piece in double.held if tag not in gone]
        return count

    def tags(self) -> list[int]:
        """Tags of the mappings held, oldest first."""
        return [tag for tag, _ in self.port_stream.held]

    @property
    def released_pieces(self) -> list[Piece]:
        """What was released, in that order."""
        return [piece for _, piece in self.port_stream.released]

    def moved_bytes(self) -> int:
        """What the engine moved since STOP."""
        return self._rig.board.snapshot(self.number).bytes

    def note_moved(self) -> int:
        """The same, as evidence of progress."""
        moved = self.moved_bytes()
        self._rig.moved(moved, f"STREAM[{self.number}].SNAP_BYTES")
        return moved

    def expect_no_faults(self) -> None:
        """Fail the rule if the miniport did something that a port must not see."""
        self._rig.expect_equal("what the miniport did wrong", self.port_stream.faults, [])

    def close_now(self) -> None:
        """Close it before the check ends, so that another can be opened."""
        self._bench.forget(self)
        self.close()

    def close(self) -> None:
        """To STOP, and release."""
        try:
            self.set_state(KSSTATE.STOP)
        finally:
            if self.made.ServiceGroup is not None:
                self.made.ServiceGroup.remove_member(self._sink)
                self.made.ServiceGroup.release()
            self.stream.release()


class WavePciBench:
    """The miniport under test and its streams, over doubles of the port."""

    RENDER_BASE = 0x0000
    CAPTURE_BASE = 0xA000
    CAPTURE_BYTES = 0x14000
    """Where checks put what is captured: more than a page, over a boundary of 64 KiB."""

    def __init__(self, rig: Rig, data_format: Format | None = None) -> None:
        self.rig = rig
        # Frames of six bytes do not fit into pages or words; silence is 0 in all but 8 bits.
        wide = [each for each in rig.formats if each.container_bits > 8]
        rig.skip_unless(bool(wide), "the checks of WavePci need a format of 16 bits or more")
        odd = [each for each in wide if each.block_bytes == 6]
        self.format = data_format or (odd or wide)[0]
        self.port = _PortDouble(rig)
        self.miniport: Any = rig.miniport("wavepci")
        self._sides: list[WavePciSide] = []
        self._init_group = self.miniport.init(None, None, self.port)
        rig.keep(self)

    def side(self, *, capture: bool = False) -> WavePciSide:
        """A new stream."""
        made = WavePciSide(self, capture=capture)
        self._sides.append(made)
        return made

    def side_double(self) -> PortStreamDouble:
        """A port stream for a NewStream that is to fail."""
        return PortStreamDouble(self.rig)

    def forget(self, side: WavePciSide) -> None:
        """A side closes itself."""
        self._sides.remove(side)

    def listener(self) -> WavePciSide:
        """A capture stream in RUN that fills one long mapping."""
        capture = self.side(capture=True)
        self.rig.board.write_memory(self.CAPTURE_BASE, bytes(self.CAPTURE_BYTES))
        capture.feed(Piece(self.CAPTURE_BASE, self.CAPTURE_BYTES, True))
        capture.set_state(KSSTATE.RUN)
        return capture

    def heard(self, capture: WavePciSide) -> bytes:
        """The frames that a listener captured and that are not silence."""
        size = self.format.block_bytes
        data = self.rig.board.read_memory(self.CAPTURE_BASE, capture.note_moved() // size * size)
        frames = np.frombuffer(data, np.uint8).reshape(-1, size)
        return frames[frames.any(axis=1)].tobytes()

    def noise(self, count: int, seed: int = 1) -> bytes:
        """So many bytes, no frame of which is silence, that go through a 24-bit converter unchanged."""
        data = np.random.default_rng(seed).integers(1, 256, count, dtype=np.uint8)
        if self.format.container_bits == 32:
            data[::4] = 0
        return data.tobytes()

    def whole_frames(self, count: int) -> int:
        """At most `count` bytes, whole frames."""
        return count // self.format.block_bytes * self.format.block_bytes

    def put(self, lengths: Sequence[int], *, seed: int = 1, base: int = RENDER_BASE, gap: int = 1,
            last: bool = False) -> tuple[bytes, list[Piece]]:  # fmt: skip
        """Noise in memory, as pieces of these lengths with gaps between them; `last`: each ends a packet."""
        data = self.noise(sum(lengths), seed)
        pieces, at = [], 0
        for length in lengths:
            pieces.append(Piece(base, length, last))
            self.rig.board.write_memory(base, data[at : at + length])
            base += length + gap
            at += length
        return data, pieces

    @contextmanager
    def clock(self) -> Iterator[None]:
        """The converter runs inside the block, with its digital loopback; outside everything stands."""
        with self.rig.converter(InputSelect.LOOPBACK):
            yield

    def sleep_frames(self, frames: int) -> None:
        """Let time pass."""
        self.rig.system.sleep(frames / self.format.sample_rate)

    def until(self, condition: Callable[[], bool], frames: int) -> bool:
        """Let time pass until something holds (True) or so many frames are over."""
        for _ in range(0, frames, 96):
            if condition():
                return True
            self.sleep_frames(96)
        return condition()

    def close(self) -> None:
        """Stop and release everything."""
        problem: Exception | None = None
        for side in reversed(self._sides):
            try:
                side.close()
            except Exception as error:
                problem = problem or error
        if self._init_group is not None:
            self._init_group.release()
        self.miniport.release()
        if problem is not None:
            raise problem
