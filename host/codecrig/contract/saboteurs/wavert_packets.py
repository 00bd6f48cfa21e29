"""WaveRT objects with one defect each, for the rules WRI and WRO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import break_streams
from codecrig.contract.saboteurs.wavert_notification import break_interrupts
from codecrig.link import registers as regs
from codecrig.link.registers import StreamState
from codecrig.portcls import (
    KSAUDIO_PRESENTATION_POSITION,
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    NTSTATUS,
    NtStatusError,
    ReadPacket,
)

Read = Callable[[], ReadPacket]
Write = Callable[[int, int, int], NTSTATUS]
END = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM
MASK32 = 0xFFFFFFFF


def change_packets(objects: Objects, change: Callable[[Any, ReadPacket], ReadPacket]) -> None:
    """GetReadPacket passes through `change` (stream, packet)."""
    break_streams(objects, get_read_packet=lambda good, stream: change(stream, good()))


def packet_ns(stream: Any) -> int:
    """Length of a packet."""
    frames: int = stream._buffer.packet_bytes // stream._engine.format.block_bytes
    return frames * 1_000_000_000 // int(stream._engine.format.sample_rate)


# ------------------------------------------------------------------ packets in


@saboteur("WRI-PKT-01")
def reads_the_packet_in_progress(objects: Objects) -> None:
    """GetReadPacket reports the packet that is being written."""

    def instant(good: Callable[..., Any], stream: Any, look_up: Callable[[], Any]) -> Any:
        buffer, snapshot = good(look_up)
        return buffer, replace(snapshot, bytes=snapshot.bytes + buffer.packet_bytes * stream._engine.capture)

    break_streams(objects, _instant=instant)


@saboteur("WRI-PKT-01", "WRI-PKT-02")
def the_same_packet_again(objects: Objects) -> None:
    """GetReadPacket reports the newest packet as often as it is asked."""

    def read(good: Read, stream: Any) -> ReadPacket:
        stream._next_packet = 0
        return good()

    break_streams(objects, get_read_packet=read)


@saboteur("WRI-PKT-02", "WRI-PKT-03")
def numbers_from_one(objects: Objects) -> None:
    """The first packet has number 1."""
    change_packets(objects, lambda stream, packet: replace(packet, PacketNumber=packet.PacketNumber + 1 & MASK32))


@saboteur("WRI-PKT-02")
def numbers_of_31_bits(objects: Objects) -> None:
    """Numbers wrap at 2^31."""
    change_packets(objects, lambda stream, packet: replace(packet, PacketNumber=packet.PacketNumber & 0x7FFFFFFF))


@saboteur("WRI-PKT-03")
def the_first_place_twice(objects: Objects) -> None:
    """The engine writes every packet into the first place of the buffer."""

    def program(good: Callable[..., None], stream: Any, buffer: Any) -> None:
        good(buffer)
        if buffer.packets == 2:
            first = stream._ring[0]
            slot = stream._engine.ring_base + regs.DESCRIPTOR_BYTES
            stream._board.write_memory(slot, replace(stream._ring[1], address=first.address).pack())

    break_streams(objects, _program=program)


@saboteur("WRI-PKT-04")
def the_time_of_the_end(objects: Objects) -> None:
    """PerformanceCounterValue is that of the end of the packet, as the sample's arithmetic has it."""

    def change(stream: Any, packet: ReadPacket) -> ReadPacket:
        return replace(packet, PerformanceCounterValue=packet.PerformanceCounterValue + packet_ns(stream))

    change_packets(objects, change)


@saboteur("WRI-PKT-04")
def the_time_of_the_call(objects: Objects) -> None:
    """PerformanceCounterValue is that of the call, less the length of a packet."""

    def change(stream: Any, packet: ReadPacket) -> ReadPacket:
        return replace(packet, PerformanceCounterValue=stream._board.link.host_time_ns() - packet_ns(stream))

    change_packets(objects, change)


@saboteur("WRI-PKT-04", "WRO-PRS-02")
def times_two_percent_fast(objects: Objects) -> None:
    """The board's crystal runs 2 % fast."""
    objects.clock_ppm = 20_000


