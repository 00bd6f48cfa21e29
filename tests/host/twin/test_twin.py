"""The whole twin over its sockets: USB/IP, wire, control channel, time."""

from __future__ import annotations

import array
import base64
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streams import (
    CAPTURE_BUFFER,
    CAPTURE_RING,
    CONVERTER_CONTROL,
    FRAME_TICKS,
    PAUSE,
    RUN,
    read_samples,
    round_trip,
    set_up,
    stream,
    write_samples,
)
from usbip_client import BRIDGE, FPGA, READ, WAIT, WRITE, UsbipClient

from codecrig.twin import TwinControl, TwinControlError, TwinError, TwinProcess

TICKS_PER_SECOND = 12_288_000
PIPE, OVERFLOW, NO_DEVICE_GONE, RESET = -32, -75, -108, -104


def ramp(frames: int, seed: int = 5) -> list[int]:
    generator = random.Random(seed)
    return [generator.randint(-(1 << 23), (1 << 23) - 1) << 8 for _ in range(2 * frames)]


def find(needle: list[int], haystack: list[int]) -> int:
    """Index of the first frame of `needle` in `haystack`, in frames."""
    for index in range(0, len(haystack) - len(needle) + 1, 2):
        if haystack[index : index + len(needle)] == needle:
            return index // 2
    raise AssertionError("the samples did not come")


# ---------------------------------------------------------------- USB/IP


def test_device_list_names_the_board(start: Callable[..., TwinProcess]) -> None:
    process = start()
    with UsbipClient(process.usbip_port) as client:
        assert client.list() == [("1-1", 2, 0x1209, 0x0001, [(0xFF, 0x43, 0x52), (2, 2, 0), (10, 0, 0)])]


