"""DirectMusic objects with one defect each. Several are what public samples and ReactOS really do."""

from __future__ import annotations

from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_stream
from codecrig.miniport.dmus import DMusCaptureStream, DMusRenderStream, DMusSynthStream, MiniportDMus
from codecrig.port.dmus import DMusAllocator, DMusPin, DMusRenderPin, DMusSynthPin, MasterClock, PortDMus
from codecrig.portcls import (
    DMUS_KEF_EVENT_COMPLETE,
    DMUS_KEF_PACKAGE_EVENT,
    DMUS_KERNEL_EVENT,
    DMUS_STREAM_TYPE,
    IMXF,
    KSSTATE,
    NTSTATUS,
    POINTER_BYTES,
    EventBuffer,
    Format,
    IAllocatorMXF,
    IMasterClock,
    IServiceGroup,
    ISynthSinkDMus,
    NewDMusStream,
    NtStatusError,
)


def with_port(
    objects: Objects,
    allocator: type[DMusAllocator] = DMusAllocator,
    clock: type[MasterClock] = MasterClock,
    render_pin: type[DMusRenderPin] = DMusRenderPin,
    synth_pin: type[DMusSynthPin] = DMusSynthPin,
) -> None:
    """The port has a pool, a clock and pins of these classes."""

    class Port(PortDMus):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.allocator.__class__ = allocator
            self.master_clock.__class__ = clock

        def open_render(self, pin: int) -> DMusRenderPin:
            opened = super().open_render(pin)
            opened.__class__ = render_pin
            return opened

        def open_synth(self, *arguments: Any, **options: Any) -> DMusSynthPin:
            opened = super().open_synth(*arguments, **options)
            opened.__class__ = synth_pin
            return opened

    objects.ports["dmus"] = Port


# ---------------------------------------------------------------------- states and events


