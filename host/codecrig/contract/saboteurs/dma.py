"""DMA channels with one defect each, and a port that uses them wrongly. `sb16` and `msvad` are public samples."""

from __future__ import annotations

from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_pin
from codecrig.port.dma import DmaChannel, DmaChannelSlave
from codecrig.port.wavecyclic import PortWaveCyclic, WaveCyclicPin
from codecrig.portcls import NTSTATUS, PAGE_BYTES, MemoryView


def with_channel(objects: Objects, methods: type) -> None:
    """The WaveCyclic port makes master and slave channels with the methods of that class in place of its own."""

    class Port(PortWaveCyclic):
        def new_master_dma_channel(self, *arguments: Any, **named: Any) -> Any:
            return _mixed(super().new_master_dma_channel(*arguments, **named), methods)

        def new_slave_dma_channel(self, *arguments: Any, **named: Any) -> Any:
            return _mixed(super().new_slave_dma_channel(*arguments, **named), methods)

    objects.ports["wavecyclic"] = Port


def _mixed(made: Any, methods: type) -> Any:
    if issubclass(methods, DmaChannelSlave) and not isinstance(made, DmaChannelSlave):
        return made
    bases = (methods,) if type(made) in methods.__mro__ else (methods, type(made))
    made.__class__ = type(methods.__name__, bases, {})
    return made


@saboteur("DMA-BUF-01")
def a_second_buffer_replaces_the_first(objects: Objects) -> None:
    """AllocateBuffer on a channel with a buffer frees that and succeeds."""

    class Channel(DmaChannel):
        def allocate_buffer(self, buffer_size: int, physical_address_constraint: int | None = None) -> NTSTATUS:
            self._give_back()
            return super().allocate_buffer(buffer_size, physical_address_constraint)

    with_channel(objects, Channel)


@saboteur("DMA-BUF-02")
def constraints_are_ignored(objects: Objects) -> None:
    """AllocateBuffer takes the first pages that are free."""

    class Channel(DmaChannel):
        def allocate_buffer(self, buffer_size: int, physical_address_constraint: int | None = None) -> NTSTATUS:
            return super().allocate_buffer(buffer_size)

    with_channel(objects, Channel)


@saboteur("DMA-SIZ-01")
def the_noted_size_lowers_the_allocated_one(objects: Objects) -> None:
    """SetBufferSize also changes AllocatedBufferSize, as in a sample (defect there)."""

    class Channel(DmaChannel):
        def allocated_buffer_size(self) -> int:
            return min(super().allocated_buffer_size(), self._buffer_size)

    with_channel(objects, Channel)


@saboteur("DMA-SIZ-01")
def the_first_size_is_the_maximum(objects: Objects) -> None:
    """BufferSize is the maximum until it is set (the other reading of OP-09)."""

    class Channel(DmaChannel):
        def allocate_buffer(self, buffer_size: int, physical_address_constraint: int | None = None) -> NTSTATUS:
            status = super().allocate_buffer(buffer_size, physical_address_constraint)
            self._buffer_size = self._maximum_length
            return status

    with_channel(objects, Channel)


@saboteur("DMA-SIZ-02")
def any_size_is_noted(objects: Objects) -> None:
    """SetBufferSize takes more than was allocated."""

    class Channel(DmaChannel):
        def set_buffer_size(self, buffer_size: int) -> None:
            self._buffer_size = buffer_size

    with_channel(objects, Channel)


@saboteur("DMA-SIZ-02")
def a_size_cannot_grow_again(objects: Objects) -> None:
    """SetBufferSize compares with the size last noted."""

    class Channel(DmaChannel):
        def set_buffer_size(self, buffer_size: int) -> None:
            self._buffer_size = min(self._buffer_size, buffer_size)

    with_channel(objects, Channel)


@saboteur("DMA-ADR-01")
def the_physical_address_is_a_page_off(objects: Objects) -> None:
    """PhysicalAddress names the second page of the buffer."""

    class Channel(DmaChannel):
        def physical_address(self) -> int:
            return super().physical_address() + PAGE_BYTES

    with_channel(objects, Channel)