def test_debian_usbip_lists_the_board(start: Callable[..., TwinProcess]) -> None:
    usbip = shutil.which("usbip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if usbip is None:
        pytest.skip("usbip is not installed (Debian package usbip)")
    process = start()
    command = [usbip, "--tcp-port", str(process.usbip_port), "list", "-r", "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "1-1" in done.stdout and "1209:0001" in done.stdout, done.stdout


def test_imported_device_vanishes_from_the_list_and_is_busy(rig: Any) -> None:
    with UsbipClient(rig.process.usbip_port) as other:
        assert other.list() == []
        assert other.attach() == 2  # busy
        assert other.attach("9-9") == 4  # no such device


def test_import_again_after_disconnect_finds_a_reset_device(start: Callable[..., TwinProcess]) -> None:
    process = start()
    for _ in range(5):
        with UsbipClient(process.usbip_port) as client:
            assert client.attach() == 0
            assert client.control_in(0x80, 8, 0, 0, 1).data == b"\0"  # GET_CONFIGURATION: unconfigured
            assert client.control_out(0x00, 9, 1, 0).status == 0
            assert client.control_in(0x80, 8, 0, 0, 1).data == b"\1"
            client.submit(1, length=64)  # left pending
    assert process.alive()


def test_reads_identity_of_bridge_and_fpga(rig: Any) -> None:
    assert rig.client.read_registers(FPGA, 2) == (0x43524947, 0x01000000)
    assert rig.client.read_registers(BRIDGE, 2) == (0x43524252, 0x01000000)


def test_serial_number_reaches_the_bridge(make_rig: Callable[..., Any]) -> None:
    assert make_rig(serial=0x1122334455667788).client.read_registers(BRIDGE + 0x20, 2) == (0x55667788, 0x11223344)


def test_memory_keeps_bytes_at_odd_addresses(rig: Any) -> None:
    data = bytes(random.Random(3).randbytes(1001))
    assert rig.client.exchange((WRITE, 0x1235, data), (READ, 0x1235, 1001)) == [(0, b""), (0, data)]


def test_stalls_reach_the_client(rig: Any) -> None:
    assert rig.client.control_in(0x80, 6, 0x0600, 0, 10).status == PIPE  # DEVICE_QUALIFIER of a full-speed device
    assert rig.client.control_in(0xC1, 0x77, 0, 0, 4).status == PIPE
    assert rig.client.read_registers(FPGA)[0] == 0x43524947


def test_in_transfer_ends_when_full_or_short(rig: Any) -> None:
    client = rig.client
    request = struct.pack("<BBHIHB", 0xA5, READ, 1, 0, 512 - 12, 0)
    check = 0xFF
    for byte in request:
        check ^= byte
    client.transfer(1, data=request + bytes([check]) + bytes(52))
    first = client.transfer(1, length=256)
    assert (first.status, first.actual) == (0, 256)
    second = client.transfer(1, length=1024)
    assert (second.status, second.actual) == (0, 256)  # ended by a packet of length zero


def test_too_small_a_buffer_is_an_overflow(rig: Any) -> None:
    check = 0xFF ^ 0xA5 ^ READ ^ 1 ^ 52
    rig.client.transfer(1, data=struct.pack("<BBHIHBB", 0xA5, READ, 1, 0, 52, 0, check) + bytes(52))
    completion = rig.client.transfer(1, length=32)
    assert (completion.status, completion.actual) == (OVERFLOW, 32)


def test_unlink_ends_a_pending_transfer(rig: Any) -> None:
    client = rig.client
    sequence = client.submit(1, length=512)
    client.socket.sendall(struct.pack(">IIIIII24x", 2, 999, client.device_id, 0, 0, sequence))
    completion = client.completion()
    assert (completion.sequence, completion.status) == (999, RESET)
    client.socket.sendall(struct.pack(">IIIIII24x", 2, 1000, client.device_id, 0, 0, sequence))
    assert client.completion().status == 0  # nothing there any more
    assert client.read_registers(FPGA)[0] == 0x43524947


GARBAGE = {
    "letters": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(100),
    "old protocol": struct.pack(">HHI", 0x0106, 0x8005, 0),
    "unknown operation": struct.pack(">HHI", 0x0111, 0x8099, 0),
    "random": random.Random(1).randbytes(5000),
}
SUBMIT = ">IIIIIIIiii8s"
BAD_COMMANDS = {
    "unknown command": struct.pack(">I44x", 77),
    "huge transfer": struct.pack(SUBMIT, 1, 1, 0x10002, 0, 1, 0, 0x7FFFFFFF, 0, 0, 0, bytes(8)),
    "negative length": struct.pack(SUBMIT, 1, 1, 0x10002, 1, 1, 0, 0xFFFFFFFF, 0, 0, 0, bytes(8)),
    "endpoint 99": struct.pack(SUBMIT, 1, 1, 0x10002, 1, 99, 0, 64, 0, 0, 0, bytes(8)),
    "direction 7": struct.pack(SUBMIT, 1, 1, 0x10002, 7, 1, 0, 64, 0, 0, 0, bytes(8)),
    "isochronous": struct.pack(SUBMIT, 1, 1, 0x10002, 1, 1, 0, 64, 0, 5, 0, bytes(8)),
    "other device": struct.pack(SUBMIT, 1, 1, 0x50005, 1, 1, 0, 64, 0, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_closes_that_connection_only(rig: Any, name: str) -> None:
    with socket.create_connection(("127.0.0.1", rig.process.usbip_port), timeout=10) as stranger:
        stranger.sendall(GARBAGE[name])
        assert stranger.recv(1) == b""
    assert rig.client.read_registers(FPGA)[0] == 0x43524947
    assert "connection closed" in rig.process.log.read_text()


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_bad_command_closes_the_connection_and_frees_the_device(start: Callable[..., TwinProcess], name: str) -> None:
    process = start()
    with UsbipClient(process.usbip_port) as client:
        client.open()
        client.socket.sendall(BAD_COMMANDS[name])
        assert client.socket.recv(1) == b""
    with UsbipClient(process.usbip_port) as client:
        client.open()
        assert client.read_registers(FPGA)[0] == 0x43524947


def test_endpoint_that_does_not_exist_stalls(rig: Any) -> None:
    before = rig.status()["units"]
    assert rig.client.transfer(7, length=64).status == PIPE
    assert rig.client.transfer(7, data=b"abc").status == PIPE
    assert rig.status()["units"] == before


def test_unplug_ends_transfers_and_plug_brings_the_device_back(rig: Any) -> None:
    sequence = rig.client.submit(1, length=64)
    assert rig.control.call("usb", action="unplug") == {"plugged": False}
    completion = rig.client.completion()
    assert (completion.sequence, completion.status) == (sequence, NO_DEVICE_GONE)
    assert rig.client.socket.recv(1) == b""
    with UsbipClient(rig.process.usbip_port) as client:
        assert client.list() == []
        assert client.attach() == 4
    assert rig.control.call("usb", action="plug") == {"plugged": True}
    with UsbipClient(rig.process.usbip_port) as client:
        client.open()
        assert client.read_registers(FPGA)[0] == 0x43524947


# ---------------------------------------------------------------- time


def test_time_stands_still_while_nothing_is_asked(rig: Any) -> None:
    before = rig.status()
    time.sleep(0.2)
    rig.client.submit(1, length=64)  # nothing is coming: a first NAK, then time stands again
    time.sleep(0.2)
    middle = rig.status()
    assert middle["ticks"] - before["ticks"] < 200
    time.sleep(0.2)
    assert rig.status()["ticks"] == middle["ticks"]


def test_console_moves_no_time(rig: Any) -> None:
    rig.client.read_registers(FPGA)
    before = rig.status()["units"]
    assert rig.client.control_out(0x21, 0x22, 3, 1).status == 0  # SET_CONTROL_LINE_STATE
    assert rig.client.control_in(0xA1, 0x21, 0, 1, 7).actual == 7  # GET_LINE_CODING
    assert rig.client.transfer(3, data=b"\r").actual == 1
    rig.client.submit(2, length=16)
    assert rig.status()["units"] == before


def test_wait_ends_at_its_deadline(rig: Any) -> None:
    now = rig.client.board_time()
    rig.client.wait_until(now + 100_000)
    passed = rig.client.board_time() - now
    assert 100_000 <= passed < 104_000  # a few packets more


@pytest.mark.parametrize("clock_ppm", [0.0, 37.0, -150.5, 20_000.0])
def test_host_clock_differs_by_clock_ppm(make_rig: Callable[..., Any], clock_ppm: float) -> None:
    rig = make_rig(clock_ppm=clock_ppm)
    points = []
    for _ in range(2):
        points.append((rig.status()["ticks"], rig.control.call("host_time")["ns"]))
        rig.client.wait_until(rig.client.board_time() + 3_000_000)
    (ticks_a, ns_a), (ticks_b, ns_b) = points
    rate = (ticks_b - ticks_a) / (ns_b - ns_a) * 1e9
    assert (rate / TICKS_PER_SECOND - 1) * 1e6 == pytest.approx(clock_ppm, abs=0.5)


def test_usb_frame_lasts_a_millisecond_of_host_time(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(clock_ppm=100_000.0)
    rig.client.wait_until(TICKS_PER_SECOND // 4)
    status = rig.status()
    assert status["usb"]["frames"] == status["host_ns"] // 1_000_000
    assert status["host_ns"] == pytest.approx(status["ticks"] / TICKS_PER_SECOND / 1.1 * 1e9, rel=1e-6)


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def recording(make_rig: Callable[..., Any]) -> tuple[str, list[int]]:
    """Hash of all replies of a session with many kinds of transfer, and the board's time after each step."""
    rig = make_rig()
    digest, times = hashlib.sha256(), []
    generator = random.Random(11)
    samples = round_trip(rig.client, ramp(200), frames=300)
    digest.update(array.array("i", samples).tobytes())
    for _ in range(40):
        length = generator.randint(1, 3000)
        address = generator.randint(0, 0x8000)
        replies = rig.client.exchange(
            (WRITE, address, generator.randbytes(length)),
            (READ, address, length),
            (WAIT, (rig.client.board_time() + generator.randint(0, 20_000)) & 0xFFFFFFFF, 0),
            (READ, FPGA + 0x10, 12),
        )
        digest.update(repr(replies).encode())
        times.append(rig.status()["units"])
    return digest.hexdigest(), times


def test_same_transfers_give_the_same_bits_and_times_under_load(make_rig: Callable[..., Any]) -> None:
    quiet = recording(make_rig)
    load = [multiprocessing.get_context("fork").Process(target=busy, args=(60,)) for _ in range(os.cpu_count() or 2)]
    for process in load:
        process.start()
    try:
        loaded = recording(make_rig)
    finally:
        for process in load:
            process.kill()
            process.join()
    assert loaded == quiet


def test_bulk_packets_use_most_of_a_frame(rig: Any) -> None:
    """A long write is limited by the bus: 19 packets of 64 bytes a frame at most, and not much less."""
    data = bytes(4096)
    before = rig.status()
    start_ns = before["host_ns"]
    for number in range(8):
        header = struct.pack("<BBHIHB", 0xA5, WRITE, number, 0, 4096, 0)
        check = 0xFF
        for byte in header:
            check ^= byte
        rig.client.transfer(1, data=header + bytes([check]) + data + bytes(52))
    after = rig.status()
    frames = (after["host_ns"] - start_ns) / 1e6
    packets = (after["usb"]["out_bytes"] - before["usb"]["out_bytes"]) / 64
    assert 17 < packets / frames <= 19.5


def test_real_pace_does_not_run_ahead_of_the_wall_clock(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(pace="real")
    rig.client.read_registers(FPGA)
    begin = time.monotonic()
    rig.client.wait_until(rig.client.board_time() + TICKS_PER_SECOND // 4)
    assert time.monotonic() - begin > 0.24


def test_dead_board_is_noticed(start: Callable[..., TwinProcess]) -> None:
    process = start(guard_seconds=0.5)
    with UsbipClient(process.usbip_port) as client:
        client.open()
        # More than fits the board, and nobody reads the replies: OUT transfers block, nothing can get on.
        request = struct.pack("<BBHIHB", 0xA5, READ, 0, 0, 4096, 0)
        check = 0xFF
        for byte in request:
            check ^= byte
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                client.transfer(1, data=(request + bytes([check])) * 16)
    deadline = time.monotonic() + 10
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    failure = process.failure()
    assert failure is not None and "dead: nothing moved" in failure, failure


def test_long_wait_is_not_taken_for_dead(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(guard_seconds=0.3)
    begin = time.monotonic()
    rig.client.wait_until(rig.client.board_time() + TICKS_PER_SECOND)
    assert time.monotonic() - begin > 0.4, "too fast for this test to mean anything"
    assert rig.process.alive()


# ---------------------------------------------------------------- codec and control channel


def test_codec_counts_frames_by_itself(rig: Any) -> None:
    rig.client.write_register(FPGA + 0x50, 1)
    before = rig.status()
    rig.client.wait_until(before["ticks"] + 1000 * FRAME_TICKS)
    after = rig.status()
    passed = (after["ticks"] - before["ticks"]) / FRAME_TICKS
    assert after["codec_frames"] - before["codec_frames"] == pytest.approx(passed, abs=1)
    (ticks,) = rig.client.read_registers(FPGA + 0x54)
    assert 0 <= ticks - after["codec_frames"] <= 12  # the read itself takes some frames


def test_tap_hears_what_is_played(rig: Any) -> None:
    samples = ramp(100)
    rig.control.call("tap", action="start")
    round_trip(rig.client, samples, frames=250)
    rig.control.call("tap", action="stop")
    tap = rig.control.call("tap", action="read")
    heard = list(array.array("i", base64.b64decode(tap["samples"])))
    assert len(heard) == 2 * tap["frames"] and tap["dropped"] == 0 and not tap["running"]
    begin = find(samples, heard)
    assert heard[2 * begin : 2 * begin + 400] == samples * 2
    assert set(heard[: 2 * begin]) == {0}
    assert rig.control.call("tap", action="read")["frames"] == 0


def test_tap_tick_tells_when_a_frame_began(rig: Any) -> None:
    rig.client.write_register(FPGA + 0x50, 1)
    rig.client.wait_until(50_000)
    ticks = []
    for _ in range(2):
        rig.control.call("tap", action="start")
        rig.client.wait_until(rig.client.board_time() + 10 * FRAME_TICKS)
        rig.control.call("tap", action="stop")
        tap = rig.control.call("tap", action="read")
        assert tap["frames"] >= 9
        assert tap["tick"] < rig.status()["ticks"]
        ticks.append(tap["tick"])
    assert (ticks[1] - ticks[0]) % FRAME_TICKS == 0


def test_injected_frames_are_captured(rig: Any) -> None:
    frames = ramp(64, seed=8)
    rig.control.call("codec", connected=False)
    rig.control.call("inject", samples=base64.b64encode(array.array("i", frames).tobytes()).decode())
    captured = round_trip(rig.client, [0] * 8, frames=120)
    # The converter was off until now, so the queue begins with it; the first frames came before the stream ran.
    begin = find(frames[-60:], captured)
    assert begin > 0 and set(captured[2 * begin + 60 :]) == {0}


@pytest.mark.parametrize("delay", [0, 7])
def test_loopback_through_the_codec_is_exact_and_delayed(make_rig: Callable[..., Any], delay: int) -> None:
    samples = ramp(300)
    rig = make_rig()
    positions = []
    for frames in (0, delay):
        rig = make_rig()
        rig.control.call("codec", delay_frames=frames, gain_q16=32768)
        captured = round_trip(rig.client, samples, frames=350)
        half = [((value >> 8) * 32768 + 32768 >> 16) << 8 for value in samples]
        positions.append(find(half[:400], captured))
    assert positions[1] - positions[0] == delay


@pytest.mark.parametrize("frame_ticks", [128, 384, 1536])
def test_loopback_at_other_rates(make_rig: Callable[..., Any], frame_ticks: int) -> None:
    """96, 32 and 8 kHz: exact through the codec and inside, the codec counts as the FPGA does, no frame too few."""
    samples = ramp(300)
    begins = []
    for digital in (True, False):
        rig = make_rig()
        rig.control.call("codec", delay_frames=3)
        captured = round_trip(rig.client, samples, frames=350, frame_ticks=frame_ticks, digital=digital)
        begin = find(samples[:400], captured)
        assert captured[2 * begin :][:600] == samples[: len(captured) - 2 * begin]
        begins.append(begin)
        assert rig.client.read_registers(FPGA + 0x58) == (frame_ticks,)
        before = rig.status()
        (frames,) = rig.client.read_registers(FPGA + 0x54)
        assert 0 <= frames - before["codec_frames"] <= 1 + 12 * FRAME_TICKS // frame_ticks  # the read takes some
        rig.client.wait_until(before["ticks"] + 500 * frame_ticks)
        after = rig.status()
        passed = (after["ticks"] - before["ticks"]) / frame_ticks
        assert after["codec_frames"] - before["codec_frames"] == pytest.approx(passed, abs=1)
        # underruns and overruns of both streams
        assert [rig.client.read_registers(FPGA + 0x1020 + 0x100 * index, 2) for index in (0, 1)] == [(0, 0)] * 2
    # Out, 3 frames of the codec's delay, in.
    assert begins[1] - begins[0] == 1 + 3 + 1


def clipped_sum(first: int, second: int) -> int:
    """Of two samples of 24 bits, left-justified."""
    return min(max(first + second, -(1 << 31)), ((1 << 23) - 1) << 8)


def test_two_streams_share_the_converter(rig: Any) -> None:
    """They add up, clipped, while both run; each counts its own frames, and no frame of either is lost."""
    client = rig.client
    played = {0: ramp(100), 2: ramp(100, seed=6)}
    for index, samples in played.items():
        set_up(client, index, capture=False, buffer=0x2000 * index, ring=0x1F000 + 0x100 * index, frames=100)
        write_samples(client, 0x2000 * index, samples)
    set_up(client, 1, capture=True, buffer=CAPTURE_BUFFER, ring=CAPTURE_RING, frames=1200)
    client.write_register(CONVERTER_CONTROL, 1 | 1 << 4)
    for index in (1, 0, 2):
        client.write_register(stream(index, 0), RUN)
        client.wait_until(client.board_time() + 150 * FRAME_TICKS)
    for index in (2, 0):
        client.write_register(stream(index, 0), PAUSE)
        client.wait_until(client.board_time() + 50 * FRAME_TICKS)
    client.write_register(stream(1, 0), PAUSE)
    counts = [client.read_registers(stream(index, 0x90))[0] for index in (0, 1, 2)]
    heard = read_samples(client, CAPTURE_BUFFER, 2 * counts[1])
    assert heard[-20:] == [0] * 20 and counts[1] < 1200

    first = [played[0][at % 200] for at in range(2 * counts[0])]
    second = [played[2][at % 200] for at in range(2 * counts[2])]
    begin = next(at for at, sample in enumerate(heard) if sample) // 2 * 2
    alone = heard[begin : begin + len(first)]
    join = next(at for at, sample in enumerate(alone) if sample != first[at]) // 2 * 2
    assert begin > 200 and join > 200 and join + len(second) + 40 < len(first)
    expected = list(first)
    for at, sample in enumerate(second):
        expected[join + at] = clipped_sum(first[join + at], sample)
    assert heard == [0] * begin + expected + [0] * (len(heard) - begin - len(expected))


@pytest.mark.parametrize(("fault", "expected"), [("stuck0", {0}), ("stuck1", {-256})])
def test_stuck_pin_is_what_is_captured(rig: Any, fault: str, expected: set[int]) -> None:
    rig.control.call("cable", fault=fault)
    assert set(round_trip(rig.client, ramp(100), frames=100)[20:]) == expected
    rig.control.call("cable", fault="none")


def test_trigger_wires(rig: Any) -> None:
    assert rig.control.call("trigger") == {"out": False, "out_edges": []}
    rig.client.write_register(FPGA + 0x80, 1)
    now = rig.client.board_time()
    reply = rig.control.call("trigger", level=True)
    assert reply["out"] is True and len(reply["out_edges"]) == 1 and 0 < reply["out_edges"][0] < now
    assert rig.client.read_registers(FPGA + 0x84) == (1,)
    rig.control.call("trigger", level=False)
    assert rig.client.read_registers(FPGA + 0x84) == (0,)


def test_unconfigured_fpga_is_not_ready(rig: Any) -> None:
    rig.control.call("fpga", configured=False)
    assert rig.client.exchange((READ, FPGA, 4))[0][0] == 8
    assert rig.client.read_registers(BRIDGE + 0x1C)[0] & 1 == 0
    rig.control.call("fpga", configured=True)
    assert rig.client.read_registers(FPGA)[0] == 0x43524947


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"op": "fly"}, "none of: host_time"),
        ({}, "'op': expected a text"),
        ({"op": "codec", "gain_q16": "loud"}, "'gain_q16': expected an integer"),
        ({"op": "codec", "delay_frames": 5000}, "from 0 to 4096"),
        ({"op": "cable", "fault": "cut"}, "none of: none, open, stuck0, stuck1, swap"),
        ({"op": "fault", "name": "gremlins"}, "none of: none, bit-clock-stuck"),
        ({"op": "fault", "name": "memory-bit", "address": 1 << 17, "bit": 0}, "from 0 to 131071"),
        ({"op": "fault", "name": "memory-bit", "address": 0, "bit": 8}, "from 0 to 7"),
        ({"op": "tap", "action": "dance"}, "none of: start, stop, read"),
        ({"op": "inject", "samples": "AAAA"}, "whole stereo frames"),
        ({"op": "inject", "samples": "?"}, "not base64"),
        ({"op": "midi", "action": "sing"}, "none of: read, send, loop"),
        ({"op": "midi", "action": "send", "bytes": "?"}, "not base64"),
        ({"op": "midi", "action": "send", "bytes": "kA==", "tick": -1}, "'tick': expected an integer"),
        ({"op": "spdif", "action": "dance"}, "none of: start, stop, read"),
    ],
)
def test_control_refuses_with_a_reason(rig: Any, request_: dict[str, Any], words: str) -> None:
    operation = request_.pop("op", 5)
    with pytest.raises(TwinControlError) as caught:
        rig.control.call(operation, **request_)
    assert words in str(caught.value)
    assert rig.control.call("host_time")["ns"] >= 0


@pytest.mark.parametrize("line", [b"nonsense", b"[1,2", b"{" * 5000, b'{"op": 1e999}', b"\xff\x00\x01", b""])
def test_control_survives_garbage(start: Callable[..., TwinProcess], line: bytes) -> None:
    process = start()
    with socket.create_connection((process.host, process.control_port), timeout=10) as stranger:
        stranger.sendall(line + b"\n")
        assert stranger.makefile().readline().startswith('{"ok":false,"error":"')
    with TwinControl(process.host, process.control_port) as control:
        assert control.call("status")["ticks"] == 0


# ---------------------------------------------------------------- the process


def test_two_twins_at_once_do_not_meet(make_rig: Callable[..., Any]) -> None:
    first, second = make_rig(serial=1), make_rig(serial=2)
    first.client.write_register(FPGA + 0x28, 0x11111111)
    second.client.write_register(FPGA + 0x28, 0x22222222)
    assert first.client.read_registers(FPGA + 0x28) == (0x11111111,)
    assert second.client.read_registers(BRIDGE + 0x20) == (2,)


def test_quit_is_an_orderly_end(start: Callable[..., TwinProcess]) -> None:
    process = start()
    with TwinControl(process.host, process.control_port) as control:
        control.call("quit")
    deadline = time.monotonic() + 5
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process.alive() and process.failure() is None


def test_killed_twin_is_reported_with_its_log(rig: Any) -> None:
    # In the middle of a WAIT of a minute of board time, with its reply asked for.
    deadline_ticks = rig.client.board_time() + 60 * TICKS_PER_SECOND
    header = struct.pack("<BBHIHB", 0xA5, WAIT, 1, deadline_ticks & 0xFFFFFFFF, 0, 0)
    check = 0xFF
    for byte in header:
        check ^= byte
    assert rig.client.transfer(1, data=header + bytes([check]) + bytes(52)).status == 0
    rig.client.submit(1, length=64)
    os.kill(rig.process._process.pid, signal.SIGKILL)
    with pytest.raises(ConnectionError):
        rig.client.completion()
    deadline = time.monotonic() + 5
    while rig.process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    failure = rig.process.failure()
    assert failure is not None and "SIGKILL" in failure and "ready: usbip on" in failure
    with pytest.raises(TwinControlError):
        rig.control.call("status")


def test_twin_ends_when_its_python_is_killed(program: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom codecrig.twin import TwinProcess\n"
        "t = TwinProcess(); print(t._process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_port_in_use_is_named(start: Callable[..., TwinProcess]) -> None:
    process = start()
    with pytest.raises(TwinError) as caught:
        start(port=process.usbip_port)
    assert f"cannot listen on 127.0.0.1:{process.usbip_port}" in str(caught.value)


def test_fast_evaluation_equals_the_plain_one(program: Path) -> None:
    for seed in (1, 2, 3):
        done = subprocess.run(
            [program, "--self-check", "300000", "--serial", str(seed)], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout.strip()) == (0, "same")


def clock_rises_in(file: Path) -> list[int]:
    """Times, in picoseconds, at which `clk` rises in an FST file."""
    pylibfst = pytest.importorskip("pylibfst", reason="pylibfst is not installed: pip install -e .[dev]")
    context = pylibfst.lib.fstReaderOpen(str(file).encode())
    assert context != pylibfst.ffi.NULL, f"{file} is no FST file"
    try:
        _, signals = pylibfst.get_scopes_signals2(context)
        (clock,) = {signal.handle for name, signal in signals.by_name.items() if name == "TOP.clk"}
        pylibfst.lib.fstReaderSetFacProcessMaskAll(context)
        rises: list[int] = []

        def changed(_: object, time: int, handle: int, value: object) -> None:
            if handle == clock and pylibfst.string(value) == "1":
                rises.append(time)

        pylibfst.fstReaderIterBlocks(context, changed)
        return rises
    finally:
        pylibfst.lib.fstReaderClose(context)


def test_trace_shows_every_clock(program: Path, start: Callable[..., TwinProcess], tmp_path: Path) -> None:
    file = tmp_path / "twin.fst"
    process = start(trace=file, program=None)
    with UsbipClient(process.usbip_port) as client, TwinControl(process.host, process.control_port) as control:
        client.open()
        client.read_registers(FPGA)
        ticks = control.call("status")["ticks"]
    process.close()
    rises = clock_rises_in(file)
    assert ticks > 100
    assert len(rises) == ticks
    assert {later - sooner for sooner, later in zip(rises, rises[1:], strict=False)} == {81380, 81381}  # 12.288 MHz
