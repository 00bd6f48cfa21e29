"""Checks of the rules DMA: the channels that the WaveCyclic port makes, and what it does with a miniport's channel."""

from __future__ import annotations

from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.watch import unwrap
from codecrig.link.registers import InputSelect
from codecrig.measure.pattern import ramp
from codecrig.miniport.dma import CAPTURE_STREAM, PACE, RENDER_STREAM, EngineDmaController
from codecrig.portcls import (
    KSSTATE,
    NTSTATUS,
    PAGE_BYTES,
    IDmaChannel,
    IDmaChannelSlave,
    MemoryView,
    NtStatusError,
    ResourceList,
)
from codecrig.wave import unpack_samples

CHANNEL_BYTES = 8 * PAGE_BYTES
SLAVE_BYTES = 2048
"""Map size of slave transfers: 512 frames, 10.7 ms."""
ALLOWED_OF_THE_PORT = {
    "allocated_buffer_size", "buffer_size", "copy_from", "copy_to", "set_buffer_size", "system_address",
}  # fmt: skip
REFUSED = (NTSTATUS.UNSUCCESSFUL,)


def _channel(rig: Rig, maximum: int = CHANNEL_BYTES) -> IDmaChannel:
    channel: IDmaChannel = rig.port("wavecyclic").new_master_dma_channel(None, maximum, True, False)
    return channel


def _memory(rig: Rig, channel: IDmaChannel) -> MemoryView:
    view = channel.system_address()
    rig.expect(view is not None, "SystemAddress of a channel with a buffer", "an address", view)
    assert view is not None
    return view


def _bytes(count: int, seed: int = 1) -> bytes:
    """Bytes that repeat after 251, none like the next."""
    return bytes((seed + 7 * index) % 251 for index in range(count))


@check("DMA-BUF-01")
def one_buffer_at_a_time(rig: Rig) -> None:
    """Allocates twice, compares the first buffer before and after, then frees and allocates again."""
    channel = _channel(rig)
    channel.allocate_buffer(5000)
    view, address = _memory(rig, channel), channel.physical_address()
    view.write(0, _bytes(5000))
    rig.expect_status("AllocateBuffer on a channel with a buffer", NTSTATUS.UNSUCCESSFUL, channel.allocate_buffer, 4096)
    rig.expect_equal("AllocatedBufferSize behind it", channel.allocated_buffer_size(), 5000)
    rig.expect_equal("PhysicalAddress behind it", channel.physical_address(), address)
    rig.expect(_memory(rig, channel).read(0, 5000) == _bytes(5000), "content behind it", "as before", "other bytes")
    channel.free_buffer()
    channel.allocate_buffer(4096)
    rig.note("AllocateBuffer", "again only behind FreeBuffer", "status and addresses of the channel")
    channel.release()


@check("DMA-BUF-02")
def constraints_hold(rig: Rig) -> None:
    """Allocates under constraints, with other buffers in the way, and compares first and last address bit by bit."""
    port = rig.port("wavecyclic")
    for pages_before in (0, 1, 3):
        for size, constraint in ((4096, 0xFFF), (8192, 0x1FFF), (16384, 0x3FFF), (10_000, 0xFFFF), (20_000, 0x7FFF)):
            spacer = port.new_master_dma_channel(None, CHANNEL_BYTES, True, False)
            if pages_before:
                spacer.allocate_buffer(pages_before * PAGE_BYTES)
            channel = port.new_master_dma_channel(None, CHANNEL_BYTES, True, False)
            channel.allocate_buffer(size, constraint)
            first = channel.physical_address()
            last = first + size - 1
            rig.expect_equal(
                f"bits in which 0x{first:X} and 0x{last:X} differ, outside 0x{constraint:X}",
                (first ^ last) & ~constraint,
                0,
            )
            rig.note(f"{size} bytes with constraint 0x{constraint:X}", f"0x{first:X} to 0x{last:X}", "PhysicalAddress")
            channel.release()
            spacer.release()