@saboteur("WRI-PKT-05")
def the_time_of_the_transfer(objects: Objects) -> None:
    """PerformanceCounterValue is half a millisecond late: the buffers behind the converter are left out."""

    def change(stream: Any, packet: ReadPacket) -> ReadPacket:
        return replace(packet, PerformanceCounterValue=packet.PerformanceCounterValue + 500_000)

    change_packets(objects, change)


@saboteur("WRI-PKT-06")
def flags_left_as_they_were(objects: Objects) -> None:
    """Flags is not written."""
    change_packets(objects, lambda stream, packet: replace(packet, Flags=0xCCCCCCCC))


@saboteur("WRI-PKT-06")
def there_is_always_more(objects: Objects) -> None:
    """MoreData is TRUE all the time."""
    change_packets(objects, lambda stream, packet: replace(packet, MoreData=True))


@saboteur("WRI-PKT-07")
def counts_what_was_read(objects: Objects) -> None:
    """The number is that of the last packet read plus one, also where packets were lost."""

    def change(stream: Any, packet: ReadPacket) -> ReadPacket:
        stream.read_so_far = getattr(stream, "read_so_far", 0) + 1
        return replace(packet, PacketNumber=stream.read_so_far - 1)

    change_packets(objects, change)


@saboteur("WRI-PKT-07")
def keeps_to_the_oldest(objects: Objects) -> None:
    """A packet that was overwritten is reported all the same."""

    def read(good: Read, stream: Any) -> ReadPacket:
        due = stream._next_packet
        packet = good()
        stream._next_packet = due + 1
        return replace(packet, PacketNumber=due)

    break_streams(objects, get_read_packet=read)


@saboteur("WRI-PKT-08")
def packets_from_any_buffer(objects: Objects) -> None:
    """GetReadPacket without notification says that there is no packet yet."""

    def read(good: Read, stream: Any) -> ReadPacket:
        try:
            return good()
        except NtStatusError as error:
            if error.status is NTSTATUS.NOT_SUPPORTED:
                raise NtStatusError(NTSTATUS.DEVICE_NOT_READY) from error
            raise

    break_streams(objects, get_read_packet=read)


@saboteur("WRI-PKT-09")
def reads_in_acquire(objects: Objects) -> None:
    """Packets can be read in any state."""
    break_streams(objects, _readable_buffer=lambda good, stream: stream._notification_buffer())


@saboteur("WRI-PKT-09")
def reads_in_run_only(objects: Objects) -> None:
    """Packets completed before PAUSE cannot be read in PAUSE."""

    def read(good: Read, stream: Any) -> ReadPacket:
        if stream._state is not KSSTATE.RUN:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_STATE)
        return good()

    break_streams(objects, get_read_packet=read)


@saboteur("WRI-PKT-10")
def times_that_do_not_know_of_the_pause(objects: Objects) -> None:
    """Times are worked out from the first start and the sample rate."""

    def ticks(good: Callable[..., int], stream: Any, number: int, buffer: Any, snapshot: Any) -> int:
        first = number * buffer.packet_bytes // stream._engine.format.block_bytes
        start = stream._times._stretches[0].start_ticks
        return int(start + first * stream._engine.frame_clocks)

    break_streams(objects, _first_frame_ticks=ticks)


@saboteur("WRI-PKT-10")
def a_pause_ends_the_packet(objects: Objects) -> None:
    """RUN behind PAUSE begins with the next packet."""

    def change(stream: Any, packet: ReadPacket) -> ReadPacket:
        return replace(packet, PacketNumber=packet.PacketNumber + len(stream._times._stretches) - 1)

    change_packets(objects, change)


# ------------------------------------------------------------------ packets out: counts


@saboteur("WRO-CNT-01")
def counts_what_was_played(objects: Objects) -> None:
    """GetPacketCount counts packets that were played."""

    def count(good: Callable[[], int], stream: Any) -> int:
        good()
        played: int = stream._engine.snapshot().frames * stream._engine.format.block_bytes
        return played // int(stream._buffer.packet_bytes)

    break_streams(objects, get_packet_count=count)


