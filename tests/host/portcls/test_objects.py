"""Reference counts, interface look-up, events, status values, views of memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecrig.portcls import NTSTATUS, IUnknown, KEvent, MemoryView, NtStatusError, PieceView, join_pieces


class OneInterface(IUnknown):
    pass


class OtherInterface(IUnknown):
    pass


class Thing(OneInterface):
    def __init__(self) -> None:
        self.destroyed = 0

    def destroy(self) -> None:
        self.destroyed += 1


def test_reference_counts_and_destruction() -> None:
    thing = Thing()
    assert thing.reference_count == 1
    assert thing.add_ref() == 2
    assert thing.release() == 1 and thing.destroyed == 0
    assert thing.release() == 0 and thing.destroyed == 1
    with pytest.raises(RuntimeError, match="more often"):
        thing.release()
    with pytest.raises(RuntimeError, match="destroyed"):
        thing.add_ref()


def test_query_interface_adds_one_reference_or_none() -> None:
    thing = Thing()
    assert thing.query_interface(OneInterface) is thing
    assert thing.reference_count == 2
    with pytest.raises(NtStatusError) as caught:
        thing.query_interface(OtherInterface)
    assert caught.value.status == NTSTATUS.INVALID_PARAMETER
    assert thing.reference_count == 2


def test_an_event_set_twice_wakes_once() -> None:
    event = KEvent()
    assert not event.take()
    event.set()
    event.set()
    assert event.read_state() and event.set_count == 2
    assert event.take() and not event.take()


def test_status_values_are_microsofts() -> None:
    assert NTSTATUS.INVALID_DEVICE_STATE == 0xC0000184
    assert NTSTATUS.DATA_LATE_ERROR == 0xC000003D
    assert NTSTATUS.PENDING.is_success and not NTSTATUS.NOT_FOUND.is_success
    with pytest.raises(ValueError, match="returned, not raised"):
        NtStatusError(NTSTATUS.PENDING)


class ArrayView(MemoryView):
    """Plain memory that counts accesses."""

    def __init__(self, length: int) -> None:
        self.data = bytearray(index * 7 % 251 for index in range(length))
        self.accesses = 0

    @property
    def physical_address(self) -> int:
        return 0x2000

    @property
    def length(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.check_range(offset, length)
        self.accesses += 1
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.check_range(offset, len(data))
        self.accesses += 1
        self.data[offset : offset + len(data)] = data


def test_touching_pieces_are_one_access() -> None:
    memory = ArrayView(64)
    view = PieceView(memory, [(8, 8), (16, 8), (40, 8)])
    assert (view.physical_address, view.length) == (0x2008, 24)
    view.write(0, b"x" * 16)
    assert memory.accesses == 1
    view.write(8, b"y" * 16)
    assert memory.accesses == 3
    assert memory.data[16:24] == b"y" * 8 == memory.data[40:48]


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 25), (24, 1), (0, -1)])
def test_a_view_refuses_what_lies_outside(offset: int, length: int) -> None:
    view = PieceView(ArrayView(64), [(8, 8), (32, 16)])
    with pytest.raises(ValueError, match="outside a view of 24 bytes"):
        view.read(offset, length)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), min_size=1, max_size=6), st.data())
def test_scattered_view_reads_and_writes_like_an_array(pieces: list[tuple[int, int]], data: st.DataObject) -> None:
    memory = ArrayView(64)
    view = PieceView(memory, pieces)
    flat = b"".join(bytes(memory.data[start : start + length]) for start, length in pieces)
    assert view.length == len(flat)
    offset = data.draw(st.integers(0, len(flat)))
    length = data.draw(st.integers(0, len(flat) - offset))
    assert view.read(offset, length) == flat[offset : offset + length]
    assert view.slice(offset, length).read(0, length) == flat[offset : offset + length]
    if sum(length for _, length in join_pieces(sorted(pieces))) == 0:
        return
    used = [index for start, count in pieces for index in range(start, start + count)]
    if len(set(used)) == len(used):  # pieces that overlap show each other's bytes
        view.write(offset, bytes(length))
        assert view.read(0, len(flat)) == flat[:offset] + bytes(length) + flat[offset + length :]