@check("DMA-SIZ-01")
def the_size_is_a_note(rig: Rig) -> None:
    """Reads both sizes behind AllocateBuffer and behind each SetBufferSize."""
    channel = _channel(rig)
    channel.allocate_buffer(8192)
    rig.expect_equal("BufferSize behind AllocateBuffer", channel.buffer_size(), 8192)
    for size in (6000, 100, 8192):
        channel.set_buffer_size(size)
        rig.expect_equal(f"BufferSize behind SetBufferSize({size})", channel.buffer_size(), size)
        rig.expect_equal(f"AllocatedBufferSize behind SetBufferSize({size})", channel.allocated_buffer_size(), 8192)
    rig.note("sizes", "BufferSize follows, AllocatedBufferSize stays 8192", "calls of the channel")
    channel.release()


@check("DMA-SIZ-02")
def a_size_beyond_the_buffer_has_no_effect(rig: Rig) -> None:
    """Notes more than was allocated, then less and again all."""
    channel = _channel(rig)
    channel.allocate_buffer(8192)
    for noted, expected in ((8193, 8192), (3000, 3000), (CHANNEL_BYTES, 3000), (5000, 5000), (8192, 8192)):
        channel.set_buffer_size(noted)
        rig.expect_equal(f"BufferSize behind SetBufferSize({noted})", channel.buffer_size(), expected)
    rig.note("sizes noted", "never above 8192, and up to it again", "BufferSize")
    channel.release()


def _slave(rig: Rig, size: int) -> IDmaChannelSlave:
    resources = ResourceList([EngineDmaController(rig.board)])
    channel: IDmaChannelSlave = rig.port("wavecyclic").new_slave_dma_channel(resources, 0, CHANNEL_BYTES, False, 0)
    channel.allocate_buffer(size)
    return channel


@check("DMA-ADR-01")
def both_addresses_name_the_same_memory(rig: Rig) -> None:
    """Writes a pattern at SystemAddress, lets the engine play it from PhysicalAddress, and compares what comes back."""
    size = 3 * PAGE_BYTES
    channel = _channel(rig)
    channel.allocate_buffer(size)
    frames = size // PACE.block_bytes
    data = b"".join((2 * frame + 1 & 0xFFFF).to_bytes(2, "little") * 2 for frame in range(frames))
    _memory(rig, channel).write(0, data)
    back = _channel(rig, 2 * size)
    back.allocate_buffer(2 * size)
    player, recorder = EngineDmaController(rig.board), EngineDmaController(rig.board)
    recorder.begin(back.physical_address(), 2 * size, False)
    player.begin(channel.physical_address(), size, True)
    with rig.converter(InputSelect.LOOPBACK):
        rig.system.sleep(1.3 * frames / PACE.sample_rate)
        snapshot = rig.board.snapshot(RENDER_STREAM)
        player.end()
        recorder.end()
    rig.moved(snapshot.bytes, f"STREAM[{RENDER_STREAM}].SNAP_BYTES")
    rig.expect(snapshot.bytes >= size, "bytes that the engine fetched", f"all {size}", snapshot.bytes)
    heard = _memory(rig, back).read(0, 2 * size)
    start = next((at for at in range(0, size, 4) if heard[at : at + 4] != bytes(4)), size)
    for place, at in (("at 0", 0), *((f"around page edge {edge}", edge - 2) for edge in (PAGE_BYTES, 2 * PAGE_BYTES)),
                      ("at the last bytes", size - 4)):  # fmt: skip
        found = heard[start + at : start + at + 4]
        rig.expect_equal(f"bytes transferred {place}", found.hex(), data[at : at + 4].hex())
    rig.expect(heard[start : start + size] == data, "all bytes transferred", "those written", "others")
    rig.note("pattern of three pages", f"came back behind {start // 4} frames", "memory behind stream 3")


