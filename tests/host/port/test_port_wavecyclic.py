"""PortWaveCyclic against a miniport that only writes down what it is asked: order of calls, copies, positions."""

from collections.abc import Iterator

import pytest

from codecrig.board import BoardSystem, open_board
from codecrig.port import PortWaveCyclic, WaveCyclicPin
from codecrig.portcls import (
    IRQL,
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    Format,
    IDmaChannel,
    IMiniportWaveCyclic,
    IMiniportWaveCyclicStream,
    IPortWaveCyclic,
    IrqlError,
    IServiceGroup,
    IUnknown,
    KEvent,
    MemoryView,
    NewWaveCyclicStream,
    NotificationFreq,
    NtStatusError,
    ResourceList,
)

FORMAT = Format(48000, 2, 16)
BUFFER = 19200
"""100 ms."""
MS = 192


class PaperStream(IMiniportWaveCyclicStream):
    """A stream that exists on paper: its position is what the test says."""

    def __init__(self, paper: "PaperMiniport", channel: IDmaChannel, group: IServiceGroup) -> None:
        self.paper, self.channel, self.group = paper, channel, group
        self.position = 0
        channel.add_ref()
        group.add_ref()

    def destroy(self) -> None:
        self.paper.note("destroy")
        self.channel.release()
        self.group.release()

    def set_format(self, data_format: Format) -> NTSTATUS:
        self.paper.note(f"set_format {data_format.sample_rate}")
        return NTSTATUS.SUCCESS

    def set_notification_freq(self, interval: int) -> NotificationFreq:
        self.paper.note(f"set_notification_freq {interval}")
        return NotificationFreq(interval, interval * MS)

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        self.paper.note(f"set_state {state.name}")
        return NTSTATUS.SUCCESS

    def get_position(self) -> int:
        return self.position

    def normalize_physical_position(self, physical_position: int) -> int:
        return physical_position

    def silence(self, buffer: MemoryView, byte_count: int) -> None:
        self.paper.note(f"silence {byte_count}")
        buffer.write(0, bytes(byte_count))


class PaperMiniport(IMiniportWaveCyclic):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, NTSTATUS] = {}
        self.streams: list[PaperStream] = []

    def note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failing:
            raise NtStatusError(self.failing[call], call)

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWaveCyclic
    ) -> NTSTATUS:
        self.port = port
        return NTSTATUS.SUCCESS

    def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
        self.note("new_stream")
        channel = self.port.new_master_dma_channel(None, BUFFER, True, False)
        channel.allocate_buffer(BUFFER)
        group = self.port.new_service_group()
        self.streams.append(PaperStream(self, channel, group))
        return NewWaveCyclicStream(self.streams[-1], channel, group)


@pytest.fixture
def system() -> Iterator[BoardSystem]:
    with open_board("model") as board:
        yield BoardSystem(board)


@pytest.fixture
def paper() -> PaperMiniport:
    return PaperMiniport()


@pytest.fixture
def port(system: BoardSystem, paper: PaperMiniport) -> Iterator[PortWaveCyclic]:
    with PortWaveCyclic(paper, system) as opened:
        yield opened


def service(port: PortWaveCyclic, paper: PaperMiniport, position: int) -> None:
    """The device is at `position` and notifies."""
    stream = paper.streams[-1]
    stream.position = position
    port.system.interrupt(lambda: port.notify(stream.group))


def memory(paper: PaperMiniport) -> bytes:
    view = paper.streams[-1].channel.system_address()
    assert view is not None
    return view.read(0, BUFFER)


