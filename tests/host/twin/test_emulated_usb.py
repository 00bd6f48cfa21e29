"""The flashed firmware on the bus: chapter 9, halts, what is taken back in mid-transfer, a host that goes."""

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from usbip_client import READ, WAIT, WRITE, UsbipClient

from codecrig.link import registers as regs
from codecrig.twin import build_emulation

STALL = -32
OUT, IN = 0x01, 0x81
PRODUCT_STRING = 0x0302
GET_STATUS, CLEAR_FEATURE, SET_FEATURE, SET_CONFIGURATION, GET_CONFIGURATION = 0, 1, 3, 9, 8


@pytest.fixture
def emulated(make_rig: Callable[..., Any]) -> Any:
    return make_rig(emulation=build_emulation())


def mcu(rig: Any) -> dict[str, int]:
    statistics: dict[str, int] = rig.status()["microcontroller"]
    return statistics


def assert_alive(rig: Any) -> None:
    """Requests are answered, and neither side has seen a packet twice or lost one."""
    data = random.Random(5).randbytes(1000)
    replies = rig.client.exchange((WRITE, 0x77, data), (READ, 0x77, 1000), (READ, regs.FPGA_ID, 4))
    assert [status for status, _ in replies] == [0, 0, 0]
    assert replies[1][1] == data and replies[2][1] == b"GIRC"
    assert (mcu(rig)["sequence_errors"], mcu(rig)["overflows"]) == (0, 0)


def read_request(address: int, length: int, sequence: int = 0) -> bytes:
    header = struct.pack("<BBHIHB", 0xA5, READ, sequence, address, length, 0)
    check = 0xFF
    for byte in header:
        check ^= byte
    return header + bytes([check])


def test_descriptors_are_those_of_the_firmware_for_this_machine(emulated: Any, rig: Any) -> None:
    """Which tests/firmware compares with the published layouts, and the kernel's lsusb takes apart (tests/kernel)."""
    wanted = [(0x80, 6, kind << 8, 0, 255) for kind in (1, 2, 15)]
    wanted += [(0x80, 6, 0x0300 | index, 0x0409, 255) for index in range(6)]
    wanted += [(0xC0, regs_ms_os, 0, 7, length) for regs_ms_os in (0x20,) for length in (10, 64, 128, 178, 255)]
    for setup in wanted:
        here, there = emulated.client.control_in(*setup), rig.client.control_in(*setup)
        if setup[2] == PRODUCT_STRING:  # the board's name is in it
            assert (here.data[2:].decode("utf-16-le"), there.status) == ("codecrig pico-ice", 0)
            continue
        assert (here.status, here.data) == (0, there.data), setup
        assert len(here.data) > 0


def test_request_errors(emulated: Any) -> None:
    control_in, control_out = emulated.client.control_in, emulated.client.control_out
    for endpoint in (0x00, 0x80, 0x04, 0x82 ^ 0x80):
        for request in (CLEAR_FEATURE, SET_FEATURE):
            assert control_out(0x02, request, 0, endpoint).status == STALL
    assert control_in(0x80, 6, 0x0600, 0, 10).status == STALL  # DEVICE_QUALIFIER: full speed only
    assert control_in(0x80, 77, 0, 0, 4).status == STALL
    assert control_out(0x00, 6, 0x0100, 0, b"\xee" * 18).status == STALL  # GET_DESCRIPTOR, wrong way
    assert control_out(0x00, SET_CONFIGURATION, 2, 0).status == STALL
    assert control_in(0x80, GET_CONFIGURATION, 0, 0, 1).data == b"\1"
    assert control_in(0x81, GET_STATUS, 0, 1, 2).data == b"\0\0"
    assert_alive(emulated)


def test_halts(emulated: Any) -> None:
    client = emulated.client
    control_in, control_out, transfer = client.control_in, client.control_out, client.transfer
    for round_ in range(3):
        for endpoint in (OUT, IN):
            assert control_out(0x02, SET_FEATURE, 0, endpoint).status == 0
            assert control_in(0x82, GET_STATUS, 0, endpoint, 2).data == b"\1\0"
            halted = transfer(1, data=bytes(64)) if endpoint == OUT else transfer(1, length=64)
            assert halted.status == STALL
            assert control_out(0x02, CLEAR_FEATURE, 0, endpoint).status == 0
            assert control_in(0x82, GET_STATUS, 0, endpoint, 2).data == b"\0\0"
            if round_ > 0:  # an odd number of packets each way: the toggles must start again all the same
                emulated.client.read_registers(regs.FPGA_ID)
            assert_alive(emulated)
        for endpoint in (OUT, IN):  # where there is no halt: as clients do that open a device
            assert control_out(0x02, CLEAR_FEATURE, 0, endpoint).status == 0
            assert_alive(emulated)


def test_configured_again_and_not_at_all(emulated: Any) -> None:
    control_out = emulated.client.control_out
    for _ in range(2):
        emulated.client.read_registers(regs.FPGA_ID)
        assert control_out(0x00, SET_CONFIGURATION, 1, 0).status == 0
        assert_alive(emulated)
    assert control_out(0x00, SET_CONFIGURATION, 0, 0).status == 0
    assert emulated.client.transfer(1, length=64).status != 0
    assert control_out(0x00, SET_CONFIGURATION, 1, 0).status == 0
    assert_alive(emulated)