@check("DMA-CPY-01")
def copies_move_exactly_the_bytes(rig: Rig) -> None:
    """Copies odd counts to and from odd places, and looks at every other byte on both sides."""
    channel = _channel(rig)
    channel.allocate_buffer(8192)
    view = _memory(rig, channel)
    for offset, count in ((0, 1), (1, 3), (4093, 7), (100, 5000), (8191, 1), (8192 - 333, 333), (17, 0)):
        view.write(0, b"\xa5" * 8192)
        room = min(count + 16, 8192 - offset)
        channel.copy_to(view.slice(offset, room), _bytes(count + 16), count)
        expected = b"\xa5" * offset + _bytes(count) + b"\xa5" * (8192 - offset - count)
        rig.expect(view.read(0, 8192) == expected, f"buffer behind CopyTo of {count} bytes to {offset}",
                   "these bytes and no others changed", _difference(view.read(0, 8192), expected))  # fmt: skip
        view.write(0, _bytes(8192, 3))
        client = bytearray(b"\x5a" * (count + 32))
        channel.copy_from(memoryview(client)[16:], view.slice(offset, room), count)
        wanted = b"\x5a" * 16 + _bytes(8192, 3)[offset : offset + count] + b"\x5a" * 16
        rig.expect(bytes(client) == wanted, f"client's memory behind CopyFrom of {count} bytes from {offset}",
                   "these bytes and no others changed", _difference(client, wanted))  # fmt: skip
        rig.expect(view.read(0, 8192) == _bytes(8192, 3), "buffer behind CopyFrom", "unchanged", "changed")
    rig.note("copies of 0 to 5000 bytes", "exact in both directions", "common buffer and client memory")
    channel.release()


def _difference(found: bytes | bytearray, expected: bytes) -> str:
    if len(found) != len(expected):
        return f"{len(found)} bytes in place of {len(expected)}"
    wrong = [n for n, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other]
    return f"byte {wrong[0]} is wrong" if wrong else "none"


