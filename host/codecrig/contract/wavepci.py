"""Checks of the rules WP: WavePci streams and mappings.

Rules of ports are judged with a scripted miniport; rules of miniports with pieces of memory in place of packets, so
that every size, address and moment can be chosen. What is played comes back through the board's digital loopback.
"""

from __future__ import annotations

import math

import numpy as np

from codecrig.board import stream_register
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.verdict import RuleFailed
from codecrig.contract.watch import unwrap
from codecrig.contract.wavepci_doubles import (
    Piece,
    Script,
    ScriptedMiniport,
    ScriptedStream,
    WavePciBench,
    WavePciSide,
)
from codecrig.link import registers as regs
from codecrig.port import PortWavePci, WavePciPin
from codecrig.portcls import (
    IRQL,
    KSALLOCATOR_FRAMING,
    KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
    KSSTATE,
    NTSTATUS,
    PAGE_BYTES,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IPreFetchOffset,
    IServiceGroup,
    KEvent,
    NtStatusError,
)

POLL_MS = 20
"""The port looks at a stream without a service group so often."""
POLL_SPAN_MS = 110
ENGINE_FIFO_BYTES = 64
DESCRIPTOR_FLOOD = 150
"""Mappings at once: more than any queue of the engine has descriptors for."""
INTERRUPT_GAP_S = 0.016
"""`At least about every 10 ms`: two intervals less a fifth, so that one missing interrupt is seen."""


class ScriptedPort:
    """The port under test over a scripted miniport."""

    def __init__(self, rig: Rig, *, stream_group: bool = True, init_group: bool = False) -> None:
        self.rig = rig
        self.script = Script(stream_group=stream_group, init_group=init_group)
        self.miniport = ScriptedMiniport(self.script)
        self.port: PortWavePci = rig.objects.port("wavepci")(rig.trace.wrap(self.miniport, "port"), rig.system)
        self.miniport.release()
        rig.keep(self.port)

    def open(self, *, capture: bool = False) -> tuple[WavePciPin, ScriptedStream]:
        """A pin, and the scripted stream behind it."""
        pin = self.port.open_pin(int(capture), capture, self.rig.formats[0])
        return pin, self.script.streams[-1]

    def scattered_pages(self, count: int) -> tuple[int, ...]:
        """Pages of which no two neighbours follow one another."""
        pages = self.port.pages.take(self.rig.system.memory.length - 1, count)
        return tuple(reversed(pages))


def deferred(rig: Rig, call: object, *arguments: object) -> None:
    """Make a call in deferred context."""
    with rig.system.at(IRQL.DISPATCH):
        call(*arguments)  # type: ignore[operator]


# ---------------------------------------------------------------------- NewStream