@saboteur("MXF-STA-01")
def sends_events_in_every_state(objects: Objects) -> None:
    """Render sends in ACQUIRE and PAUSE, as the dmusuart sample does."""

    class Render(DMusRenderStream):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            before = self._state
            if before is not KSSTATE.STOP:
                self._state = KSSTATE.RUN
            try:
                return super().put_message(event)
            finally:
                self._state = before

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-STA-02", "MXF-PUT-01")
def keeps_events_at_stop(objects: Objects) -> None:
    """Events that are held when STOP comes are forgotten."""

    class Render(DMusRenderStream):
        def _discard(self) -> None:
            self._queue.clear()
            super()._discard()

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-STA-02")
def takes_events_in_stop(objects: Objects) -> None:
    """Events that come in STOP wait for RUN."""

    class Render(DMusRenderStream):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            if event is not None:
                self._take(event)
            self._send()
            return NTSTATUS.SUCCESS

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-STA-03")
def keeps_the_gate_open(objects: Objects) -> None:
    """What the hardware delivers outside RUN stays queued and is emitted in the next RUN."""

    class Capture(DMusCaptureStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            self._uart.open_gate(True)
            if state is KSSTATE.RUN:
                return super().set_state(state)
            self._state = state
            return NTSTATUS.SUCCESS

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-PUT-01")
def recycles_an_event_twice(objects: Objects) -> None:
    """A long event goes back to the allocator twice."""

    class Render(DMusRenderStream):
        def _recycle(self, event: DMUS_KERNEL_EVENT) -> None:
            super()._recycle(event)
            if event.cbEvent > POINTER_BYTES:
                super()._recycle(event)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-02")
def sorts_by_time_stamp(objects: Objects) -> None:
    """The stream sorts what it is given by presentation time."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            super()._take(head)
            sending = sorted(self._queue, key=lambda each: each.event.ullPresTime100ns)
            self._queue.clear()
            self._queue.extend(sending)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-03")
def takes_eight_bytes_for_a_pointer(objects: Objects) -> None:
    """An event of exactly the pointer size is taken for one with a buffer, and nothing of it is sent."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            if not head.is_package and head.cbEvent == POINTER_BYTES:
                head.uData = b""
            super()._take(head)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-03")
def sends_the_whole_union(objects: Objects) -> None:
    """An inline event is sent with all bytes of the pointer."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            if not head.is_package and isinstance(head.uData, bytes):
                head.cbEvent = len(head.uData)
            super()._take(head)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-04")
def looks_at_the_length_before_the_flag(objects: Objects) -> None:
    """A package with a small cbEvent is sent as bytes, as the dmusuart sample would."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            for event in head.chain():
                if event.is_package and event.cbEvent <= POINTER_BYTES:
                    event.usFlags &= ~DMUS_KEF_PACKAGE_EVENT
                    event.uData = b"\x01\x02\x03"
            super()._take(head)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-04")
def recycles_a_package_with_its_chain(objects: Objects) -> None:
    """A package goes back with the pointer to the chain that is still being sent."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            inner = head.package if head.is_package else None
            super()._take(head)
            if inner is not None:
                self._allocator.put_message(inner)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-05", "MXF-PUT-01")
def recycles_with_the_link(objects: Objects) -> None:
    """An event goes back with pNextEvt set, and the rest of the chain with it."""

    class Render(DMusRenderStream):
        def _take(self, head: DMUS_KERNEL_EVENT) -> None:
            chain = list(head.chain())
            super()._take(head)
            for event, following in zip(chain, chain[1:], strict=False):
                event.pNextEvt = following

        def _recycle(self, event: DMUS_KERNEL_EVENT) -> None:
            self._allocator.put_message(event)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-06")
def starts_a_partial_event_again(objects: Objects) -> None:
    """After a partial write the event is sent from its first byte again."""

    class Render(DMusRenderStream):
        def _send(self) -> None:
            super()._send()
            if self._queue:
                self._queue[0].taken = 0

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-06")
def lets_later_events_overtake(objects: Objects) -> None:
    """An event that the transmitter took in part goes behind those that wait."""

    class Render(DMusRenderStream):
        def _send(self) -> None:
            super()._send()
            if len(self._queue) > 1 and self._queue[0].taken:
                self._queue.rotate(-1)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-06")
def leaving_run_breaks_off_a_message(objects: Objects) -> None:
    """What a busy device has of a message when RUN ends is lost."""

    class Render(DMusRenderStream):
        def _leave_run(self) -> None:
            super()._leave_run()
            self._back.clear()

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-PUT-07")
def the_port_never_asks_for_input(objects: Objects) -> None:
    """The port's sink in a service group does nothing."""

    class Port(PortDMus):
        def _open(self, pin: Any) -> Any:
            assert isinstance(pin, DMusPin)
            pin._sink._serve = lambda: None
            return super()._open(pin)

    objects.ports["dmus"] = Port


@saboteur("MXF-PUT-07")
def the_port_asks_in_the_interrupt(objects: Objects) -> None:
    """Notify calls PutMessage(NULL) at once instead of deferring it."""

    class Port(PortDMus):
        def notify(self, service_group: IServiceGroup | None) -> None:
            for member in getattr(service_group, "members", ()):
                member.request_service()

    objects.ports["dmus"] = Port


@saboteur("MXF-PUT-08")
def stamps_bytes_with_the_future(objects: Objects) -> None:
    """Captured bytes carry a time 5 ms ahead."""

    class Capture(DMusCaptureStream):
        def _fill(self, event: DMUS_KERNEL_EVENT) -> None:
            super()._fill(event)
            event.ullPresTime100ns += 50_000

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-PUT-08")
def stamps_bytes_when_they_are_asked_for(objects: Objects) -> None:
    """Captured bytes carry the time of the service, not of the interrupt."""

    class Capture(DMusCaptureStream):
        def _fill(self, event: DMUS_KERNEL_EVENT) -> None:
            super()._fill(event)
            event.ullPresTime100ns = self._clock.get_time()

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-PUT-08")
def calls_raw_bytes_complete(objects: Objects) -> None:
    """Captured bytes are flagged as complete messages."""

    class Capture(DMusCaptureStream):
        def _fill(self, event: DMUS_KERNEL_EVENT) -> None:
            super()._fill(event)
            event.usFlags = DMUS_KEF_EVENT_COMPLETE

    each_stream(objects, "dmus", become(Capture))


# ---------------------------------------------------------------------- connections


@saboteur("MXF-CON-01")
def ignores_its_connection(objects: Objects) -> None:
    """ConnectOutput succeeds, and output goes to the allocator all the same."""

    class Capture(DMusCaptureStream):
        def connect_output(self, sink: IMXF | None) -> NTSTATUS:
            return NTSTATUS.SUCCESS

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-CON-01")
def loses_events_without_a_connection(objects: Objects) -> None:
    """Without a sink events are forgotten."""

    class Capture(DMusCaptureStream):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            if event is None and self._sink is None and self._received:
                self._allocator.get_message()
                self._received.clear()
            return super().put_message(event)

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-CON-02")
def the_last_connection_wins(objects: Objects) -> None:
    """ConnectOutput takes another sink in place of the first."""

    class Capture(DMusCaptureStream):
        def connect_output(self, sink: IMXF | None) -> NTSTATUS:
            if self._sink is not None:
                super().disconnect_output(None)
            return super().connect_output(sink)

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-CON-03")
def render_feeds_a_connected_sink(objects: Objects) -> None:
    """A render stream hands what it has sent to the sink that somebody connected, and forgets the allocator."""

    class Render(DMusRenderStream):
        _output: IMXF | None = None

        def connect_output(self, sink: IMXF | None) -> NTSTATUS:
            self._output = sink
            return NTSTATUS.SUCCESS

        def _recycle(self, event: DMUS_KERNEL_EVENT) -> None:
            if self._output is None:
                super()._recycle(event)
            else:
                self._output.put_message(event)

    each_stream(objects, "dmus", become(Render))


@saboteur("MXF-DIS-01")
def any_sink_disconnects(objects: Objects) -> None:
    """DisconnectOutput does not look which sink is named."""

    class Capture(DMusCaptureStream):
        def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
            return super().disconnect_output(None)

    each_stream(objects, "dmus", become(Capture))


@saboteur("MXF-DIS-01")
def null_does_not_disconnect(objects: Objects) -> None:
    """DisconnectOutput(NULL) succeeds without an effect."""

    class Capture(DMusCaptureStream):
        def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
            return NTSTATUS.SUCCESS if sink is None else super().disconnect_output(sink)

    each_stream(objects, "dmus", become(Capture))


# ---------------------------------------------------------------------- allocator


@saboteur("ALC-MSG-01")
def leaves_the_channel_group(objects: Objects) -> None:
    """GetMessage delivers events with what the last user left in them."""

    class Allocator(DMusAllocator):
        def get_message(self) -> DMUS_KERNEL_EVENT:
            event = self._free_events[0] if self._free_events else None
            left = (event.usChannelGroup, event.ullPresTime100ns) if event is not None else (0, 0)
            made = super().get_message()
            made.usChannelGroup, made.ullPresTime100ns = left
            return made

    with_port(objects, allocator=Allocator)


@saboteur("ALC-MSG-02")
def an_empty_pool_gives_a_used_event(objects: Objects) -> None:
    """With nothing left GetMessage delivers an event that somebody has."""

    class Allocator(DMusAllocator):
        def get_message(self) -> DMUS_KERNEL_EVENT:
            try:
                return super().get_message()
            except NtStatusError:
                return next(iter(self._events.values()))

    with_port(objects, allocator=Allocator)


@saboteur("ALC-MSG-03")
def drops_bytes_without_events(objects: Objects) -> None:
    """A capture stream that gets no event throws its bytes away."""

    class Capture(DMusCaptureStream):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            status = super().put_message(event)
            self._received.clear()
            return status

    each_stream(objects, "dmus", become(Capture))


@saboteur("ALC-SIZ-01")
def the_size_depends_on_the_pool(objects: Objects) -> None:
    """GetBufferSize tells what is left."""

    class Allocator(DMusAllocator):
        def get_buffer_size(self) -> int:
            return super().get_buffer_size() - self.outstanding_events

    with_port(objects, allocator=Allocator)


@saboteur("ALC-BUF-01")
def buffers_are_too_short(objects: Objects) -> None:
    """GetBuffer delivers half of what GetBufferSize says."""

    class Allocator(DMusAllocator):
        def get_buffer(self) -> EventBuffer:
            buffer = super().get_buffer()
            del buffer[len(buffer) // 2 :]
            return buffer

    with_port(objects, allocator=Allocator)


@saboteur("ALC-BUF-02")
def wants_a_buffer_for_every_event(objects: Objects) -> None:
    """A capture stream puts short data into a buffer, too."""

    class Capture(DMusCaptureStream):
        def _fill(self, event: DMUS_KERNEL_EVENT) -> None:
            super()._fill(event)
            buffer = self._allocator.get_buffer()
            buffer[: event.cbEvent] = event.data
            event.uData = buffer

    each_stream(objects, "dmus", become(Capture))


@saboteur("ALC-PUT-01")
def forgets_the_buffer(objects: Objects) -> None:
    """PutMessage recycles the event and leaves its buffer behind, as ReactOS does."""

    class Allocator(DMusAllocator):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            if event is not None and event.buffer is not None:
                event.cbEvent = 0
            return super().put_message(event)

    with_port(objects, allocator=Allocator)


@saboteur("ALC-PUT-02")
def recycles_the_head_only(objects: Objects) -> None:
    """PutMessage recycles one structure and leaks the chain, as ReactOS does."""

    class Allocator(DMusAllocator):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            if event is not None:
                event.pNextEvt = None
            return super().put_message(event)

    with_port(objects, allocator=Allocator)


@saboteur("ALC-PUT-02")
def leaks_the_chain_of_a_package(objects: Objects) -> None:
    """PutMessage does not look into packages."""

    class Allocator(DMusAllocator):
        def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
            for each in event.chain() if event is not None else ():
                if each.is_package:
                    each.uData = None
            return super().put_message(event)

    with_port(objects, allocator=Allocator)


@saboteur("ALC-PUT-03")
def put_buffer_does_nothing(objects: Objects) -> None:
    """PutBuffer succeeds, and the buffer is gone."""

    class Allocator(DMusAllocator):
        def put_buffer(self, buffer: EventBuffer) -> NTSTATUS:
            return NTSTATUS.SUCCESS

    with_port(objects, allocator=Allocator)


@saboteur("ALC-MXF-01")
def stop_empties_the_pool(objects: Objects) -> None:
    """SetState(STOP) of the allocator takes all events away from who has them."""

    class Allocator(DMusAllocator):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.STOP:
                self._events.clear()
                self._buffers.clear()
            return NTSTATUS.SUCCESS

    with_port(objects, allocator=Allocator)


# ---------------------------------------------------------------------- synthesizer


@saboteur("SSK-QIF-01")
def is_no_synth_sink(objects: Objects) -> None:
    """The wave sink stream does not answer for ISynthSinkDMus."""

    class Synth(DMusSynthStream):
        def query_interface(self, interface: type[Any]) -> Any:
            if interface is ISynthSinkDMus:
                raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "no such interface")
            return super().query_interface(interface)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-RND-01")
def renders_a_frame_too_many(objects: Objects) -> None:
    """Render writes one frame behind the window."""

    class Synth(DMusSynthStream):
        def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
            super().render(buffer, length, position)
            block_bytes = self._format.block_bytes
            buffer[length : length + block_bytes] = bytes(block_bytes)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-RND-01", "SSK-RND-02")
def events_begin_with_their_window(objects: Objects) -> None:
    """Every event of a window is played at its beginning."""

    class Synth(DMusSynthStream):
        def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
            first = position // self._format.block_bytes
            end = first + length // self._format.block_bytes
            due = sorted(each for each in self._queue if self._sample_clock.sample(each[0]) < end)
            self._queue = sorted(each for each in self._queue if each not in due)
            for _, _, data in due:
                self._synthesizer.message(data)
            super().render(buffer, length, position)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-RND-03")
def sounds_in_pause(objects: Objects) -> None:
    """Render plays on in PAUSE."""

    class Synth(DMusSynthStream):
        def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
            before, self._state = self._state, KSSTATE.RUN
            super().render(buffer, length, position)
            self._state = before

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-RND-03")
def render_waits_for_the_hardware(objects: Objects) -> None:
    """Render waits as long as what it renders lasts."""

    class Synth(DMusSynthStream):
        def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
            super().render(buffer, length, position)
            self._board.sleep(length / self._format.bytes_per_second)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-RND-04", "SSK-SYN-02")
def anchors_the_clock_too_early(objects: Objects) -> None:
    """Sample 0 is taken to be 60 ms before the start."""

    class Synth(DMusSynthStream):
        def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
            return super().sync_to_master(time - 600_000, start)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-S2R-01")
def believes_in_48100_hertz(objects: Objects) -> None:
    """SampleToRefTime divides by a rate that a page misprints."""

    class Synth(DMusSynthStream):
        def sample_to_ref_time(self, sample_time: int) -> int:
            return super().sample_to_ref_time(sample_time * 48_000 // 48_100)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-S2R-02")
def sample_times_wrap_at_32_bits(objects: Objects) -> None:
    """SampleToRefTime keeps 32 bits of its argument."""

    class Synth(DMusSynthStream):
        def sample_to_ref_time(self, sample_time: int) -> int:
            return super().sample_to_ref_time(sample_time & 0xFFFFFFFF)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-R2S-01")
def the_inverse_is_two_samples_off(objects: Objects) -> None:
    """RefTimeToSample answers two samples too few."""

    class Synth(DMusSynthStream):
        def ref_time_to_sample(self, time: int) -> int:
            return super().ref_time_to_sample(time) - 2

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-SYN-01")
def every_call_is_a_start(objects: Objects) -> None:
    """The wave sink passes fStart TRUE each time."""

    class Pin(DMusSynthPin):
        def _pull(self) -> None:
            good = self._synth

            class Starting:
                def __getattr__(self, name: str) -> Any:
                    return getattr(good, name)

                def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
                    return good.sync_to_master(time, True)

            self._synth = Starting()  # type: ignore[assignment]
            try:
                super()._pull()
            finally:
                self._synth = good

    with_port(objects, synth_pin=Pin)


@saboteur("SSK-SYN-03", "SSK-SYN-04")
def never_follows_the_master(objects: Objects) -> None:
    """SyncToMaster without start has no effect."""

    class Synth(DMusSynthStream):
        def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
            return super().sync_to_master(time, start) if start else NTSTATUS.SUCCESS

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-SYN-03")
def starts_the_clock_at_every_call(objects: Objects) -> None:
    """SyncToMaster without start puts sample 0 to the present time."""

    class Synth(DMusSynthStream):
        def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
            return super().sync_to_master(time, True)

    each_stream(objects, "dmus", become(Synth))


@saboteur("SSK-SYN-03")
def turns_away_from_the_master(objects: Objects) -> None:
    """The error is taken with the wrong sign."""

    class Synth(DMusSynthStream):
        def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
            now = self._clock.get_time()
            return super().sync_to_master(time if start else 2 * now - time, start)

    each_stream(objects, "dmus", become(Synth))


# ---------------------------------------------------------------------- port and miniport


@saboteur("DMU-NEW-01")
def gives_one_dmus_pin_to_two(objects: Objects) -> None:
    """A second NewStream for a pin in use succeeds."""

    class Miniport(MiniportDMus):
        def new_stream(self, *arguments: Any) -> NewDMusStream:
            self._streams.clear()
            return super().new_stream(*arguments)

    objects.miniports["dmus"] = Miniport


@saboteur("DMU-NEW-01")
def takes_no_allocator_for_granted(objects: Objects) -> None:
    """NewStream takes a NULL allocator, to fail at the first event."""

    class NoAllocator(DMusAllocator):
        pass

    class Miniport(MiniportDMus):
        def new_stream(
            self,
            pin: int,
            stream_type: DMUS_STREAM_TYPE,
            data_format: Format | None,
            allocator: IAllocatorMXF | None,
            master_clock: IMasterClock,
        ) -> NewDMusStream:
            if allocator is None:
                self._streams.discard(pin)
                allocator = NoAllocator(self.port.system)
            return super().new_stream(pin, stream_type, data_format, allocator, master_clock)

    objects.miniports["dmus"] = Miniport


@saboteur("DMU-NEW-02")
def gives_events_too_early(objects: Objects) -> None:
    """The sequencer gives out all that is due within the next 20 ms."""

    class Pin(DMusRenderPin):
        def _now(self) -> int:
            return super()._now() + 200_000

    with_port(objects, render_pin=Pin)


@saboteur("DMU-NEW-02")
def has_no_sequencer(objects: Objects) -> None:
    """Events go to the stream as they come, as in ReactOS."""

    class Pin(DMusRenderPin):
        def submit(self, time: int, data: bytes, *, channel_group: int = 1) -> None:
            self._stream.put_message(self._make_event(self.master_time(time), data, channel_group))

    with_port(objects, render_pin=Pin)


@saboteur("DMU-NTF-01")
def notify_serves_everybody(objects: Objects) -> None:
    """Notify of one group serves all."""

    class Port(PortDMus):
        def notify(self, service_group: IServiceGroup | None) -> None:
            super().notify(None)

    objects.ports["dmus"] = Port


@saboteur("DMU-NTF-01")
def notify_null_serves_the_adapter_only(objects: Objects) -> None:
    """Notify(NULL) leaves the groups of streams out."""

    class Port(PortDMus):
        def notify(self, service_group: IServiceGroup | None) -> None:
            for group in [service_group] if service_group is not None else self._groups:
                group.request_service()

    objects.ports["dmus"] = Port


@saboteur("DMU-CLK-01")
def the_clock_steps_by_ten_milliseconds(objects: Objects) -> None:
    """The master clock moves with the machine's timer interrupt."""

    class Clock(MasterClock):
        def get_time(self) -> int:
            return super().get_time() // 100_000 * 100_000

    with_port(objects, clock=Clock)


@saboteur("DMU-CLK-01")
def the_clock_is_for_passive_context(objects: Objects) -> None:
    """The master clock cannot be read in an interrupt and answers what it last knew."""

    class Clock(MasterClock):
        def get_time(self) -> int:
            return super().get_time() if self._system.level == 0 else self._last

    with_port(objects, clock=Clock)