@check("DMA-PRT-01")
def the_port_keeps_to_its_methods(rig: Rig) -> None:
    """Runs both directions through set-up, states, services, positions and closing; lists the port's calls."""
    port = rig.port("wavecyclic")
    with rig.converter(InputSelect.LOOPBACK):
        pins = [port.open_pin(number, number == 1, rig.formats[0]) for number in (0, 1)]
        pins[0].write(bytes(rig.formats[0].bytes_per_second // 40 // 8 * 8))
        for pin in pins:
            pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.05)
        for pin in pins:
            pin.position()
            pin.set_state(KSSTATE.PAUSE)
            pin.set_state(KSSTATE.RUN)
            pin.set_state(KSSTATE.STOP)
            pin.set_format(rig.formats[-1] if rig.formats[-1].sample_rate == pin.format.sample_rate else pin.format)
            pin.close()
    channels = [unwrap(call.result.DmaChannel) for call in rig.trace.of("new_stream", caller="port")]
    called: dict[str, int] = {}
    for call in rig.trace.calls:
        if call.caller == "port" and any(call.target is channel for channel in channels):
            called[call.method] = called.get(call.method, 0) + 1
    others = sorted(set(called) - ALLOWED_OF_THE_PORT - {"add_ref", "release"})
    rig.expect_equal("methods of the channel that the port must not call", others, [])
    for method in ("copy_to", "copy_from", "system_address"):
        rig.expect(method in called, f"calls of {method}", "some", 0)
    for method, count in sorted(called.items()):
        rig.note(f"calls of {method} by the port", count, "calls")


@check("DMA-SLV-01")
def the_counter_of_a_slave_channel(rig: Rig) -> None:
    """Starts a slave channel twice and follows its counter over three rounds, against the engine's own count."""
    channel = _slave(rig, SLAVE_BYTES)
    _memory(rig, channel).write(0, _bytes(SLAVE_BYTES))
    rig.expect_equal("ReadCounter before Start", channel.read_counter(), 0)
    with rig.converter(InputSelect.LOOPBACK):
        channel.start(SLAVE_BYTES, True)
        try:
            rig.expect_status("Start on a started channel", REFUSED, channel.start, SLAVE_BYTES, True)
            reloads, last = 0, SLAVE_BYTES
            for _ in range(24):
                before = rig.board.snapshot(RENDER_STREAM).bytes
                counter = channel.read_counter()
                after = rig.board.snapshot(RENDER_STREAM).bytes
                rig.expect_within("ReadCounter", counter, 1, SLAVE_BYTES, "bytes")
                passed = (SLAVE_BYTES - counter - before) % SLAVE_BYTES
                rig.expect(
                    passed <= after - before,
                    "MapSize minus ReadCounter, as offset",
                    f"from {before % SLAVE_BYTES} to {after % SLAVE_BYTES}",
                    SLAVE_BYTES - counter,
                )
                reloads += counter > last
                last = counter
                rig.system.sleep(0.0012)
            rig.expect_equal("Start that was refused: bytes moved", after > SLAVE_BYTES, True)
        finally:
            channel.stop()
    rig.moved(rig.board.snapshot(RENDER_STREAM).bytes, f"STREAM[{RENDER_STREAM}].SNAP_BYTES")
    rig.expect(reloads >= 2, "reloads of the counter", "at least 2", reloads)
    rig.note("reloads of the counter to MapSize", reloads, "ReadCounter")
    channel.release()


@check("DMA-SLV-02")
def stopping_flushes_and_waiting_ends(rig: Rig) -> None:
    """Stops a slave transfer from the pattern and looks for every frame in memory; waits for terminal counts."""
    channel = _slave(rig, SLAVE_BYTES)
    channel.stop()
    view = _memory(rig, channel)
    system = rig.system
    for frames in (100, 233, 317):
        view.write(0, b"\xee" * SLAVE_BYTES)
        with rig.converter(InputSelect.PATTERN):
            channel.start(SLAVE_BYTES, False)
            system.sleep(frames / PACE.sample_rate)
            channel.stop()
            channel.stop()
            snapshot = rig.board.snapshot(CAPTURE_STREAM)
        rig.moved(snapshot.bytes, f"STREAM[{CAPTURE_STREAM}].SNAP_BYTES")
        rig.expect_equal("bytes in memory behind Stop, for frames converted",
                         snapshot.bytes, snapshot.frames * PACE.block_bytes)  # fmt: skip
        count = min(snapshot.frames, SLAVE_BYTES // PACE.block_bytes)
        found = unpack_samples(view.read(0, count * PACE.block_bytes), 2, 16, 16)
        wrong = int((found != ramp(0, count, 2, 16)).any(axis=1).sum()) if snapshot.frames == count else 0
        rig.expect_equal(f"wrong frames among {count} in memory behind Stop", wrong, 0)
        rig.expect_equal("ReadCounter behind Stop", channel.read_counter(), 0)
    with rig.converter(InputSelect.LOOPBACK):
        channel.start(SLAVE_BYTES, True)
        try:
            begin = _now(rig)
            rig.expect_status("WaitForTC(1009) in a round of 10.7 ms", NTSTATUS.UNSUCCESSFUL, channel.wait_for_tc, 1009)
            waited = _now(rig) - begin
            rig.expect_within("time that WaitForTC(1009) took", waited / 10, 1000, 4000, "us")
            rig.note("WaitForTC(1009)", f"failed behind {waited / 10:.0f} us", "system time")
            channel.wait_for_tc(20_000)
            waited = _now(rig) - begin
            rig.expect_within("time from Start to the terminal count", waited / 10, 9000, 20_000, "us")
            rig.note("WaitForTC(20000)", f"succeeded {waited / 10:.0f} us behind Start", "system time")
        finally:
            channel.stop()
    try:
        channel.wait_for_tc(9)
    except NtStatusError:
        pass
    else:
        rig.expect(False, "WaitForTC(9) on a stopped channel", "a failure", "success")
    channel.release()


def _now(rig: Rig) -> int:
    rig.system.sleep(0)
    return rig.system.system_time()
