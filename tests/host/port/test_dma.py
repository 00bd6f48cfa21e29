"""DMA channels of the port side: buffers, constraints, copies, contexts. On the model's memory."""

from collections.abc import Iterator

import pytest

from codecrig.board import BoardSystem, open_board
from codecrig.port import DmaChannel, DmaChannelSlave
from codecrig.port.pages import PageAllocator
from codecrig.portcls import IRQL, NTSTATUS, DmaController, IrqlError, NtStatusError

ALL = (1 << 32) - 1


@pytest.fixture
def system() -> Iterator[BoardSystem]:
    with open_board("model") as board:
        yield BoardSystem(board)


@pytest.fixture
def pages(system: BoardSystem) -> PageAllocator:
    return PageAllocator(system.memory)


@pytest.fixture
def channel(system: BoardSystem, pages: PageAllocator) -> DmaChannel:
    return DmaChannel(system, pages, 65536, ALL)


def test_one_buffer_at_a_time(channel: DmaChannel, pages: PageAllocator) -> None:
    assert (channel.allocated_buffer_size(), channel.buffer_size(), channel.physical_address()) == (0, 0, 0)
    assert channel.system_address() is None and channel.get_adapter_object() is None
    channel.allocate_buffer(10_000)
    view = channel.system_address()
    assert view is not None and view.length == 10_000 and view.physical_address == channel.physical_address()
    with pytest.raises(NtStatusError) as caught:
        channel.allocate_buffer(4096)
    assert caught.value.status is NTSTATUS.UNSUCCESSFUL
    assert channel.system_address() is view and channel.allocated_buffer_size() == 10_000
    channel.free_buffer()
    assert pages.free_pages == 31
    channel.allocate_buffer(4096)
    channel.release()
    assert pages.free_pages == 31


@pytest.mark.parametrize("size", [0, -1, 65537])
def test_sizes_that_do_not_fit_are_refused(channel: DmaChannel, size: int) -> None:
    with pytest.raises(NtStatusError) as caught:
        channel.allocate_buffer(size)
    assert caught.value.status is NTSTATUS.INVALID_PARAMETER


def test_no_memory_left(system: BoardSystem, pages: PageAllocator, channel: DmaChannel) -> None:
    pages.take(ALL, 20)
    with pytest.raises(NtStatusError) as caught:
        channel.allocate_buffer(50_000)
    assert caught.value.status is NTSTATUS.INSUFFICIENT_RESOURCES and pages.free_pages == 11


def test_a_constraint_moves_the_buffer(pages: PageAllocator, channel: DmaChannel) -> None:
    pages.take(ALL, 3)
    channel.allocate_buffer(16384, 0x3FFF)
    assert channel.physical_address() == 16384
    channel.free_buffer()
    channel.allocate_buffer(16384)
    assert channel.physical_address() == 3 * 4096


def test_a_constraint_that_cannot_be_met(channel: DmaChannel) -> None:
    with pytest.raises(NtStatusError):
        channel.allocate_buffer(8192, 0xFFF)
    channel.allocate_buffer(4096, 0xFFF)


def test_the_size_that_is_noted(channel: DmaChannel) -> None:
    channel.allocate_buffer(8192)
    assert channel.buffer_size() == 8192
    for size, noted in ((6000, 6000), (8193, 6000), (7000, 7000), (8192, 8192)):
        channel.set_buffer_size(size)
        assert (channel.buffer_size(), channel.allocated_buffer_size()) == (noted, 8192)


def test_copies_touch_nothing_else(channel: DmaChannel) -> None:
    channel.allocate_buffer(8192)
    view = channel.system_address()
    assert view is not None
    view.write(0, b"\xaa" * 8192)
    channel.copy_to(view.slice(4090, 100), b"123456789abc", 9)
    assert view.read(4088, 13) == b"\xaa\xaa123456789\xaa\xaa"
    target = bytearray(b"z" * 12)
    channel.copy_from(memoryview(target)[1:], view.slice(4090, 20), 9)
    assert target == b"z123456789zz"
    channel.copy_to(view.slice(0, 4), b"xxxx", 0)
    assert view.read(0, 4) == b"\xaa" * 4


def test_allocation_is_for_passive_context(system: BoardSystem, channel: DmaChannel) -> None:
    with system.at(IRQL.DISPATCH), pytest.raises(IrqlError, match="DmaChannel.allocate_buffer"):
        channel.allocate_buffer(4096)


class Paper(DmaController):
    """Counts what it is told; moves when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.bytes = 0
        self.each_look = 0

    def begin(self, address: int, length: int, write_to_device: bool) -> None:
        self.calls.append(("begin", address, length, write_to_device))
        self.bytes = 0

    def end(self) -> None:
        self.calls.append(("end",))

    def moved(self) -> int:
        self.bytes += self.each_look
        return self.bytes


def test_a_slave_channel_counts_down_and_reloads(system: BoardSystem, pages: PageAllocator) -> None:
    controller = Paper()
    channel = DmaChannelSlave(system, pages, 4096, controller)
    with pytest.raises(NtStatusError):
        channel.start(100, True)
    channel.allocate_buffer(4096)
    channel.stop()
    assert controller.calls == [] and channel.read_counter() == 0
    channel.start(1000, True)
    assert controller.calls == [("begin", channel.physical_address(), 1000, True)]
    with pytest.raises(NtStatusError) as caught:
        channel.start(1000, True)
    assert caught.value.status is NTSTATUS.UNSUCCESSFUL
    for moved, counter in ((0, 1000), (1, 999), (999, 1), (1000, 1000), (2300, 700)):
        controller.bytes = moved
        assert channel.read_counter() == counter
    assert channel.transfer_count() == 1000
    channel.stop()
    channel.stop()
    assert controller.calls[1:] == [("end",)] and channel.read_counter() == 0


def test_waiting_for_terminal_count(system: BoardSystem, pages: PageAllocator) -> None:
    controller = Paper()
    channel = DmaChannelSlave(system, pages, 4096, controller)
    channel.allocate_buffer(4096)
    channel.start(1000, False)
    system.sleep(0)
    begin = system.system_time()
    with pytest.raises(NtStatusError) as caught:
        channel.wait_for_tc(1999)
    assert caught.value.status is NTSTATUS.UNSUCCESSFUL
    assert 19_900 <= system.system_time() - begin < 30_000
    with pytest.raises(NtStatusError):
        channel.wait_for_tc(9)
    controller.bytes = 1001
    channel.wait_for_tc(0)
    controller.each_look = 100
    channel.wait_for_tc(10_000)
    assert 2000 <= controller.bytes < 2200


def test_releasing_a_started_slave_channel_ends_its_transfer(system: BoardSystem, pages: PageAllocator) -> None:
    controller = Paper()
    channel = DmaChannelSlave(system, pages, 4096, controller)
    channel.allocate_buffer(4096)
    channel.start(1000, False)
    channel.release()
    assert controller.calls[-1] == ("end",) and pages.free_pages == 31