@pytest.mark.parametrize("fetched", range(6))
def test_host_stops_reading_in_mid_reply_and_resets(emulated: Any, fetched: int) -> None:
    """RESET takes back what waits in either buffer, whichever is next; the data toggle stays in step."""
    for _ in range(2):
        requests = read_request(0, 500) + read_request(0x100, 500, 1)
        assert emulated.client.transfer(1, data=requests + bytes(-len(requests) % 64)).status == 0
        for _ in range(fetched):
            assert emulated.client.transfer(1, length=64).actual == 64
        assert emulated.client.control_out(0x41, 0x01, 0, 0).status == 0
        assert_alive(emulated)


def test_host_that_stops_reading_holds_up_the_others_and_loses_nothing(emulated: Any) -> None:
    data = random.Random(6).randbytes(4096)
    assert emulated.client.exchange((WRITE, 0, data)) == [(0, b"")]
    requests = b"".join(read_request(0, 4096, number) for number in range(5))  # 20,540 bytes back: beyond the window
    assert emulated.client.transfer(1, data=requests + bytes(-len(requests) % 64)).status == 0
    assert emulated.client.transfer(1, length=64).actual == 64
    time = emulated.status()["ticks"]
    assert emulated.client.control_in(0xC1, 0x02, 0, 0, 16).data[:4] == b"CRIG"  # others are served
    assert emulated.status()["ticks"] > time
    received = bytearray(52)
    while len(received) < 5 * 4108 - 12:
        completion = emulated.client.transfer(1, length=4096)
        assert completion.status == 0
        received += completion.data
    for number in range(1, 5):
        at = number * 4108 - 12
        assert received[at : at + 4] == struct.pack("<BBH", 0xA5, READ | 0x80, number)
        assert received[at + 12 : at + 4108] == data
    assert_alive(emulated)


@pytest.mark.parametrize("moment", range(4))
def test_cable_pulled_in_mid_transfer(emulated: Any, moment: int) -> None:
    """A request half sent, a reply half fetched, a WAIT pending: the board is made safe, and comes back."""
    client = emulated.client
    control = regs.STREAM_BASE + regs.STREAM_CONTROL
    client.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    if moment == 0:
        client.transfer(1, data=b"\xa5\x42\0\0\0\0\0\0\0\x10\0" + bytes(53))
    elif moment == 1:
        client.transfer(1, data=read_request(0, 3000) + bytes(52))
        client.transfer(1, length=64)
    elif moment == 2:
        client.submit(1, data=b"\xa5" * 4096)
    else:
        header = bytearray(struct.pack("<BBHIHBB", 0xA5, 3, 0, client.board_time() + 10_000_000 & 0xFFFFFFFF, 0, 0, 0))
        header[11] = 0xFF
        for byte in header[:11]:
            header[11] ^= byte
        client.transfer(1, data=bytes(header) + bytes(52))
        client.submit(1, length=64)
    emulated.control.call("usb", action="unplug")
    emulated.control.call("usb", action="plug")
    with UsbipClient(emulated.process.usbip_port) as again:
        again.open()
        assert again.read_registers(regs.FPGA_ID) == (0x43524947,)
        converter = again.read_registers(regs.FPGA_CONVERTER_CONTROL)[0]
        assert converter & 1 == 0 and converter >> regs.FPGA_CONVERTER_CONTROL_MUTE_LSB & 1 == 1
        assert again.read_registers(control)[0] == 0
    assert (mcu(emulated)["sequence_errors"], mcu(emulated)["overflows"]) == (0, 0)


def test_console_answers_wherever_in_a_frame_time_stands(emulated: Any) -> None:
    """Also in its last fifth, where erratum E15 holds back what is for the host; time stands still for a console."""
    transfer = emulated.client.transfer
    emulated.client.control_out(0x21, 0x22, 1, 1)  # a terminal listens
    phases = set()
    for turn in range(24):
        emulated.client.exchange((READ, 0, 4 + 30 * turn))
        phases.add(emulated.status()["host_ns"] % 1_000_000 // 100_000)
        assert transfer(3, data=b"help\r\n").status == 0
        answer = transfer(3, length=1024)
        assert answer.status == 0 and answer.data.endswith(b"off, error, info or debug\r\n")
    assert phases >= {7, 8} and len(phases) > 4


def test_garbage_on_the_console(emulated: Any) -> None:
    noise = random.Random(7)
    assert emulated.client.control_out(0x21, 0x22, 1, 1).status == 0
    for _ in range(20):
        line = bytes(byte for byte in noise.randbytes(noise.randrange(2, 200)) if byte not in b"\r\n ") + b"!\r"
        assert emulated.client.transfer(3, data=line).status == 0
        assert emulated.client.transfer(3, length=1024).data.startswith(b"error: ")
    assert_alive(emulated)


def test_event_flood(emulated: Any) -> None:
    """With an event that nobody takes, every WAIT is answered at once: hundreds of them, one behind the other."""
    client = emulated.client
    now = client.board_time()
    client.write_register(regs.FPGA_EVENT_ENABLE, 1)
    client.write_register(regs.FPGA_ALARM_TIME, (now + 20_000) & 0xFFFFFFFF)
    client.write_register(regs.FPGA_ALARM_CONTROL, 1)
    deadline = now + 100_000_000
    client.wait_until(deadline)
    assert now + 20_000 <= client.board_time() < now + 60_000
    wait = (WAIT, deadline & 0xFFFFFFFF, 0)
    for _ in range(3):
        replies = client.exchange(*[wait, (READ, regs.FPGA_ID, 4)] * 150)
        assert replies == [(0, b""), (0, b"GIRC")] * 150
    assert client.board_time() < now + 2_000_000
    assert_alive(emulated)
