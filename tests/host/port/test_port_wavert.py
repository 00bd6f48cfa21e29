"""PortWaveRT against a miniport that only writes down what it is asked: order of calls, ladder, unwinding, pages."""

from collections.abc import Callable

import pytest

from codecrig.port import PortWaveRT
from codecrig.port.pages import PageAllocator
from codecrig.portcls import (
    DEVICE_DESCRIPTION,
    IRQL,
    KSAUDIO_POSITION,
    KSAUDIO_PRESENTATION_POSITION,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    MEMORY_CACHING_TYPE,
    NTSTATUS,
    PAGE_BYTES,
    AudioBuffer,
    Format,
    IMiniportWaveRT,
    IMiniportWaveRTOutputStream,
    IMiniportWaveRTStream,
    IMiniportWaveRTStreamNotification,
    IPortWaveRT,
    IPortWaveRTStream,
    IrqlError,
    IUnknown,
    KEvent,
    Mdl,
    MemoryView,
    NtStatusError,
    System,
)


class ArrayView(MemoryView):
    """Plain memory at a physical address; counts writes."""

    def __init__(self, pages: int = 8, address: int = 0x10000) -> None:
        self.data = bytearray(pages * PAGE_BYTES)
        self.address = address
        self.writes = 0

    @property
    def physical_address(self) -> int:
        return self.address

    @property
    def length(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.check_range(offset, len(data))
        self.writes += 1
        self.data[offset : offset + len(data)] = data


class StillSystem(System):
    """A system in which no time passes."""

    def __init__(self, pages: int = 8) -> None:
        super().__init__()
        self.view = ArrayView(pages)

    @property
    def memory(self) -> MemoryView:
        return self.view

    def wait(self, event: KEvent, timeout_s: float) -> bool:
        return event.take()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the port slept")

    def system_time(self) -> int:
        return 0

    def set_timer(self, due_time: int, call: Callable[[], None]) -> Callable[[], bool]:
        raise AssertionError("the port set a timer")

    def performance_counter(self) -> int:
        return 0

    @property
    def performance_frequency(self) -> int:
        return 1


class Diary:
    """Calls in order, and which of them are to fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, NTSTATUS] = {}

    def note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failing:
            raise NtStatusError(self.failing[call], call)


class PaperStream(IMiniportWaveRTStreamNotification, IMiniportWaveRTOutputStream):
    """A stream that exists on paper."""

    def __init__(self, diary: Diary, port_stream: IPortWaveRTStream) -> None:
        self.diary = diary
        self.port_stream = port_stream
        port_stream.add_ref()
        self.states = [KSSTATE.STOP]

    def destroy(self) -> None:
        self.diary.note("destroy")
        self.port_stream.release()

    def set_format(self, data_format: Format) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        self.diary.note(f"set_state {state.name}")
        self.states.append(state)
        return NTSTATUS.SUCCESS

    def get_position(self) -> KSAUDIO_POSITION:
        return KSAUDIO_POSITION(0, 0)

    def allocate(self, name: str, size: int) -> AudioBuffer:
        self.diary.note(name)
        mdl = self.port_stream.allocate_pages_for_mdl(0xFFFFF, size)
        if mdl is None:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES)
        return AudioBuffer(mdl, size, 0, MEMORY_CACHING_TYPE.WRITE_COMBINED)

    def allocate_audio_buffer(self, requested_size: int) -> AudioBuffer:
        return self.allocate("allocate plain", requested_size)

    def allocate_buffer_with_notification(self, notification_count: int, requested_size: int) -> AudioBuffer:
        return self.allocate("allocate notified", requested_size)

    def free_audio_buffer(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        self.free("free plain", audio_buffer_mdl)

    def free_buffer_with_notification(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        self.free("free notified", audio_buffer_mdl)

    def free(self, name: str, mdl: Mdl | None) -> None:
        assert mdl is not None and self.states[-1] is KSSTATE.STOP
        self.port_stream.free_pages_from_mdl(mdl)
        self.diary.note(name)

    def get_hw_latency(self) -> KSRTAUDIO_HWLATENCY:
        self.diary.note("latency")
        return KSRTAUDIO_HWLATENCY(64, 1, 2)

    def get_position_register(self) -> KSRTAUDIO_HWREGISTER:
        raise NtStatusError(self.diary.failing.get("position register", NTSTATUS.NOT_SUPPORTED), "none here")

    def get_clock_register(self) -> KSRTAUDIO_HWREGISTER:
        return KSRTAUDIO_HWREGISTER(ArrayView(1), 32, 1, 1, 1)

    def register_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        self.diary.note("register")
        return NTSTATUS.SUCCESS

    def unregister_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        self.diary.note("unregister")
        return NTSTATUS.SUCCESS

    def set_write_packet(self, packet_number: int, flags: int, eos_packet_length: int) -> NTSTATUS:
        self.diary.note(f"packet {packet_number}")
        return NTSTATUS.SUCCESS

    def get_output_stream_presentation_position(self) -> KSAUDIO_PRESENTATION_POSITION:
        return KSAUDIO_PRESENTATION_POSITION(0, 0)

    def get_packet_count(self) -> int:
        return 41


class PaperMiniport(IMiniportWaveRT):
    def __init__(self) -> None:
        self.diary = Diary()
        self.port_streams: list[IPortWaveRTStream] = []

    def init(self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortWaveRT) -> NTSTATUS:
        self.diary.note("init")
        return NTSTATUS.SUCCESS

    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        self.port_streams.append(port_stream)
        self.diary.note("new_stream")
        return PaperStream(self.diary, port_stream)

    def get_device_description(self) -> DEVICE_DESCRIPTION:
        return DEVICE_DESCRIPTION(True, True, 0x1FFFF, 0x20000)


FORMAT = Format(48000, 2, 16)


def test_whole_life_of_a_pin_in_order() -> None:
    miniport = PaperMiniport()
    with PortWaveRT(miniport, StillSystem()) as port:
        pin = port.open_pin(0, False, FORMAT, packet_bytes=960)
        pin.set_state(KSSTATE.RUN)
        assert pin.hw_latency == KSRTAUDIO_HWLATENCY(64, 1, 2)
        assert pin.packet_bytes == 960 and pin.packets == 2
        assert miniport.reference_count == 2
    assert miniport.diary.calls == [
        *("init", "new_stream", "allocate notified", "latency", "register"),
        *("set_state ACQUIRE", "set_state PAUSE", "set_state RUN"),
        *("set_state PAUSE", "set_state ACQUIRE", "set_state STOP"),
        *("unregister", "free notified", "destroy"),
    ]
    assert miniport.reference_count == 1
    assert [stream.reference_count for stream in miniport.port_streams] == [0]
    assert port.pages.free_pages == 8


def test_a_plain_buffer_is_freed_the_plain_way() -> None:
    miniport = PaperMiniport()
    with PortWaveRT(miniport, StillSystem()) as port:
        pin = port.open_pin(0, False, FORMAT, buffer_bytes=5000)
        assert pin.buffer.length == 5000
        with pytest.raises(NtStatusError) as caught:
            pin.register_event(KEvent())
        assert caught.value.status is NTSTATUS.INVALID_DEVICE_STATE
    assert "register" not in miniport.diary.calls
    assert miniport.diary.calls[-2:] == ["free plain", "destroy"]


@pytest.mark.parametrize("step", ["new_stream", "allocate notified", "latency", "register"])
def test_what_fails_half_way_is_undone(step: str) -> None:
    miniport = PaperMiniport()
    miniport.diary.failing[step] = NTSTATUS.INSUFFICIENT_RESOURCES
    with PortWaveRT(miniport, StillSystem()) as port:
        with pytest.raises(NtStatusError) as caught:
            port.open_pin(0, False, FORMAT, packet_bytes=960)
        assert caught.value.status is NTSTATUS.INSUFFICIENT_RESOURCES
        assert port.pages.free_pages == 8
        assert miniport.port_streams[0].reference_count == 0
        assert ("free notified" in miniport.diary.calls) == (step in ("latency", "register"))
        miniport.diary.failing.clear()
        port.open_pin(0, False, FORMAT, packet_bytes=960)


@pytest.mark.parametrize("step", ["set_state ACQUIRE", "set_state PAUSE", "set_state RUN"])
def test_a_refused_step_leaves_the_state_before_it(step: str) -> None:
    miniport = PaperMiniport()
    with PortWaveRT(miniport, StillSystem()) as port:
        pin = port.open_pin(0, False, FORMAT, packet_bytes=960)
        miniport.diary.failing[step] = NTSTATUS.UNSUCCESSFUL
        with pytest.raises(NtStatusError):
            pin.set_state(KSSTATE.RUN)
        assert pin.state == KSSTATE[step.split()[1]] - 1
        miniport.diary.failing.clear()
    assert miniport.diary.calls[-1] == "destroy"


def test_closing_goes_on_behind_a_failure_and_reports_it() -> None:
    miniport = PaperMiniport()
    port = PortWaveRT(miniport, StillSystem())
    pin = port.open_pin(0, False, FORMAT, packet_bytes=960)
    pin.set_state(KSSTATE.PAUSE)
    miniport.diary.failing["unregister"] = NTSTATUS.NOT_FOUND
    with pytest.raises(NtStatusError) as caught:
        port.close()
    assert caught.value.status is NTSTATUS.NOT_FOUND
    assert miniport.diary.calls[-2:] == ["free notified", "destroy"]
    assert port.pages.free_pages == 8 and miniport.reference_count == 1
    port.close()


def test_each_packet_is_one_write_at_its_place() -> None:
    system = StillSystem()
    miniport = PaperMiniport()
    with PortWaveRT(miniport, system) as port:
        pin = port.open_pin(0, False, FORMAT, packet_bytes=5000)
        for number in range(3):
            before = system.view.writes
            assert pin.write_packet(bytes([number + 1]) * 5000) == number
            assert system.view.writes == before + 1
        assert pin.buffer.read(0, 10000) == b"\x03" * 5000 + b"\x02" * 5000
        with pytest.raises(ValueError, match="expected a packet of 5000 bytes, found 4999"):
            pin.write_packet(bytes(4999))
        assert pin.resynchronise() == 39
        assert pin.next_write_packet == 42


def test_scattered_pages_are_mapped_as_one_stretch() -> None:
    system = StillSystem(4)
    with PortWaveRT(PaperMiniport(), system) as port:
        stream = port.open_pin(0, False, FORMAT)._port_stream
        lists = [stream.allocate_pages_for_mdl(0xFFFFF, PAGE_BYTES) for _ in range(4)]
        for index in (0, 2):
            mdl = lists[index]
            assert mdl is not None
            stream.free_pages_from_mdl(mdl)
        scattered = stream.allocate_pages_for_mdl(0xFFFFF, 2 * PAGE_BYTES)
        assert scattered is not None and scattered.page_numbers == (16, 18)
        assert [stream.get_physical_page_address(scattered, page) for page in (0, 1)] == [0x10000, 0x12000]
        view = stream.map_allocated_pages(scattered, MEMORY_CACHING_TYPE.CACHED)
        assert view is not None
        view.write(PAGE_BYTES - 2, b"abcd")
        assert system.view.data[PAGE_BYTES - 2 : PAGE_BYTES] == b"ab"
        assert system.view.data[2 * PAGE_BYTES : 2 * PAGE_BYTES + 2] == b"cd"
        assert stream.allocate_contiguous_pages_for_mdl(0, 0xFFFFF, 2 * PAGE_BYTES) is None
        with pytest.raises(NtStatusError, match="still mapped"):
            stream.free_pages_from_mdl(scattered)
        stream.unmap_allocated_pages(view, scattered)
        stream.free_pages_from_mdl(scattered)
        with pytest.raises(NtStatusError, match="not one of this port stream"):
            stream.get_physical_pages_count(scattered)
        for index in (1, 3):
            mdl = lists[index]
            assert mdl is not None
            stream.free_pages_from_mdl(mdl)


def test_page_requests_keep_their_limits() -> None:
    allocator = PageAllocator(ArrayView(8, 0x10000))
    assert allocator.take_contiguous(0x12000, 0x13FFF, 2) == (18, 19)
    assert allocator.take_contiguous(0, 0x11FFE, 2) is None
    assert allocator.take(0x10FFF, 3) == (16,)
    assert allocator.take(0xFFFFF, 100) == (17, 20, 21, 22, 23)
    with pytest.raises(ValueError, match="page 24 was not taken"):
        allocator.give_back((24,))
    allocator.give_back((16, 17))
    with pytest.raises(ValueError, match="page 17 was not taken"):
        allocator.give_back((17,))


def test_registers_are_given_once() -> None:
    with PortWaveRT(PaperMiniport(), StillSystem()) as port:
        pin = port.open_pin(0, False, FORMAT)
        refused: list[tuple[Callable[[], object], NTSTATUS]] = [
            (pin.position_register, NTSTATUS.NOT_SUPPORTED),
            (pin.position_register, NTSTATUS.NOT_SUPPORTED),
        ]
        pin.clock_register()
        refused.append((pin.clock_register, NTSTATUS.INVALID_DEVICE_REQUEST))
        for call, status in refused:
            with pytest.raises(NtStatusError) as caught:
                call()
            assert caught.value.status is status


@pytest.mark.parametrize("answer", [NTSTATUS.NOT_SUPPORTED, NTSTATUS.NOT_IMPLEMENTED])
def test_a_missing_register_has_one_name_for_the_client(answer: NTSTATUS) -> None:
    miniport = PaperMiniport()
    miniport.diary.failing["position register"] = answer
    with PortWaveRT(miniport, StillSystem()) as port, pytest.raises(NtStatusError, match="none here") as caught:
        port.open_pin(0, False, FORMAT).position_register()
    assert caught.value.status is NTSTATUS.NOT_SUPPORTED


def test_closing_the_pin_ends_the_mapping_of_its_registers() -> None:
    with PortWaveRT(PaperMiniport(), StillSystem()) as port:
        pin = port.open_pin(0, False, FORMAT)
        register = pin.clock_register().Register
        assert (register.length, register.physical_address) == (PAGE_BYTES, 0x10000)
        assert register.read(0, 4) == bytes(4)
        with pytest.raises(NtStatusError) as caught:
            register.write(0, b"1234")
        assert caught.value.status is NTSTATUS.NOT_SUPPORTED
        pin.close()
        for late in (lambda: register.read(0, 4), pin.clock_register):
            with pytest.raises(NtStatusError) as caught:
                late()
            assert caught.value.status is NTSTATUS.INVALID_DEVICE_STATE


def test_the_buffer_of_a_stream_that_cannot_leave_run_is_not_freed() -> None:
    miniport = PaperMiniport()
    port = PortWaveRT(miniport, StillSystem())
    pin = port.open_pin(0, False, FORMAT, packet_bytes=960)
    pin.set_state(KSSTATE.RUN)
    miniport.diary.failing["set_state PAUSE"] = NTSTATUS.IO_DEVICE_ERROR
    with pytest.raises(NtStatusError) as caught:
        port.close()
    assert caught.value.status is NTSTATUS.IO_DEVICE_ERROR
    assert "free notified" not in miniport.diary.calls and miniport.diary.calls[-1] == "destroy"
    assert port.pages.free_pages == 7


def test_what_may_block_is_refused_in_deferred_context() -> None:
    system = StillSystem()
    with PortWaveRT(PaperMiniport(), system) as port:
        pin = port.open_pin(0, False, FORMAT, packet_bytes=960)
        mdl = pin._port_stream.allocate_pages_for_mdl(0xFFFFF, 1)
        assert mdl is not None
        blocking: list[Callable[[], object]] = [
            lambda: pin.set_state(KSSTATE.ACQUIRE),
            lambda: pin.allocate(960),
            lambda: pin.register_event(KEvent()),
            lambda: pin.unregister_event(pin.event),
            lambda: pin.write_packet(bytes(960)),
            pin.packet_count,
            pin.read_packet,
            pin.presentation_position,
            pin.clock_register,
            pin.position_register,
            pin.close,
            lambda: pin._port_stream.allocate_pages_for_mdl(0xFFFFF, 1),
            lambda: pin._port_stream.allocate_contiguous_pages_for_mdl(0, 0xFFFFF, 1),
            lambda: pin._port_stream.map_allocated_pages(mdl, MEMORY_CACHING_TYPE.CACHED),
            lambda: pin._port_stream.get_physical_pages_count(mdl),
            lambda: pin._port_stream.get_physical_page_address(mdl, 0),
            lambda: pin._port_stream.free_pages_from_mdl(mdl),
        ]
        with system.at(IRQL.DISPATCH):
            assert pin.position() == KSAUDIO_POSITION(0, 0)
            for call in blocking:
                with pytest.raises(IrqlError, match="expected a call from passive context or below; found deferred"):
                    call()
        assert pin.state is KSSTATE.STOP and not pin.closed
        pin._port_stream.free_pages_from_mdl(mdl)


def test_errors_while_closing_do_not_hide_the_first_one() -> None:
    miniport = PaperMiniport()
    with pytest.raises(KeyError) as caught, PortWaveRT(miniport, StillSystem()) as port:
        port.open_pin(0, False, FORMAT, packet_bytes=960)
        miniport.diary.failing["unregister"] = NTSTATUS.NOT_FOUND
        raise KeyError("the first")
    assert any("STATUS_NOT_FOUND" in note for note in caught.value.__notes__)