@saboteur("DMA-CPY-01")
def copies_whole_words(objects: Objects) -> None:
    """CopyTo rounds the count up to a multiple of 4."""

    class Channel(DmaChannel):
        def copy_to(self, destination: MemoryView, source: Any, byte_count: int) -> None:
            super().copy_to(destination, source, min(-(-byte_count // 4) * 4, destination.length))

    with_channel(objects, Channel)


@saboteur("DMA-CPY-01")
def reads_all_it_can(objects: Objects) -> None:
    """CopyFrom fills the client's memory up to the end of what it was given."""

    class Channel(DmaChannel):
        def copy_from(self, destination: Any, source: MemoryView, byte_count: int) -> None:
            super().copy_from(destination, source, min(len(destination), source.length))

    with_channel(objects, Channel)


@saboteur("DMA-PRT-01")
def a_port_asks_for_the_physical_address(objects: Objects) -> None:
    """The port calls PhysicalAddress of the miniport's channel at RUN."""

    class Pin(WaveCyclicPin):
        def set_state(self, state: Any) -> None:
            super().set_state(state)
            self._channel.physical_address()

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("DMA-PRT-01")
def a_port_frees_the_buffer(objects: Objects) -> None:
    """The port frees the buffer of the miniport's channel when it closes the pin."""

    class Pin(WaveCyclicPin):
        def close(self) -> None:
            if not self._closed:
                self._channel.free_buffer()
            super().close()

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("DMA-SLV-01")
def a_slave_channel_starts_twice(objects: Objects) -> None:
    """Start on a started channel succeeds."""

    class Channel(DmaChannelSlave):
        def start(self, map_size: int, write_to_device: bool) -> NTSTATUS:
            if self._started:
                return NTSTATUS.SUCCESS
            return super().start(map_size, write_to_device)

    with_channel(objects, Channel)


@saboteur("DMA-SLV-01")
def the_counter_counts_up(objects: Objects) -> None:
    """ReadCounter tells the bytes moved, not those left."""

    class Channel(DmaChannelSlave):
        def read_counter(self) -> int:
            return (self._map_size - super().read_counter()) or self._map_size if self._started else 0

    with_channel(objects, Channel)


@saboteur("DMA-SLV-01")
def the_counter_is_not_reloaded(objects: Objects) -> None:
    """ReadCounter stays at 1 behind the first round."""

    class Channel(DmaChannelSlave):
        def read_counter(self) -> int:
            return max(1, self._map_size - self._controller.moved()) if self._started else 0

    with_channel(objects, Channel)


@saboteur("DMA-SLV-02")
def stop_forgets_the_bounce_buffer(objects: Objects) -> None:
    """The transfer goes to a bounce buffer, whose last bytes Stop does not bring to their place."""

    class Channel(DmaChannelSlave):
        def start(self, map_size: int, write_to_device: bool) -> NTSTATUS:
            if write_to_device or self._view is None:
                return super().start(map_size, write_to_device)
            mine = self._view
            self._bounce = self._pages.take(1 << 32, 1)
            memory = self._pages.memory
            self._view = memory.slice(self._bounce[0] * PAGE_BYTES - memory.physical_address, mine.length)
            status = super().start(map_size, write_to_device)
            self._real, self._view = self._view, mine
            return status

        def stop(self) -> NTSTATUS:
            if self._started and hasattr(self, "_real") and self._view is not None:
                done = self._controller.moved() // 64 * 64  # whole lines
                self._view.write(0, self._real.read(0, min(done, self._view.length)))
            status = super().stop()
            if hasattr(self, "_real"):
                del self._real
                self._pages.give_back(self._bounce)
            return status

    with_channel(objects, Channel)


@saboteur("DMA-SLV-02")
def stop_wants_a_started_channel(objects: Objects) -> None:
    """Stop on a stopped channel stops the controller and trips over what is not there."""

    class Channel(DmaChannelSlave):
        def stop(self) -> NTSTATUS:
            if not self._started:
                raise ZeroDivisionError("no transfer under way")
            return super().stop()

    with_channel(objects, Channel)


@saboteur("DMA-SLV-02")
def waiting_takes_milliseconds(objects: Objects) -> None:
    """WaitForTC takes its time-out for milliseconds."""

    class Channel(DmaChannelSlave):
        def wait_for_tc(self, timeout: int) -> NTSTATUS:
            return super().wait_for_tc(timeout * 1000)

    with_channel(objects, Channel)


@saboteur("DMA-SLV-02")
def waiting_always_succeeds(objects: Objects) -> None:
    """WaitForTC returns success when its time is over."""

    class Channel(DmaChannelSlave):
        def wait_for_tc(self, timeout: int) -> NTSTATUS:
            try:
                return super().wait_for_tc(timeout)
            except Exception:
                return NTSTATUS.SUCCESS

    with_channel(objects, Channel)