@check("WP-NEW-01")
def a_new_stream_stands_at_zero(rig: Rig) -> None:
    """Makes a stream of each direction and asks it; then lets the port look after one that has no service group."""
    bench = WavePciBench(rig)
    for capture in (False, True):
        side = bench.side(capture=capture)
        name = "capture" if capture else "render"
        group = side.made.ServiceGroup
        rig.expect(group is None or isinstance(group, IServiceGroup), f"{name}: service group", "one, or None", group)
        rig.expect_equal(f"{name}: position of a new stream", side.position(), 0)
        state = rig.board.snapshot(side.number).state
        rig.expect_equal(f"{name}: state of the engine's stream", state.name, "STOP")
        side.stream.set_state(KSSTATE.STOP)
        rig.expect_equal(f"{name}: position after STOP was asked for again", side.position(), 0)
    scripted = ScriptedPort(rig, stream_group=False)
    pin, stream = scripted.open()
    event = KEvent("position")
    pin.add_position_event(1000, event)
    pin.set_state(KSSTATE.RUN)
    rig.system.sleep(POLL_SPAN_MS / 2000)
    rig.expect_equal("position event before its position", event.read_state(), False)
    stream.position = 1001
    rig.system.sleep(POLL_SPAN_MS / 2000)
    asked = len(stream.calls("get_position"))
    rig.note("GetPosition in 110 ms without a service group", asked, "calls of the port")
    rig.expect_within("GetPosition calls in 110 ms", asked, POLL_SPAN_MS // POLL_MS - 1, POLL_SPAN_MS // POLL_MS + 1)
    rig.expect_equal("position event behind its position", event.read_state(), True)


@check("WP-NEW-02")
def the_channel_is_left_alone(rig: Rig) -> None:
    """Counts references and calls on the DMA channel from NewStream to the end of the port."""
    scripted = ScriptedPort(rig)
    channel = unwrap(scripted.miniport.channel)
    assert isinstance(channel, IDmaChannel), "made in Init"
    before = channel.reference_count
    pin, stream = scripted.open()
    during = [channel.reference_count]
    pin.submit(bytes(100))
    pin.set_state(KSSTATE.RUN)
    stream.take_all()
    during.append(channel.reference_count)
    pin.close()
    during.append(channel.reference_count)
    rig.note("references on the channel", f"{before}, then {during}", "reference_count")
    rig.expect_equal("references from opening to closing the stream", during, [before] * 3)
    calls = [call.method for call in rig.trace.calls if call.target is channel and call.caller == "port"]
    rig.expect_equal("calls that the port made on the channel", calls, [])


# ---------------------------------------------------------------------- allocator framing


@check("WP-FRM-01")
def framing_is_a_preference(rig: Rig) -> None:
    """Asks for the framing in every format and direction."""
    bench = WavePciBench(rig)
    for form in rig.formats:
        for capture in (False, True):
            bench.format = form
            side = bench.side(capture=capture)
            framing = side.stream.get_allocator_framing()
            where = f"{form.describe()}, {'capture' if capture else 'render'}"
            rig.expect(isinstance(framing, KSALLOCATOR_FRAMING), f"{where}: framing", "KSALLOCATOR_FRAMING", framing)
            whole = framing.FrameSize >= 0 and framing.FrameSize % form.block_bytes == 0
            rig.expect(whole, f"{where}: FrameSize", f"whole blocks of {form.block_bytes}", framing.FrameSize)
            rig.expect_equal(f"{where}: Reserved", framing.Reserved, 0)
            only = bool(framing.RequirementsFlags & KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY)
            rig.expect(only, f"{where}: RequirementsFlags", "preferences only set", hex(framing.RequirementsFlags))
            rig.note(where, f"{framing.Frames} of {framing.FrameSize} bytes", "GetAllocatorFraming")
            side.close_now()


@check("WP-FRM-02")
def any_other_size_works(rig: Rig) -> None:
    """Plays mappings smaller and larger than FrameSize, and compares what comes back."""
    bench = WavePciBench(rig)
    side = bench.side()
    size = side.stream.get_allocator_framing().FrameSize or 1920
    lengths = [size // 7, size // 3 + 1, size + 2, 2 * size + 5, 48]
    play_and_compare(rig, bench, side, bench.put(lengths))


def play_and_compare(rig: Rig, bench: WavePciBench, side: WavePciSide, made: tuple[bytes, list[Piece]]) -> None:
    """Feeds pieces before RUN, plays them to the end, and compares the capture with the data."""
    data, pieces = made
    capture = bench.listener()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    frames = len(data) // bench.format.block_bytes
    with bench.clock():
        bench.until(lambda: side.moved_bytes() == len(data), frames + 960)
        bench.sleep_frames(96)
        side.note_moved()
    heard = bench.heard(capture)
    rig.note("frames heard", f"{len(heard) // bench.format.block_bytes} of {frames}", "loopback capture")
    expect_same(rig, bench, heard, data[: bench.whole_frames(len(data))])


def expect_same(rig: Rig, bench: WavePciBench, heard: bytes, expected: bytes) -> None:
    """Fail the rule at the first byte that differs."""
    if heard == expected:
        return
    common = min(len(heard), len(expected))
    differ = np.flatnonzero(np.frombuffer(heard[:common], np.uint8) != np.frombuffer(expected[:common], np.uint8))
    at = int(differ[0]) if len(differ) else common
    found = f"{len(heard)} bytes, the first wrong one at {at} (frame {at // bench.format.block_bytes})"
    raise RuleFailed("what was heard", f"the {len(expected)} bytes that were given", found)


# ---------------------------------------------------------------------- GetMapping, port side


@check("WP-MAP-01")
def mappings_are_the_data(rig: Rig) -> None:
    """Takes mappings of packets over scattered pages at odd places, and puts them together again."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    data = [bytes((seed * 31 + n) % 251 for n in range(count)) for seed, count in enumerate((9000, 1, 4096, 700))]
    pin.submit(data[0], page_offset=1728, page_numbers=scripted.scattered_pages(3))
    pin.submit(data[1], page_offset=PAGE_BYTES - 1)
    pin.submit(data[2], page_offset=5)
    pin.submit(data[3])
    mappings = stream.take_all()
    for mapping in mappings:
        rig.expect(mapping.ByteCount >= 1, "ByteCount", "at least 1", mapping.ByteCount)
        host = mapping.VirtualAddress.read(0, mapping.ByteCount)
        engine = rig.board.read_memory(mapping.PhysicalAddress, mapping.ByteCount)
        rig.expect(host == engine, "memory at both addresses", "the same", f"differs at {mapping.PhysicalAddress:#x}")
    found = b"".join(mapping.VirtualAddress.read(0, mapping.ByteCount) for mapping in mappings)
    rig.note("mappings", [mapping.ByteCount for mapping in mappings], "GetMapping")
    rig.expect_equal("bytes of all mappings", len(found), sum(map(len, data)))
    rig.expect(found == b"".join(data), "mappings one behind the other", "the client's data", "something else")
    borders = [m for m in mappings if m.PhysicalAddress % PAGE_BYTES + m.ByteCount > PAGE_BYTES]
    rig.note("mappings over a page's end", len(borders), "GetMapping")


@check("WP-MAP-02")
def mapping_available_follows_a_refusal(rig: Rig) -> None:
    """Submits packets before and behind a refusal, and counts MappingAvailable."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    pin.submit(bytes(10))
    pin.set_state(KSSTATE.RUN)
    rig.expect_equal("MappingAvailable without a refusal", len(stream.calls("mapping_available")), 0)
    for _ in range(3):
        begin = len(stream.calls("mapping_available"))
        stream.take_all()
        rig.expect_status("GetMapping without data", NTSTATUS.NOT_FOUND, stream.port_stream.get_mapping, 1)
        rig.system.sleep(0.001)
        rig.expect_equal("MappingAvailable before data came", len(stream.calls("mapping_available")) - begin, 0)
        pin.submit(bytes(10))
        pin.submit(bytes(10))
        rig.system.sleep(0.001)
        rig.expect_equal("MappingAvailable behind one refusal", len(stream.calls("mapping_available")) - begin, 1)
    rig.note("MappingAvailable", f"{len(stream.calls('mapping_available'))} behind 3 refusals", "calls of the port")


@check("WP-MAP-03")
def flags_mark_the_end_of_a_packet(rig: Rig) -> None:
    """Takes the mappings of packets of one, two and three pieces."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    pieces = [3, 1, 2]
    for count in pieces:
        pin.submit(bytes(count * PAGE_BYTES - 10), page_numbers=scripted.scattered_pages(count))
    flags = [bool(mapping.Flags) for mapping in stream.take_all()]
    rig.note("Flags", flags, "GetMapping")
    rig.expect_equal("Flags not zero", flags, [place == count for count in pieces for place in range(1, count + 1)])


@check("WP-MAP-04")
def any_tag_is_kept(rig: Rig) -> None:
    """Takes and releases mappings under 0, all ones, top bit only, and tags that were released before."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    tags = [0, (1 << 64) - 1, 1 << 63, 0x1_0000_0001, 1, 0, (1 << 64) - 1]
    for tag in tags:
        packet = pin.submit(bytes(10))
        mapping = stream.take(tag)
        rig.expect(mapping is not None, f"GetMapping with tag {tag:#x}", "a mapping", mapping)
        stream.give()
        rig.expect_equal(f"packet behind the release of tag {tag:#x}", packet.status, NTSTATUS.SUCCESS)
    first, second = pin.submit(bytes(10)), pin.submit(bytes(10))
    stream.take(0x1_0000_0001)
    stream.take(1)
    pin.set_state(KSSTATE.RUN)
    pin.cancel(first)
    (revoked,) = stream.calls("revoke_mappings")
    rig.note("tags given back", [hex(tag) for tag in tags], "ReleaseMapping, RevokeMappings")
    rig.expect_equal("tags that the port revoked", revoked.arguments, (0x1_0000_0001, 0x1_0000_0001))
    stream.give()
    rig.expect_equal("packet under tag 1", second.status, NTSTATUS.SUCCESS)
    rig.expect_equal("what the port complained about", pin.faults, [])


@check("WP-MAP-05")
def a_looped_packet_goes_round(rig: Rig) -> None:
    """Takes the mappings of a looped packet three times round, then stops."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    looped = pin.submit(bytes(2 * PAGE_BYTES + 100), looped=True, page_numbers=scripted.scattered_pages(3))
    pin.set_state(KSSTATE.RUN)
    addresses: list[int] = []
    for _ in range(9):
        mapping = stream.take()
        if mapping is None:
            raise RuleFailed("GetMapping of a looped packet", "the first piece again", f"none behind {addresses}")
        addresses.append(mapping.PhysicalAddress)
        stream.give()
        rig.expect_equal("looped packet while the stream runs", looped.status, NTSTATUS.PENDING)
    rig.note("pieces", [hex(each) for each in addresses], "GetMapping")
    rig.expect_equal("second and third time round", addresses[3:], addresses[:3] * 2)
    rig.expect_equal("pieces of one round", len(set(addresses)), 3)
    pin.set_state(KSSTATE.STOP)
    rig.expect(looped.status is not NTSTATUS.PENDING, "looped packet behind STOP", "completed", looped.status.name)


# ---------------------------------------------------------------------- mappings, miniport side


ODD_LENGTHS = (1, 3, 1, 4097, 2, 90, 1, 333, 4800, 7, 64, 5)


@check("WP-MAP-06")
def any_mapping_is_accepted(rig: Rig) -> None:
    """Plays and records mappings of 1 byte, odd length, odd address, over pages and over 64 KiB, and compares."""
    bench = WavePciBench(rig)
    for play_at, record_at in ((0x10000 - 5000, 0x1), (0x1, 0x10000 - 300)):
        odd_mappings(rig, bench, play_at, record_at)


def odd_mappings(rig: Rig, bench: WavePciBench, play_at: int, record_at: int) -> None:
    """Plays pieces that lie from `play_at` on, and records into others from `record_at` on."""
    render, capture = bench.side(), bench.side(capture=True)
    data, pieces = bench.put(ODD_LENGTHS, base=play_at)
    into, at = [], record_at
    for length in (*reversed(ODD_LENGTHS), len(data)):
        into.append(Piece(at, length))
        at += length + 3
    for name, given in (("render", pieces), ("capture", into)):
        crossing = [piece for piece in given if piece.address < 0x10000 < piece.address + piece.length]
        rig.note(f"{name}: mappings over 64 KiB", len(crossing), "addresses given")
    capture.feed(*into)
    render.feed(*pieces)
    capture.set_state(KSSTATE.RUN)
    render.set_state(KSSTATE.RUN)
    frames = len(data) // bench.format.block_bytes
    with bench.clock():
        bench.until(lambda: render.moved_bytes() == len(data), frames + 960)
        bench.sleep_frames(96)
        render.note_moved()
        captured = bench.whole_frames(capture.note_moved())
    joined = b"".join(rig.board.read_memory(piece.address, piece.length) for piece in into)[:captured]
    lines = np.frombuffer(joined, np.uint8).reshape(-1, bench.format.block_bytes)
    expect_same(rig, bench, lines[lines.any(axis=1)].tobytes(), data[: bench.whole_frames(len(data))])
    for side in (render, capture):
        side.expect_no_faults()
        side.close_now()


@check("WP-MAP-07")
def no_lock_and_no_stale_index(rig: Rig) -> None:
    """Watches the lock count inside GetMapping and ReleaseMapping, and revokes mappings inside both."""
    bench = WavePciBench(rig)
    side = bench.side()
    _, pieces = bench.put([48 * bench.format.block_bytes] * 12)
    double = side.port_stream
    counts: list[tuple[int, int]] = []

    def revoke_in_get(tag: int) -> None:
        if len(double.acquired) in (3, 6):
            double.inside_get = None
            # The one before and the one that is being given.
            held = [each for each, _ in double.held]
            counts.append((side.revoke(held[-2], tag), 2))
            double.inside_get = revoke_in_get

    def revoke_in_release(tag: int) -> None:
        double.inside_release = None
        held = [each for each, _ in double.held]
        counts.append((side.revoke(held[0], held[1]), 2))

    double.inside_get = revoke_in_get
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    double.inside_release = revoke_in_release
    side.serves = False
    with bench.clock():
        bench.until(lambda: rig.board.snapshot(side.number).fifo_bytes == 0, 12 * 48 + 480)
        side.service()
        bench.sleep_frames(96)
        side.service()
    rig.note("counts of RevokeMappings inside calls", counts, "RevokeMappings")
    rig.expect_equal("counts of RevokeMappings inside calls", counts, [(2, 2)] * 3)
    side.expect_no_faults()
    left = [piece for piece in pieces if piece not in side.released_pieces]
    # Of those that were played two each were revoked in two GetMappings and in the first ReleaseMapping.
    rig.expect_equal("mappings neither released nor revoked", len(double.held), 0)
    rig.expect_equal("mappings not released", len(left), 6)


@check("WP-MAP-08")
def what_does_not_fit_is_queued_later(rig: Rig) -> None:
    """Offers far more mappings at once than there are descriptors, long ones among them, and compares."""
    bench = WavePciBench(rig)
    side = bench.side()
    chooser = np.random.default_rng(8)
    lengths = [int(each) for each in chooser.integers(8, 60, DESCRIPTOR_FLOOD)]
    lengths[10], lengths[-1] = 3001, 5000
    play_and_compare(rig, bench, side, bench.put(lengths))
    side.expect_no_faults()


@check("WP-MAP-09")
def memory_stays_while_it_is_mapped(rig: Rig) -> None:
    """The client frees its packets while they are mapped; all other memory is then filled by others."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    pin.set_state(KSSTATE.RUN)
    packets = [pin.submit(bytes([seed]) * 5000) for seed in (1, 2)]
    mappings = stream.take_all()
    for packet in packets:
        packet.free()
    free = scripted.port.pages.free_pages
    others = [pin.submit(b"\xee" * PAGE_BYTES) for _ in range(free)]
    for mapping in mappings:
        held = rig.board.read_memory(mapping.PhysicalAddress, mapping.ByteCount)
        rig.expect(set(held) <= {1, 2}, "memory of a held mapping", "the client's data", "other data")
    for other in others:
        pin.cancel(other)
        other.free()
    begin = scripted.port.pages.free_pages
    while stream.held and stream.held[0].mapping in mappings[: len(mappings) // 2]:
        stream.give()
    released = scripted.port.pages.free_pages
    pin.cancel(packets[1])
    revoked = scripted.port.pages.free_pages
    rig.note("free pages: mapped, half released, rest revoked", (begin, released, revoked), "page allocator")
    rig.expect_equal("pages that came back with release and revocation", (released - begin, revoked - released), (2, 2))


# ---------------------------------------------------------------------- ReleaseMapping


@check("WP-REL-01")
def releases_come_in_order(rig: Rig) -> None:
    """Plays a dozen mappings, starving once, and compares tags acquired with tags released."""
    bench = WavePciBench(rig)
    side = bench.side()
    _, pieces = bench.put([30 * bench.format.block_bytes] * 12)
    side.feed(*pieces[:5])
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(300)
        side.feed(*pieces[5:])
        bench.until(lambda: len(side.port_stream.released) == 12, 1200)
        side.note_moved()
    acquired = [tag for tag, _ in side.port_stream.acquired]
    released = [tag for tag, _ in side.port_stream.released]
    rig.note("tags released", len(released), "ReleaseMapping")
    side.expect_no_faults()
    rig.expect_equal("tags released", released, acquired)
    rig.expect_equal("mappings acquired", len(acquired), 12)


@check("WP-REL-02")
def released_memory_is_done_with(rig: Rig) -> None:
    """Overwrites (render) or reads (capture) each mapping at the moment of its release, and compares what was heard."""
    bench = WavePciBench(rig)
    render, capture = bench.side(), bench.side(capture=True)
    size = bench.format.block_bytes
    # A long one is under way when the first interrupt comes.
    data, pieces = bench.put([100 * size + 1, 3 * size, 100 * size - 1, 1400 * size])
    rig.board.write_memory(bench.CAPTURE_BASE, b"\xee" * 1700 * size)
    into = [Piece(bench.CAPTURE_BASE + at * size, frames * size) for at, frames in ((0, 120), (120, 130), (250, 1400))]
    got: list[bytes] = []
    render.port_stream.on_release = lambda piece: rig.board.write_memory(piece.address, b"\x55" * piece.length)
    capture.port_stream.on_release = lambda piece: got.append(rig.board.read_memory(piece.address, piece.length))
    capture.feed(*into)
    render.feed(*pieces)
    capture.set_state(KSSTATE.RUN)
    render.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.until(lambda: len(got) == len(into), 2400)
        render.note_moved()
        capture.note_moved()
    rig.expect_equal("render mappings released", render.released_pieces, pieces)
    rig.expect_equal("capture mappings released", len(got), len(into))
    lines = np.frombuffer(b"".join(got), np.uint8).reshape(-1, size)
    expect_same(rig, bench, lines[lines.any(axis=1)].tobytes(), data)


@check("WP-REL-03")
def a_wrong_tag_is_not_found(rig: Rig) -> None:
    """Releases a tag that was never used and one that was released, and looks what changed."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    packets = [pin.submit(bytes(10)) for _ in range(3)]
    stream.take(0x10)
    stream.take(0x20)
    stream.take(0x30)
    stream.give()
    for tag in (0x99, 0x10):
        rig.expect_status(f"ReleaseMapping({tag:#x})", NTSTATUS.NOT_FOUND, stream.port_stream.release_mapping, tag)
        states = [packet.status.name for packet in packets]
        rig.expect_equal(f"packets behind ReleaseMapping({tag:#x})", states, ["SUCCESS", "PENDING", "PENDING"])
    stream.give()
    stream.give()
    rig.note("packets in the end", [packet.status.name for packet in packets], "completion")
    rig.expect_equal("packets in the end", {packet.status for packet in packets}, {NTSTATUS.SUCCESS})


@check("WP-REL-04")
def the_last_release_completes_a_packet(rig: Rig) -> None:
    """Releases the mappings of three packets one by one, and watches completion and the capture read position."""
    for capture in (False, True):
        scripted = ScriptedPort(rig)
        pin, stream = scripted.open(capture=capture)
        lengths = [2 * PAGE_BYTES - 50, 700, PAGE_BYTES + 1]
        packets = []
        for length in lengths:
            pages = scripted.scattered_pages(math.ceil(length / PAGE_BYTES))
            if capture:
                packets.append(pin.submit_empty(length, page_numbers=pages))
            else:
                packets.append(pin.submit(bytes(length), page_numbers=pages))
        pin.set_state(KSSTATE.RUN)
        mappings = stream.take_all()
        done, read_position, end = [], [], 0
        for mapping in mappings:
            stream.give()
            end += mapping.ByteCount
            read_position.append((pin.position().WriteOffset, end))
            done.append(sum(not packet.pending for packet in packets))
        name = "capture" if capture else "render"
        rig.note(f"{name}: packets complete behind each release", done, "completion")
        rig.expect_equal(f"{name}: packets complete behind each release", done, [0, 1, 2, 2, 3])
        rig.expect_equal(f"{name}: status", {packet.status for packet in packets}, {NTSTATUS.SUCCESS})
        if capture:
            wrong = [each for each in read_position if each[0] != each[1]]
            rig.expect_equal("read positions that are not the end of the mapping released", wrong, [])
        pin.close()


# ---------------------------------------------------------------------- TerminatePacket


@check("WP-TRM-01")
def a_packet_ends_early(rig: Rig) -> None:
    """Terminates a packet in passive and in deferred context, of which one mapping is full and one in part."""
    for level in (IRQL.PASSIVE, IRQL.DISPATCH):
        scripted = ScriptedPort(rig)
        pin, stream = scripted.open(capture=True)
        first = pin.submit_empty(3 * PAGE_BYTES, page_numbers=scripted.scattered_pages(3))
        second = pin.submit_empty(800)
        pin.set_state(KSSTATE.RUN)
        stream.take()
        stream.take()
        stream.give()
        stream.position = PAGE_BYTES + 1234
        with rig.system.at(level):
            try:
                status = stream.port_stream.terminate_packet()
            except NtStatusError as error:
                raise RuleFailed("TerminatePacket", "SUCCESS", error) from error
            rig.expect_equal("TerminatePacket", status, NTSTATUS.SUCCESS)
            following = stream.take()
        rig.system.sleep(0)
        rig.note(f"used length ({level.words})", first.used_bytes, "packet")
        rig.expect_equal(f"terminated packet ({level.words})", first.status, NTSTATUS.SUCCESS)
        rig.expect_equal(f"its used length ({level.words})", first.used_bytes, PAGE_BYTES + 1234)
        address = following.PhysicalAddress if following is not None else None
        rig.expect_equal(f"next mapping ({level.words})", address, second.pieces[0][0])
        stream.give()
        rig.expect_equal("packet behind it", second.status, NTSTATUS.PENDING)
        stream.give()
        rig.expect_equal("packet behind it, released", (second.status.name, second.used_bytes), ("SUCCESS", 800))
        pin.close()


@check("WP-TRM-02")
def stop_ends_the_packet(rig: Rig) -> None:
    """Stops a capture stream in the middle of its second packet."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open(capture=True)
    packets = [pin.submit_empty(1000) for _ in range(3)]
    pin.set_state(KSSTATE.RUN)
    stream.take_all(2)
    stream.give()
    stream.position = 1480
    pin.set_state(KSSTATE.STOP)
    found = [(packet.status.name, packet.used_bytes) for packet in packets]
    rig.note("packets behind STOP", found, "completion")
    rig.expect_equal("the full packet", found[0], ("SUCCESS", 1000))
    rig.expect_equal("the packet that was open", found[1], ("SUCCESS", 480))
    empty = not packets[2].pending and packets[2].used_bytes == 0
    rig.expect(empty, "an untouched packet", "completed empty", found[2])


# ---------------------------------------------------------------------- RevokeMappings, miniport side


def standing(rig: Rig, count: int = 8, frames: int = 60) -> tuple[WavePciBench, WavePciSide, bytes, list[Piece]]:
    """A render stream in RUN that holds `count` mappings, the converter's clock off: nothing is finished."""
    bench = WavePciBench(rig)
    side = bench.side()
    data, pieces = bench.put([frames * bench.format.block_bytes] * count)
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    rig.expect_equal("mappings acquired at RUN", len(side.tags()), count)
    return bench, side, data, pieces


def play_out(rig: Rig, bench: WavePciBench, side: WavePciSide, frames: int) -> None:
    """Let everything be played and released."""
    with bench.clock():
        bench.until(lambda: not side.port_stream.held, frames + 480)
        side.note_moved()


@check("WP-RVK-01")
def a_range_leaves_the_list(rig: Rig) -> None:
    """Revokes three mappings in the middle, one alone and the last one, then plays the rest."""
    bench, side, _, pieces = standing(rig)
    tags = side.tags()
    counts = [side.revoke(tags[2], tags[4]), side.revoke(tags[6], tags[6]), side.revoke(tags[7], tags[7])]
    rig.note("mappings revoked", counts, "RevokeMappings")
    rig.expect_equal("MappingsRevoked of 3, 1 and 1", counts, [3, 1, 1])
    play_out(rig, bench, side, 480)
    side.expect_no_faults()
    rig.expect_equal("mappings released", side.released_pieces, [pieces[n] for n in (0, 1, 5)])


@check("WP-RVK-02")
def released_mappings_do_not_count(rig: Rig) -> None:
    """Lets some mappings be released, then revokes ranges that hold them, and one mapping of the last one left."""
    bench, side, _, pieces = standing(rig, count=7)
    tags = side.tags()
    side.serves = False
    with bench.clock():
        bench.sleep_frames(200)
        side.note_moved()
    side.service()
    released = len(side.port_stream.released)
    rig.expect_within("mappings released before", released, 1, 5)
    counts = []
    for first, last in ((0, released), (0, 0), (released, released + 1)):
        try:
            counts.append(side.revoke(tags[first], tags[last]))
        except NtStatusError as error:
            raise RuleFailed("RevokeMappings of a range that was released in part", "SUCCESS", error) from error
    rig.note("released before; mappings revoked", (released, counts), "ReleaseMapping, RevokeMappings")
    rig.expect_equal("MappingsRevoked of one, none and one held", counts, [1, 0, 1])
    while len(side.tags()) > 1:
        side.revoke(side.tags()[0], side.tags()[0])
    last = side.tags()[0]
    rig.expect_equal("MappingsRevoked of a released one with one left", side.revoke(tags[0], tags[0]), 0)
    rig.expect_equal("MappingsRevoked of the last one", side.revoke(last, last), 1)
    side.expect_no_faults()


@check("WP-RVK-03")
def revoked_memory_is_left_alone(rig: Rig) -> None:
    """Revokes with the mapping in progress among them, writes a pattern there, and asks ear, memory and bus monitor."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    for capture in (False, True):
        listener = None if capture else bench.listener()
        side = bench.side(capture=capture)
        base = bench.CAPTURE_BASE if capture else bench.RENDER_BASE
        data, pieces = bench.put([300 * size] * 3, base=base, gap=0)
        side.feed(*pieces)
        side.set_state(KSSTATE.RUN)
        name = "capture" if capture else "render"
        with bench.clock():
            bench.sleep_frames(200)
            tags = side.tags()
            rig.expect_equal(f"{name}: mapping in progress", len(tags), 3)
            side.revoke(tags[0], tags[1])
            monitor = rig.monitor(pieces[0].address, pieces[1].address + pieces[1].length - 1)
            rig.board.write_memory(base, b"\x55" * 600 * size)
            before = side.note_moved()
            bench.sleep_frames(600)
            after = side.moved_bytes()
        touched = monitor.total()
        rig.note(f"{name}: accesses to revoked memory", touched, monitor.source)
        rig.expect(after > before, f"{name}: bytes moved behind the revocation", f"more than {before}", after)
        if capture:
            left = rig.board.read_memory(base, 600 * size)
            wrong = sum(each != 0x55 for each in left)
            rig.expect_equal("bytes of the pattern that were overwritten", wrong, 0)
        else:
            assert listener is not None
            heard = bench.heard(listener)
            rig.expect(b"\x55" * (2 * size) not in heard, "pattern in what was heard", "none", "the pattern")
            rig.expect(data[: 100 * size] in heard, "what was heard first", "the first frames", "something else")
        rig.expect_equal(f"{name}: accesses to revoked memory", touched, 0)
        side.close_now()
        if listener is not None:
            listener.close_now()


@check("WP-RVK-04")
def what_is_around_plays_on(rig: Rig) -> None:
    """Revokes two mappings ahead of the running stream, and compares what is heard with all the others."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    data, pieces = bench.put([200 * size] * 6)
    listener = bench.listener()
    side = bench.side()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(120)
        tags = side.tags()
        before = side.position()
        side.revoke(tags[3], tags[4])
        state = rig.board.snapshot(side.number)
        bench.sleep_frames(96)
        rig.expect(side.position() > before, "position 2 ms behind the revocation", f"more than {before}", before)
        bench.until(lambda: not side.port_stream.held, 1000)
        bench.sleep_frames(96)
        side.note_moved()
    rig.note("state behind the revocation", state.state, f"STREAM[{side.number}].SNAP_STATE")
    rig.note("underruns behind the revocation", state.underruns, f"STREAM[{side.number}].UNDERRUNS")
    rig.expect_equal("state behind the revocation", state.state.name, "RUN")
    side.expect_no_faults()
    rig.expect_equal("mappings released", side.released_pieces, [pieces[n] for n in (0, 1, 2, 5)])
    expect_same(rig, bench, bench.heard(listener), data[: 600 * size] + data[1000 * size :])


@check("WP-RVK-05")
def unknown_tags_are_refused(rig: Rig) -> None:
    """Revokes tags that were never used, with mappings held and with none, then plays everything."""
    bench, side, _, pieces = standing(rig, count=4)
    tags = side.tags()
    strange = next(tag for tag in range(0x7777, 0x8888) if tag not in tags)
    double_order = [tag for tag, _ in side.port_stream.acquired]
    for first, last in ((strange, strange), (strange, tags[1]), (tags[1], strange)):
        try:
            with rig.system.at(IRQL.DISPATCH):
                count = side.stream.revoke_mappings(first, last)
        except NtStatusError as error:
            rig.expect_equal("status for tags never used", error.status, NTSTATUS.UNSUCCESSFUL)
        else:
            raise RuleFailed("RevokeMappings of tags never used", "UNSUCCESSFUL", f"success, {count}")
    rig.note("tags in use", double_order, "GetMapping")
    play_out(rig, bench, side, 240)
    side.expect_no_faults()
    rig.expect_equal("mappings released in the end", side.released_pieces, pieces)


# ---------------------------------------------------------------------- RevokeMappings, port side


@check("WP-RVK-06")
def the_port_revokes_what_is_outstanding(rig: Rig) -> None:
    """Stops with mappings held; makes STOP fail; cancels a packet in RUN while its mappings are being released."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    packets = [pin.submit(bytes(100)) for _ in range(3)]
    pin.set_state(KSSTATE.RUN)
    stream.take_all()
    stream.refused_states = {KSSTATE.STOP}
    rig.expect_status("SetState(STOP) that fails", NTSTATUS.IO_DEVICE_ERROR, pin.set_state, KSSTATE.STOP)
    rig.expect_equal("RevokeMappings behind a failed STOP", len(stream.calls("revoke_mappings")), 0)
    stream.refused_states = set()
    held = [each.tag for each in stream.held]
    pin.set_state(KSSTATE.STOP)
    calls = stream.calls("revoke_mappings")
    rig.expect_equal("ranges revoked behind STOP", [call.arguments for call in calls], [(held[0], held[-1])])
    rig.expect_equal("state of the stream then", calls[0].state, KSSTATE.STOP)
    rig.expect_equal("context of RevokeMappings", calls[0].level, IRQL.DISPATCH)
    rig.expect(all(not packet.pending for packet in packets), "packets behind STOP", "completed", "pending")
    # Cancelled in RUN, while the miniport releases the first half of the packet.
    pin.set_state(KSSTATE.RUN)
    pages = scripted.scattered_pages(2)
    packet = pin.submit(bytes(2 * PAGE_BYTES), page_numbers=pages)
    following = pin.submit(bytes(50))
    stream.take_all()
    stream.on_revoke = stream.give
    tags = [each.tag for each in stream.held]
    pin.cancel(packet)
    stream.on_revoke = None
    call = stream.calls("revoke_mappings")[-1]
    rig.note("range revoked for the cancelled packet", call.arguments, "RevokeMappings")
    found = (call.arguments, call.state)
    rig.expect_equal("range revoked for the cancelled packet", found, ((tags[0], tags[1]), KSSTATE.RUN))
    rig.expect_equal("the cancelled packet", packet.status, NTSTATUS.CANCELLED)
    rig.expect_equal("the packet behind it", following.status, NTSTATUS.PENDING)
    stream.give()
    rig.expect_equal("the packet behind it, released", following.status, NTSTATUS.SUCCESS)
    rig.expect_equal("what the port complained about", pin.faults, [])


# ---------------------------------------------------------------------- MappingAvailable, Service


@check("WP-AVL-01")
def a_starved_stream_goes_on(rig: Rig) -> None:
    """Starves a running stream, offers data in deferred context, and compares what is heard before and behind."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    data, pieces = bench.put([100 * size] * 6)
    listener = bench.listener()
    side = bench.side()
    side.feed(pieces[0])
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(200)
        rig.expect_equal("position when it has starved", side.position() <= 100 * size, True)
        side.feed(*pieces[1:])
        rig.expect(side.port_stream.refused, "acquiring at MappingAvailable", "until refused",
                   f"{len(side.port_stream.waiting)} mappings left")  # fmt: skip
        bench.until(lambda: not side.port_stream.held, 800)
        bench.sleep_frames(96)
        moved = side.note_moved()
    rig.note("bytes behind the gap", moved - 100 * size, f"STREAM[{side.number}].SNAP_BYTES")
    side.expect_no_faults()
    expect_same(rig, bench, bench.heard(listener), data)


@check("WP-SVC-01")
def service_releases_and_acquires(rig: Rig) -> None:
    """Calls Service when several mappings are finished, and twice more when nothing has."""
    bench = WavePciBench(rig)
    side = bench.side()
    size = bench.format.block_bytes
    _, pieces = bench.put([50 * size] * 8)
    side.serves = False
    side.feed(*pieces[:6])
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(200)
    # The converter stands: nothing moves any more.
    finished = rig.board.snapshot(side.number).descriptors
    rig.expect_within("mappings finished by the engine", finished, 3, 5)
    rig.expect_equal("mappings released without Service", len(side.port_stream.released), 0)
    side.feed(*pieces[6:], tell=False)
    side.service()
    moved = side.note_moved()
    done = moved // (50 * size)
    rig.note("mappings finished, released", (done, len(side.port_stream.released)), "SNAP_BYTES, ReleaseMapping")
    rig.expect_equal("mappings released by Service", len(side.port_stream.released), done)
    rig.expect_equal("mappings that Service left", len(side.port_stream.waiting), 0)
    before = (side.position(), len(side.port_stream.released), side.tags())
    side.service()
    side.service()
    after = (side.position(), len(side.port_stream.released), side.tags())
    rig.expect_equal("after Service with nothing finished", after, before)
    side.expect_no_faults()


@check("WP-SVC-02")
def service_only_in_run_through_the_group(rig: Rig) -> None:
    """Requests service of both groups in every state; lets time pass without a request; closes the pin."""
    scripted = ScriptedPort(rig, init_group=True)
    pin, stream = scripted.open()
    group, init_group = stream.group, scripted.miniport.init_group
    assert group is not None and init_group is not None
    for state in (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP):
        pin.set_state(state)
        before = len(stream.calls("service"))
        rig.system.interrupt(lambda: scripted.port.notify(group))
        rig.system.sleep(0.001)
        served = len(stream.calls("service")) - before
        rig.expect_equal(f"Service calls for a request in {state.name}", served, int(state is KSSTATE.RUN))
    pin.set_state(KSSTATE.RUN)
    before = len(stream.calls("service"))
    rig.system.sleep(0.05)
    rig.expect_equal("Service calls without a request", len(stream.calls("service")) - before, 0)
    rig.system.interrupt(lambda: scripted.port.notify(init_group))
    rig.system.sleep(0.001)
    rig.expect_equal("the stream's Service for the group of Init", len(stream.calls("service")) - before, 0)
    rig.expect_equal("the miniport's Service for the group of Init", len(scripted.miniport.services), 1)
    levels = {call.level.name for call in stream.calls("service")}
    rig.note("Service", f"{len(stream.calls('service'))} calls, {levels}", "calls of the port")
    rig.expect_equal("context of Service", levels, {"DISPATCH"})
    scripted.port.notify(group)
    pin.close()
    rig.system.sleep(0.001)
    rig.expect_equal("Service behind closing", len(stream.calls("service")) - before, 0)


@check("WP-SVC-03")
def interrupts_keep_the_queue_filled(rig: Rig) -> None:
    """Times interrupts over long mappings and behind flagged ones, then plays 150 small mappings without a gap."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    rate = bench.format.sample_rate
    long_bytes = bench.whole_frames(min(30 * 1024, rate * size // 10))
    _, pieces = bench.put([long_bytes])
    side = bench.side()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        begin = rig.board.clock.now()
        bench.sleep_frames(long_bytes // size - 48)
        end = rig.board.clock.now()
        side.note_moved()
    times = [begin, *(time for _, time in bench.port.notified), end]
    gap_s = max(b - a for a, b in zip(times, times[1:], strict=False)) / float(rig.board.clock.rate)
    rig.note("longest time between interrupts", f"{gap_s * 1000:.2f} ms", "IPortWavePci::Notify")
    rig.expect_within("longest time without an interrupt", gap_s * 1000, 0, INTERRUPT_GAP_S * 1000, "ms")
    side.set_state(KSSTATE.STOP)
    # Flagged ends, 4 ms from one to the next.
    _, pieces = bench.put([rate // 250 * size] * 5, last=True)
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    bench.port.notified.clear()
    with bench.clock():
        bench.until(lambda: not side.port_stream.held, rate // 50 + 480)
        side.note_moved()
    rig.note("interrupts for 5 flagged mappings", len(bench.port.notified), "IPortWavePci::Notify")
    rig.expect(len(bench.port.notified) >= 5, "interrupts for 5 flagged mappings", "at least 5",
               len(bench.port.notified))  # fmt: skip
    side.set_state(KSSTATE.STOP)
    data, pieces = bench.put([16 * size] * DESCRIPTOR_FLOOD)
    listener = bench.listener()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.until(lambda: side.moved_bytes() == len(data), 32 * DESCRIPTOR_FLOOD)
        bench.sleep_frames(48)
    heard = rig.board.read_memory(bench.CAPTURE_BASE, listener.note_moved() // size * size)
    loud = np.flatnonzero(np.frombuffer(heard, np.uint8).reshape(-1, size).any(axis=1))
    gaps = int(loud[-1] - loud[0] + 1 - len(loud)) if len(loud) else -1
    rig.note("silent frames within 150 small mappings", gaps, "loopback capture")
    rig.expect_equal("silent frames while data was available", gaps, 0)
    rig.expect_equal("bytes heard", len(loud) * size, len(data))


# ---------------------------------------------------------------------- states


@check("WP-STA-01")
def run_starts_with_what_there_is(rig: Rig) -> None:
    """Enters RUN with one mapping of ten frames, and sees them played."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    data, pieces = bench.put([10 * size])
    listener = bench.listener()
    side = bench.side()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(100)
        side.note_moved()
        position = side.position()
    rig.note("position 100 frames behind RUN", position, "GetPosition")
    rig.expect_equal("position 100 frames behind RUN", position, 10 * size)
    expect_same(rig, bench, bench.heard(listener), data)


@check("WP-STA-02")
def pause_keeps_and_stop_resets(rig: Rig) -> None:
    """Goes down to PAUSE and ACQUIRE and up again twice, compares what is heard; then STOP."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    data, pieces = bench.put([150 * size + 1, 149 * size - 1, 300 * size])
    listener = bench.listener()
    side = bench.side()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        for low in (KSSTATE.PAUSE, KSSTATE.ACQUIRE):
            bench.sleep_frames(110)
            side.set_state(low)
            frozen, moved, held = side.position(), side.moved_bytes(), side.tags()
            bench.sleep_frames(60)
            after = (side.position(), side.moved_bytes(), side.tags())
            rig.note(f"position in {low.name}", frozen, "GetPosition")
            rig.expect(frozen > 0, f"position in {low.name}", "more than 0", frozen)
            what = f"position, bytes moved and tags held 60 frames later in {low.name}"
            rig.expect_equal(what, after, (frozen, moved, held))
            side.set_state(KSSTATE.RUN)
        bench.until(lambda: not side.port_stream.held, 900)
        bench.sleep_frames(48)
        side.note_moved()
        heard = bench.heard(listener)
        side.feed(Piece(pieces[2].address, pieces[2].length))
        bench.sleep_frames(100)
        side.set_state(KSSTATE.STOP)
        rig.expect_equal("position behind STOP", side.position(), 0)
        monitor = rig.monitor(pieces[0].address, pieces[2].address + pieces[2].length - 1)
        bench.sleep_frames(60)
        rig.expect_equal("accesses of the engine behind STOP", monitor.total(), 0)
        rig.expect_equal("position 60 frames behind STOP", side.position(), 0)
    side.expect_no_faults()
    expect_same(rig, bench, heard, data)


@check("WP-STA-03")
def due_events_fire_on_the_way_to_pause(rig: Rig) -> None:
    """Moves the position past two of three events without any notification, then pauses."""
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    events = [KEvent(str(position)) for position in (1000, 2000, 3000)]
    for position, event in zip((1000, 2000, 3000), events, strict=True):
        pin.add_position_event(position, event)
    pin.set_state(KSSTATE.RUN)
    stream.position = 2500
    pin.set_state(KSSTATE.PAUSE)
    fired = [event.set_count for event in events]
    rig.note("events at 1000, 2000, 3000 with position 2500", fired, "set_count")
    rig.expect_equal("events fired at position 2500", fired, [1, 1, 0])


# ---------------------------------------------------------------------- positions


@check("WP-POS-01", evidence_seconds=14_000.0)
def the_position_only_rises(rig: Rig) -> None:
    """Reads the position while a looped buffer goes round, then across 2^32 bytes with preloaded counters."""
    rig.covers_part()
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    loop_bytes = 90 * size
    _, pieces = bench.put([loop_bytes // 2, loop_bytes // 2])
    side = bench.side()
    side.port_stream.looped = True
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    readings: list[int] = []
    with bench.clock():
        for _ in range(12):
            bench.sleep_frames(48)
            readings.append(side.position())
        side.note_moved()
        rig.note("positions", f"{readings[0]} to {readings[-1]}, loop of {loop_bytes}", "GetPosition")
        expect_rising(rig, readings)
        rig.expect(readings[-1] > 3 * loop_bytes, "position behind several rounds", f"more than {3 * loop_bytes}",
                   readings[-1])  # fmt: skip
        side.set_state(KSSTATE.PAUSE)
        preload(rig, side, size)
        side.set_state(KSSTATE.RUN)
        readings = []
        for _ in range(6):
            readings.append(side.position())
            bench.sleep_frames(48)
        rig.note("positions over 2^32", f"{readings[0]} to {readings[-1]}", "GetPosition")
        expect_rising(rig, readings)
        rig.expect(readings[0] < 1 << 32 < readings[-1], "positions over 2^32", "one below, one above", readings)


def expect_rising(rig: Rig, readings: list[int]) -> None:
    """Fail the rule if one is less than the one before."""
    falls = [(a, b) for a, b in zip(readings, readings[1:], strict=False) if b < a]
    rig.expect_equal("readings below the one before", falls, [])


def preload(rig: Rig, side: WavePciSide, size: int) -> None:
    """Set the counters of a paused stream to 120 frames before 2^32 bytes, keeping what is in the FIFO."""
    snapshot = rig.board.snapshot(side.number)
    frames = (1 << 32) // size - 120
    moved = frames * size + snapshot.bytes - snapshot.frames * size
    for offset, value in (
        (regs.STREAM_LIVE_FRAMES_LO, frames & 0xFFFFFFFF),
        (regs.STREAM_LIVE_FRAMES_HI, frames >> 32),
        (regs.STREAM_LIVE_BYTES_LO, moved & 0xFFFFFFFF),
        (regs.STREAM_LIVE_BYTES_HI, moved >> 32),
    ):
        rig.board.write_register(stream_register(side.number, offset), value)
    found = rig.board.snapshot(side.number)
    rig.skip_unless(found.frames == frames, "the board was built without counters that a test may set (TEST_EN)")


@check("WP-POS-02")
def release_and_revocation_make_no_step(rig: Rig) -> None:
    """Reads the position with the converter standing, before and behind releases and revocations."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    side = bench.side()
    side.serves = False
    _, pieces = bench.put([60 * size] * 8)
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(210)
    # The pipeline behind the engine is empty now; nothing moves.
    first = side.position()
    rig.expect(0 < first, "position behind 210 frames", "more than 0", first)
    tags = side.tags()
    side.service()
    released = side.position()
    rig.expect_equal("position behind releases", released, first)
    rig.expect(len(side.port_stream.released) >= 2, "mappings released", "at least 2", len(side.port_stream.released))
    side.revoke(tags[-1], tags[-1])
    rig.expect_equal("position behind a revocation at the end", side.position(), first)
    side.revoke(side.tags()[1], side.tags()[-1])
    rig.expect_equal("position behind a revocation of what is ahead", side.position(), first)
    side.revoke(side.tags()[0], side.tags()[0])
    rig.expect_equal("position behind a revocation of what is in progress", side.position(), first)
    side.serves = True
    with bench.clock():
        bench.sleep_frames(120)
        side.note_moved()
        last = side.position()
    rig.note("positions", [first, released, last], "GetPosition")
    total = side.port_stream.acquired_bytes
    rig.expect(first <= last <= total, "position in the end", f"{first} to {total}", last)
    # A stream that gets little and runs for long.
    side.set_state(KSSTATE.STOP)
    before = side.port_stream.acquired_bytes
    side.feed(pieces[0])
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        for _ in range(5):
            bench.sleep_frames(40)
            total = side.port_stream.acquired_bytes - before
            found = side.position()
            rig.expect(found <= total, "position of a stream that starves", f"at most {total}", found)


@check("WP-POS-03")
def the_position_is_the_converters(rig: Rig) -> None:
    """Compares the position with snapshots around it, before the first frame, on the way, and in capture."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    delay = rig.board.profile.converter.group_delay_frames
    side = bench.side()
    _, pieces = bench.put([600 * size] * 2)
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    fetched = side.moved_bytes()
    rig.expect(fetched > 0, "bytes fetched before the converter's clock runs", "more than 0", fetched)
    rig.expect_equal("position before the first frame was converted", side.position(), 0)
    listener = bench.side(capture=True)
    listener.feed(Piece(bench.CAPTURE_BASE, bench.CAPTURE_BYTES))
    listener.set_state(KSSTATE.RUN)
    trails: list[int] = []
    with bench.clock():
        for _ in range(8):
            bench.sleep_frames(40)
            before = rig.board.snapshot(side.number)
            position = side.position()
            after = rig.board.snapshot(side.number)
            low, high = (before.frames - delay) * size, after.frames * size
            rig.expect_within("render position, bytes", position, low, high)
            trails.append(after.bytes - position)
            least = before.bytes - position
            rig.expect(least <= ENGINE_FIFO_BYTES + delay * size, "bytes by which the position trails the fetched ones",
                       f"at most {ENGINE_FIFO_BYTES + delay * size}", least)  # fmt: skip
            before = rig.board.snapshot(listener.number)
            position = listener.position()
            after = rig.board.snapshot(listener.number)
            low, high = before.bytes - ENGINE_FIFO_BYTES, (after.frames + delay) * size
            rig.expect_within("capture position, bytes", position, low, high)
        side.note_moved()
        listener.note_moved()
    # Standing converter: the same answer however much time passes.
    standing_at = side.position()
    rig.system.sleep(0.02)
    rig.expect_equal("position 20 ms later with the converter standing", side.position(), standing_at)
    rig.note("bytes by which render trails the fetched ones", trails, f"STREAM[{side.number}].SNAP_BYTES")


@check("WP-POS-04")
def a_starved_position_waits_at_the_end(rig: Rig) -> None:
    """Starves a stream for long, reads its position, feeds it again, and reads on."""
    bench = WavePciBench(rig)
    size = bench.format.block_bytes
    side = bench.side()
    _, pieces = bench.put([200 * size, 150 * size])
    side.feed(pieces[0])
    side.set_state(KSSTATE.RUN)
    with bench.clock():
        bench.sleep_frames(300)
        first = side.position()
        bench.sleep_frames(200)
        second = side.position()
        rig.note("position when starved, 200 frames later", (first, second), "GetPosition")
        rig.expect_equal("position of a stream that has starved", (first, second), (200 * size, 200 * size))
        side.feed(pieces[1])
        readings = [second]
        for _ in range(5):
            bench.sleep_frames(20)
            readings.append(side.position())
        expect_rising(rig, readings)
        rig.expect(readings[-1] > second, "position with data again", f"more than {second}", readings[-1])
        bench.sleep_frames(200)
        rig.expect_equal("position when it has starved again", side.position(), 350 * size)
        side.note_moved()


# ---------------------------------------------------------------------- the rest


@check("WP-NRM-01")
def bytes_become_time(rig: Rig) -> None:
    """Normalises small, odd and huge positions in every format, in interrupt context."""
    bench = WavePciBench(rig)
    for form in rig.formats:
        bench.format = form
        side = bench.side()
        for position in (0, 1, form.block_bytes - 1, form.block_bytes, 48_000, 1_234_567, (1 << 32) + 7, (1 << 40) + 1):
            with rig.system.at(IRQL.DEVICE):
                found = side.stream.normalize_physical_position(position)
            exact = position * REFERENCE_TIME_PER_SECOND // form.bytes_per_second
            rig.expect_within(f"{position} bytes of {form.describe()}, 100 ns", found, exact - 1, exact + 1)
        side.close_now()
    rig.note("formats", len(rig.formats), "NormalizePhysicalPosition")


@check("WP-FMT-01")
def a_refused_format_changes_nothing(rig: Rig) -> None:
    """Asks for impossible formats, for another one in RUN, and has the port ask in every state."""
    bench = WavePciBench(rig)
    side = bench.side()
    form = bench.format
    others = [each for each in rig.formats if each.bytes_per_second != form.bytes_per_second]
    # A board of one format knows no other to ask for.
    other = others[0] if others else form
    second = form.bytes_per_second

    def expect_refused(what: str, asked: Format) -> None:
        try:
            side.stream.set_format(asked)
        except NtStatusError as error:
            rig.note(what, error.status, "SetFormat")
        else:
            raise RuleFailed(what, "a failure", "success")
        length = side.stream.normalize_physical_position(second)
        rig.expect_equal(f"100 ns in a second's bytes behind {what}", length, REFERENCE_TIME_PER_SECOND)

    expect_refused("float samples", Format(form.sample_rate, form.channels, 32, is_float=True))
    expect_refused("a rate that the board does not have", Format(12_345, form.channels, form.container_bits))
    data, pieces = bench.put([100 * form.block_bytes])
    listener = bench.listener()
    side.feed(*pieces)
    side.set_state(KSSTATE.RUN)
    expect_refused("a format in RUN", other)
    with bench.clock():
        bench.until(lambda: not side.port_stream.held, 480)
        bench.sleep_frames(48)
    expect_same(rig, bench, bench.heard(listener), data)
    scripted = ScriptedPort(rig)
    pin, stream = scripted.open()
    for state in (KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN):
        pin.set_state(state)
        try:
            pin.set_format(other)
        except NtStatusError:
            pass
        rig.expect_equal(f"SetFormat from the port in {state.name}", len(stream.calls("set_format")), 0)
    pin.set_state(KSSTATE.STOP)
    pin.set_format(other)
    rig.expect_equal("SetFormat from the port in STOP", len(stream.calls("set_format")), 1)


@check("WP-PFO-01")
def the_prefetch_offset_is_added(rig: Rig) -> None:
    """Reads the write position before and behind SetPreFetchOffset, with and without a looped packet."""
    for looped in (False, True):
        scripted = ScriptedPort(rig)
        pin, stream = scripted.open()
        pin.submit(bytes(10_000), looped=looped, page_numbers=scripted.scattered_pages(3))
        pin.set_state(KSSTATE.RUN)
        stream.take_all(1)
        stream.position = 500
        name = "looped" if looped else "plain"
        rig.expect_equal(f"{name}: WriteOffset with one mapping", pin.position().WriteOffset, PAGE_BYTES)
        stream.take_all(1)
        rig.expect_equal(f"{name}: WriteOffset with two mappings", pin.position().WriteOffset, 2 * PAGE_BYTES)
        offset = stream.port_stream.query_interface(IPreFetchOffset)  # type: ignore[type-abstract]
        with rig.system.at(IRQL.DEVICE):
            offset.set_pre_fetch_offset(768)
        offset.release()
        found = pin.position()
        offsets = (found.PlayOffset, found.WriteOffset)
        rig.expect_equal(f"{name}: offsets with 768 bytes of prefetch", offsets, (500, 1268))
        stream.position = 9_800
        found = pin.position()
        expected = (9_800, 568 if looped else 10_568)
        rig.expect_equal(f"{name}: offsets near the end", (found.PlayOffset, found.WriteOffset), expected)
        rig.note(f"{name}: PlayOffset, WriteOffset", (found.PlayOffset, found.WriteOffset), "KSAUDIO_POSITION")
        pin.close()
