"""DMA channels over the memory that a port may give away."""

from codecrig.portcls import (
    IRQL,
    NTSTATUS,
    PAGE_BYTES,
    DmaController,
    IDmaChannel,
    IDmaChannelSlave,
    MemoryView,
    NtStatusError,
    System,
)

from .pages import PageAllocator

TC_STEP_US = 10
"""WaitForTC looks each so many microseconds."""


class DmaChannel(IDmaChannel):
    """The channel of a bus master: a contiguous buffer and what is noted about it."""

    def __init__(self, system: System, pages: PageAllocator, maximum_length: int, high_address: int) -> None:
        """`high_address`: the last address that the device can reach."""
        self._system = system
        self._pages = pages
        self._maximum_length = maximum_length
        self._high_address = high_address
        self._taken: tuple[int, ...] = ()
        self._view: MemoryView | None = None
        self._buffer_size = 0

    def destroy(self) -> None:
        self._give_back()

    # ------------------------------------------------------------------ the buffer

    def allocate_buffer(self, buffer_size: int, physical_address_constraint: int | None = None) -> NTSTATUS:
        self._require(IRQL.PASSIVE, "allocate_buffer")
        if self._view is not None:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the channel has a buffer: free it first")
        if not 1 <= buffer_size <= self._maximum_length:
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"expected 1 to {self._maximum_length} bytes; found {buffer_size}"
            )

        def fits(address: int) -> bool:
            differ = address ^ address + buffer_size - 1
            return physical_address_constraint is None or not differ & ~physical_address_constraint

        count = -(-buffer_size // PAGE_BYTES)
        taken = self._pages.take_contiguous(0, self._high_address, count, fits)
        if taken is None:
            raise NtStatusError(
                NTSTATUS.INSUFFICIENT_RESOURCES, f"found no {count} neighbouring pages for {buffer_size} bytes"
            )
        self._taken = taken
        memory = self._pages.memory
        self._view = memory.slice(taken[0] * PAGE_BYTES - memory.physical_address, buffer_size)
        self._buffer_size = buffer_size
        return NTSTATUS.SUCCESS

    def free_buffer(self) -> None:
        self._require(IRQL.PASSIVE, "free_buffer")
        self._give_back()

    def _give_back(self) -> None:
        taken, self._taken = self._taken, ()
        self._view = None
        self._buffer_size = 0
        self._pages.give_back(taken)

    def allocated_buffer_size(self) -> int:
        return 0 if self._view is None else self._view.length

    def maximum_buffer_size(self) -> int:
        return self._maximum_length

    def buffer_size(self) -> int:
        return self._buffer_size

    def set_buffer_size(self, buffer_size: int) -> None:
        if 0 <= buffer_size <= self.allocated_buffer_size():
            self._buffer_size = buffer_size

    def system_address(self) -> MemoryView | None:
        return self._view

    def physical_address(self) -> int:
        return 0 if self._view is None else self._view.physical_address

    # ------------------------------------------------------------------ copies

    def copy_to(self, destination: MemoryView, source: bytes | bytearray | memoryview, byte_count: int) -> None:
        if byte_count:
            destination.write(0, bytes(source[:byte_count]))

    def copy_from(self, destination: bytearray | memoryview, source: MemoryView, byte_count: int) -> None:
        memoryview(destination)[:byte_count] = source.read(0, byte_count)

    # ------------------------------------------------------------------ the rest

    def transfer_count(self) -> int:
        return 0

    def get_adapter_object(self) -> object | None:
        return None

    def _require(self, highest: IRQL, method: str) -> None:
        self._system.require(highest, f"{type(self).__name__}.{method}")


class DmaChannelSlave(DmaChannel, IDmaChannelSlave):
    """A channel whose transfers a DMA controller of the machine makes."""

    def __init__(self, system: System, pages: PageAllocator, maximum_length: int, controller: DmaController) -> None:
        super().__init__(system, pages, maximum_length, high_address=(1 << 32) - 1)
        self._controller = controller
        self._map_size = 0
        self._started = False
        self._rounds_seen = 0

    def destroy(self) -> None:
        self._end()
        super().destroy()

    def start(self, map_size: int, write_to_device: bool) -> NTSTATUS:
        self._require(IRQL.PASSIVE, "start")
        if self._started:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the channel is started: stop it first")
        if self._view is None:
            raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the channel has no buffer")
        if not 1 <= map_size <= self._view.length:
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"expected 1 to {self._view.length} bytes; found {map_size}"
            )
        self._controller.begin(self._view.physical_address, map_size, write_to_device)
        self._map_size = map_size
        self._started = True
        self._rounds_seen = 0
        return NTSTATUS.SUCCESS

    def stop(self) -> NTSTATUS:
        self._require(IRQL.DISPATCH, "stop")
        self._end()
        return NTSTATUS.SUCCESS

    def _end(self) -> None:
        if self._started:
            self._started = False
            self._controller.end()

    def free_buffer(self) -> None:
        self._require(IRQL.PASSIVE, "free_buffer")
        self._end()
        super().free_buffer()

    def transfer_count(self) -> int:
        return self._map_size

    def read_counter(self) -> int:
        self._require(IRQL.DISPATCH, "read_counter")
        if not self._started:
            return 0
        return self._map_size - self._controller.moved() % self._map_size

    def wait_for_tc(self, timeout: int) -> NTSTATUS:
        self._require(IRQL.PASSIVE, "wait_for_tc")
        if self._started:
            steps = timeout // TC_STEP_US
            self._system.sleep(0)
            deadline = self._system.system_time() + steps * TC_STEP_US * 10
            while True:
                rounds = self._controller.moved() // self._map_size
                if rounds > self._rounds_seen:
                    self._rounds_seen = rounds
                    return NTSTATUS.SUCCESS
                if self._system.system_time() >= deadline:
                    break
                self._system.sleep(TC_STEP_US / 1_000_000)
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, f"no terminal count within {timeout} us")