def data(length: int, start: int = 0) -> bytes:
    """Bytes of which no stretch is like another, none 0."""
    return b"".join(
        (1 + (start + index) // 4).to_bytes(4, "big").replace(b"\0", b"\xee") for index in range(0, length, 4)
    )


def test_set_up_and_tear_down(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(0, False, FORMAT)
    assert paper.calls == ["new_stream", "set_state STOP", "set_notification_freq 10", f"silence {BUFFER}"]
    group = paper.streams[0].group
    assert len(group.members) == 1  # type: ignore[attr-defined]
    paper.calls.clear()
    pin.set_state(KSSTATE.RUN)
    pin.close()
    assert paper.calls == [
        *(f"set_state {name}" for name in ("ACQUIRE", "PAUSE", "RUN", "PAUSE", "ACQUIRE", "STOP")),
        f"silence {BUFFER}",
        "destroy",
    ]
    assert group.reference_count == 0 and port.pages.free_pages == 31
    pin.close()


def test_a_stream_that_fails_at_set_up_leaves_nothing(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    for call in ("new_stream", "set_state STOP", "set_notification_freq 10", f"silence {BUFFER}"):
        paper.failing = {call: NTSTATUS.IO_DEVICE_ERROR}
        with pytest.raises(NtStatusError, match=call):
            port.open_pin(0, False, FORMAT)
        assert port.pages.free_pages == 31
    paper.failing = {}
    port.open_pin(0, False, FORMAT).close()


def test_a_state_that_fails_changes_nothing(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(0, False, FORMAT)
    pin.write(data(50 * MS))
    pin.set_state(KSSTATE.RUN)
    service(port, paper, 4 * MS)
    paper.failing = {"set_state ACQUIRE": NTSTATUS.IO_DEVICE_ERROR}
    with pytest.raises(NtStatusError):
        pin.set_state(KSSTATE.STOP)
    assert pin.state is KSSTATE.PAUSE
    assert pin.position() == KSAUDIO_POSITION(4 * MS, 44 * MS) and pin.queued_bytes == 6 * MS
    paper.failing = {"set_state STOP": NTSTATUS.IO_DEVICE_ERROR}
    with pytest.raises(NtStatusError):
        pin.set_state(KSSTATE.STOP)
    assert pin.state is KSSTATE.ACQUIRE
    assert pin.position().WriteOffset == 44 * MS and memory(paper)[:100] == data(100)
    paper.failing = {}
    pin.set_state(KSSTATE.STOP)
    assert pin.position() == KSAUDIO_POSITION(0, 0) and pin.queued_bytes == 0
    assert memory(paper) == bytes(BUFFER)


def test_forty_milliseconds_ahead_of_the_device(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(0, False, FORMAT)
    stream = data(400 * MS)
    pin.write(stream)
    pin.set_state(KSSTATE.RUN)
    assert memory(paper) == stream[: 40 * MS] + bytes(60 * MS)
    # A service that was missed is made good; the amounts follow from the position.
    for at in (10, 20, 55, 65, 90, 120, 155):
        service(port, paper, at * MS % BUFFER)
        held = memory(paper)
        for byte in range(at * MS, (at + 40) * MS, 997):
            assert held[byte % BUFFER] == stream[byte]
        assert pin.position() == KSAUDIO_POSITION(at * MS, (at + 40) * MS)
    assert pin.gaps == 0


def test_short_data_are_followed_by_silence_and_taken_up_again(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(0, False, FORMAT)
    pin.write(data(220 * MS))
    pin.set_state(KSSTATE.RUN)
    for at in range(10, 210, 10):
        service(port, paper, at * MS % BUFFER)
    # 20 ms are left; everything else in the buffer is silent.
    held = memory(paper)
    assert held[: 20 * MS] == data(20 * MS, 200 * MS) and held[20 * MS :] == bytes(80 * MS)
    # More comes in time: it goes right behind, over the silence.
    pin.write(data(5 * MS, 220 * MS))
    service(port, paper, 8 * MS)
    held = memory(paper)
    assert held[8 * MS : 25 * MS] == data(17 * MS, 208 * MS) and held[25 * MS :] == bytes(75 * MS) and pin.gaps == 0
    # Too late: the device has played silence, and goes on with data further ahead.
    service(port, paper, 40 * MS)
    assert pin.position() == KSAUDIO_POSITION(225 * MS, 225 * MS)
    pin.write(data(10 * MS, 225 * MS))
    service(port, paper, 41 * MS)
    held = memory(paper)
    assert held[46 * MS : 56 * MS] == data(10 * MS, 225 * MS) and held[25 * MS : 46 * MS] == bytes(21 * MS)
    assert pin.gaps == 1 and pin.position() == KSAUDIO_POSITION(225 * MS, 235 * MS)
    service(port, paper, 48 * MS)
    assert pin.position() == KSAUDIO_POSITION(227 * MS, 235 * MS)


def test_a_looped_client_buffer_goes_round(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    client = bytearray(data(25 * MS))
    pin = port.open_pin(0, False, FORMAT, client_buffer=client)
    early, middle = KEvent(), KEvent()
    pin.add_position_event(0, early)
    pin.add_position_event(12 * MS, middle)
    pin.set_state(KSSTATE.RUN)
    assert memory(paper)[: 40 * MS] == (client * 2)[: 40 * MS]
    fired = []
    for at in range(10, 110, 10):
        service(port, paper, at * MS % BUFFER)
        fired.append((early.take(), middle.take()))
        assert pin.position() == KSAUDIO_POSITION(at * MS % len(client), (at + 40) * MS % len(client))
    # Byte 0 is passed in the services at 10, 30, 60, 80 ms; byte 12 ms in those at 20, 40, 70, 90 ms.
    assert fired == [(at in (10, 30, 60, 80), at in (20, 40, 70, 90)) for at in range(10, 110, 10)]
    pin.remove_position_event(early)
    for at in range(110, 140, 10):
        service(port, paper, at * MS % BUFFER)
    assert middle.take() and not early.take()


def test_capture_follows_the_device(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(1, True, FORMAT)
    pin.set_state(KSSTATE.RUN)
    view = paper.streams[0].channel.system_address()
    assert view is not None
    got = b""
    for at in (10, 20, 60, 90, 110, 150, 200):
        start, stop = max(at - 60, 0) * MS, at * MS
        stream = data(stop)
        for byte in range(start, stop, 4):
            view.write(byte % BUFFER, stream[byte : byte + 4])
        service(port, paper, at * MS % BUFFER)
        got += pin.read()
        assert pin.position() == KSAUDIO_POSITION(at * MS, (at - 5) * MS)
    assert got == data(195 * MS) and pin.gaps == 0
    service(port, paper, 98 * MS)
    assert pin.gaps == 1  # 98 ms came since: more than the buffer holds beside the guard
    assert pin.read()[:4] == view.read(3 * MS, 4)


def test_a_looped_capture_buffer(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    client = bytearray(12 * MS)
    pin = port.open_pin(1, True, FORMAT, client_buffer=client)
    pin.set_state(KSSTATE.RUN)
    view = paper.streams[0].channel.system_address()
    assert view is not None
    view.write(0, data(30 * MS))
    service(port, paper, 25 * MS)
    expected = bytearray(data(12 * MS))
    expected[: 8 * MS] = data(8 * MS, 12 * MS)
    assert client == expected
    assert pin.position() == KSAUDIO_POSITION(MS, 8 * MS)


def test_nothing_is_copied_outside_run(port: PortWaveCyclic, paper: PaperMiniport) -> None:
    pin = port.open_pin(0, False, FORMAT)
    pin.set_state(KSSTATE.PAUSE)
    pin.write(data(10 * MS))
    service(port, paper, 0)
    assert memory(paper) == bytes(BUFFER) and not pin.event.read_state()


def test_wrong_use_is_refused(port: PortWaveCyclic, system: BoardSystem) -> None:
    render = port.open_pin(0, False, FORMAT)
    looped = port.open_pin(1, True, FORMAT, client_buffer=bytearray(400))

    def refused(pin: WaveCyclicPin, call: str, *arguments: object) -> None:
        with pytest.raises(NtStatusError):
            getattr(pin, call)(*arguments)

    refused(render, "read")
    refused(looped, "read")
    refused(looped, "write", bytes(4))
    refused(looped, "add_position_event", 400, KEvent())
    with pytest.raises(NtStatusError):
        port.open_pin(0, False, FORMAT, client_buffer=bytearray(6))
    with pytest.raises(ValueError, match="whole frames of 4 bytes"):
        render.write(bytes(6))
    for call, arguments in (("set_state", (KSSTATE.RUN,)), ("write", (b"",)), ("close", ())):
        with system.at(IRQL.DISPATCH), pytest.raises(IrqlError, match=call):
            getattr(render, call)(*arguments)
    with system.at(IRQL.DISPATCH):
        assert render.position() == KSAUDIO_POSITION(0, 0)
    with pytest.raises(NtStatusError, match="no DMA channel 0"):
        port.new_slave_dma_channel(ResourceList(), 0, 4096, False, 0)
