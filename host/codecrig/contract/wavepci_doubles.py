"""A WavePci miniport that does what a check tells it, to judge ports: no engine, no board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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
    IServiceGroup,
    IUnknown,
    Mapping,
    NewWavePciStream,
    NtStatusError,
    ResourceList,
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