@saboteur("WRO-CNT-02")
def stops_counting_without_packets(objects: Objects) -> None:
    """The count does not go beyond the packets written."""

    def count(good: Callable[[], int], stream: Any) -> int:
        return min(good(), getattr(stream, "written", 0) + 1)

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        status = good(number, flags, length)
        stream.written = number + 1
        return status

    break_streams(objects, get_packet_count=count, set_write_packet=write)


@saboteur("WRO-CNT-02")
def a_count_that_does_not_wrap(objects: Objects) -> None:
    """The count sticks at 2^32 - 1."""

    def count(good: Callable[[], int], stream: Any) -> int:
        good()
        return min(int(stream._engine.snapshot().bytes) // int(stream._buffer.packet_bytes), MASK32)

    break_streams(objects, get_packet_count=count)


@saboteur("WRO-CNT-03")
def a_count_from_zero(objects: Objects) -> None:
    """The count is the number of the last whole packet: one less."""
    break_streams(objects, get_packet_count=lambda good, stream: max(0, good() - 1))


@saboteur("WRO-CNT-04")
def a_plain_buffer_is_one_packet(objects: Objects) -> None:
    """A buffer without notification counts as one packet."""

    def buffer(good: Callable[[], Any], stream: Any) -> Any:
        return stream._any_buffer()

    break_streams(objects, _notification_buffer=buffer)


# ------------------------------------------------------------------ packets out: SetWritePacket


def window(objects: Objects, least: int, most: int) -> None:
    """In RUN, packets from `least` to `most` ahead are accepted."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        try:
            return good(number, flags, length)
        except NtStatusError as error:
            if error.status not in (NTSTATUS.DATA_LATE_ERROR, NTSTATUS.DATA_OVERRUN):
                raise
            ahead = (number - stream.get_packet_count() + 0x80000000 & MASK32) - 0x80000000
            if least <= ahead <= most:
                return NTSTATUS.SUCCESS
            raise

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-01")
def one_packet_at_a_time(objects: Objects) -> None:
    """In RUN the next packet is refused until the engine has finished the one in transfer."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        if stream._state is KSSTATE.RUN and number != stream.get_packet_count():
            raise NtStatusError(NTSTATUS.DATA_OVERRUN)
        return good(number, flags, length)

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-02")
def takes_the_packet_in_transfer(objects: Objects) -> None:
    """In RUN the packet in transfer is accepted."""
    window(objects, 0, 0)


@saboteur("WRO-SWP-03")
def takes_one_packet_more(objects: Objects) -> None:
    """A packet whose place is in transfer is accepted."""
    window(objects, 2, 2)


@saboteur("WRO-SWP-04")
def compares_without_the_wrap(objects: Objects) -> None:
    """Packet numbers are compared as they stand."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        count, running = stream.get_packet_count(), stream._state is KSSTATE.RUN
        if number < count + running:
            raise NtStatusError(NTSTATUS.DATA_LATE_ERROR)
        if number >= count + 2:
            raise NtStatusError(NTSTATUS.DATA_OVERRUN)
        return NTSTATUS.SUCCESS

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-05")
def no_end_at_the_very_end(objects: Objects) -> None:
    """A last packet must not be full."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        if flags & END and stream._buffer is not None and length >= stream._buffer.packet_bytes:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER)
        return good(number, flags, length)

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-05")
def checks_a_length_that_does_not_count(objects: Objects) -> None:
    """The length is checked without the flag, too."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        if stream._buffer is not None and length > stream._buffer.packet_bytes:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER)
        return good(number, flags, length)

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-06")
def looks_at_one_flag_only(objects: Objects) -> None:
    """Unknown flags are ignored, as in the sample."""
    break_streams(
        objects, set_write_packet=lambda good, stream, number, flags, length: good(number, flags & END, length)
    )


@saboteur("WRO-SWP-07")
def goes_on_behind_the_end(objects: Objects) -> None:
    """Packets are accepted behind the last one."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        stream._end_of_stream = False
        return good(number, flags, length)

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-07")
def a_pause_opens_the_stream_again(objects: Objects) -> None:
    """PAUSE clears the mark of the end."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> Any:
        result = good(state)
        if state is KSSTATE.PAUSE:
            stream._end_of_stream = False
        return result

    break_streams(objects, set_state=set_state)


@saboteur("WRO-SWP-08")
def stops_at_a_refusal(objects: Objects) -> None:
    """A refused packet makes the stream stop for a moment."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        try:
            return good(number, flags, length)
        except NtStatusError:
            if stream._state is KSSTATE.RUN:
                stream._engine.command(StreamState.STOP)
                stream._engine.command(StreamState.RUN)
            raise

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-08")
def ends_before_it_looks(objects: Objects) -> None:
    """The end of the stream is marked before the number is checked."""

    def write(good: Write, stream: Any, number: int, flags: int, length: int) -> NTSTATUS:
        try:
            return good(number, flags, length)
        except NtStatusError:
            stream._end_of_stream = stream._end_of_stream or bool(flags & END)
            raise

    break_streams(objects, set_write_packet=write)


@saboteur("WRO-SWP-09")
def plays_on_behind_the_end(objects: Objects) -> None:
    """The end of the stream is noted, and the buffer goes round."""
    break_streams(objects, _end_stream=lambda good, stream, *arguments: None)


@saboteur("WRO-SWP-09")
def no_event_for_the_end(objects: Objects) -> None:
    """Only whole packets raise an event."""

    def interrupt(good: Callable[..., None], stream: Any, record: Any) -> None:
        if stream._engine.capture or record.data2 % stream._buffer.packet_bytes == 0:
            good(record)

    break_interrupts(objects, _interrupt=interrupt)


# ------------------------------------------------------------------ packets out: presentation position


def change_presentation(
    objects: Objects, change: Callable[[Any, KSAUDIO_PRESENTATION_POSITION], KSAUDIO_PRESENTATION_POSITION]
) -> None:
    """GetOutputStreamPresentationPosition passes through `change` (stream, pair)."""
    break_streams(objects, get_output_stream_presentation_position=lambda good, stream: change(stream, good()))


@saboteur("WRO-PRS-01")
def presents_what_was_fetched(objects: Objects) -> None:
    """The position is that of the engine's fetches."""

    def change(stream: Any, found: KSAUDIO_PRESENTATION_POSITION) -> KSAUDIO_PRESENTATION_POSITION:
        fetched = stream._engine.snapshot().bytes // stream._engine.format.block_bytes
        return replace(found, u64PositionInBlocks=fetched)

    change_presentation(objects, change)


@saboteur("WRO-PRS-02")
def times_of_a_coarse_clock(objects: Objects) -> None:
    """The time of the pair is the system time, which moves every 15.6 ms."""

    def change(stream: Any, found: KSAUDIO_PRESENTATION_POSITION) -> KSAUDIO_PRESENTATION_POSITION:
        return replace(found, u64QPCPosition=found.u64QPCPosition // 15_625_000 * 15_625_000)

    change_presentation(objects, change)


@saboteur("WRO-PRS-03")
def goes_on_in_pause(objects: Objects) -> None:
    """The position is worked out from the time since RUN, also in PAUSE."""

    def change(stream: Any, found: KSAUDIO_PRESENTATION_POSITION) -> KSAUDIO_PRESENTATION_POSITION:
        if not stream._times.has_run:
            return found
        elapsed = stream._board.clock.now() - stream._run_ticks
        return replace(found, u64PositionInBlocks=elapsed // stream._engine.frame_clocks)

    change_presentation(objects, change)


@saboteur("WRO-PRS-03")
def blocks_of_the_buffer(objects: Objects) -> None:
    """The position begins at 0 again with each turn of the buffer."""

    def change(stream: Any, found: KSAUDIO_PRESENTATION_POSITION) -> KSAUDIO_PRESENTATION_POSITION:
        turn = stream._buffer.actual_bytes // stream._engine.format.block_bytes
        return replace(found, u64PositionInBlocks=found.u64PositionInBlocks % turn)

    change_presentation(objects, change)


@saboteur("WRO-PRS-04")
def the_time_at_the_engine(objects: Objects) -> None:
    """The pair leaves out half a millisecond between engine and output jack."""

    def change(stream: Any, found: KSAUDIO_PRESENTATION_POSITION) -> KSAUDIO_PRESENTATION_POSITION:
        return replace(found, u64QPCPosition=found.u64QPCPosition - 500_000)

    change_presentation(objects, change)
