"""`UsbLink` over pyusb: finding the right device, exchanges, and what is said when it fails."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import usb.core
from usbip_server import PretendedDevice, UsbipServer

from codecrig.link import LinkError, Reply, Request, wire
from codecrig.link import usb as link_usb
from codecrig.link.registers import AUDIO_MEMORY_BYTES, Status
from codecrig.link.usb import DeviceNotFound, UsbLink, list_devices, udev_rule
from codecrig.link.usbip import UsbipBackend


def open_link(server: UsbipServer, **changes: Any) -> UsbLink:
    arguments = {"vendor_id": 0x1209, "product_id": 1, "timeout_s": 0.5, **changes}
    return UsbLink.open(backend=UsbipBackend("127.0.0.1", server.port, "1-1"), **arguments)


@pytest.fixture
def link(server: UsbipServer) -> Iterator[UsbLink]:
    with open_link(server) as opened:
        yield opened


def test_open_configures_resets_and_checks_identity(link: UsbLink, server: UsbipServer) -> None:
    assert (link.name, link.serial) == ("usb 1209:0001 bus 1 address 2", "SERIAL01")
    wanted = ["control 00 09 0001 0000", "control 41 01 0000 0000", "control c1 02 0000 0000"]
    assert [line for line in server.device.log if line in wanted] == wanted


def test_exchange_of_any_size(link: UsbLink) -> None:
    data = bytes(i * 11 >> 3 & 0xFF for i in range(AUDIO_MEMORY_BYTES))
    replies = link.exchange([Request.write(0, data), Request.read(0, AUDIO_MEMORY_BYTES), Request.wait(5)])
    assert replies == [Reply(Status.OK), Reply(Status.OK, data), Reply(Status.OK)]
    assert link.exchange([]) == []


def test_refused_request_is_a_reply_and_the_next_one_works(link: UsbLink) -> None:
    replies = link.exchange([Request.read(AUDIO_MEMORY_BYTES, 4), Request.read(0, 4)])
    assert replies == [Reply(Status.UNMAPPED), Reply(Status.OK, bytes(4))]


def test_replies_of_whole_packets_end_without_a_hang(link: UsbLink) -> None:
    for length in (52, 116, 4096 - 12):
        assert link.exchange([Request.read(0, length)])[0].data == bytes(length)


def test_transfers_are_whole_packets_within_the_limit(link: UsbLink, server: UsbipServer) -> None:
    server.device.log.clear()
    link.exchange([Request.write(0, bytes(40000)), Request.read(3, 5)])
    sizes = [int(line.split()[1]) for line in server.device.log if line.startswith("out")]
    assert all(size % 64 == 0 and size <= 16384 for size in sizes) and len(sizes) == 3


@pytest.mark.parametrize("length", [4, 52, 53, 116, 500, 4000])
def test_requests_sent_ahead_are_answered_in_order(link: UsbLink, length: int) -> None:
    """Also where a packet holds the end of one batch's replies and the beginning of the next one's."""
    data = [bytes((index + turn) & 0xFF for index in range(length)) for turn in range(5)]
    link.send([Request.write(0, data[0])])
    for turn in range(5):
        link.send([Request.read(0, length), Request.write(0, data[(turn + 1) % 5])])
        assert link.receive()[-1] == Reply(Status.OK)
        if turn == 2:  # all of them fetched, none ahead
            assert link.receive()[0] == Reply(Status.OK, data[2])
            link.send([Request.write(0, data[3])])
    assert link.receive()[0] == Reply(Status.OK, data[4])
    assert link.exchange([Request.read(0, length)]) == [Reply(Status.OK, data[0])]


def test_a_failure_with_requests_ahead_is_a_link_error_and_the_link_recovers(
    link: UsbLink, server: UsbipServer
) -> None:
    for _ in range(2):
        server.device.damage = lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:]
        link.send([Request.read(0, 52)])
        link.send([Request.read(0, 4)])
        with pytest.raises(LinkError, match="check byte"):
            link.receive()
        server.device.damage = lambda data: data
        link.send([Request.read(8, 4)])
        assert link.receive() == [Reply(Status.OK, bytes(4))]
    server.device.halted.add(0x01)
    link._dirty = False
    with pytest.raises(LinkError, match="pipe error"):
        link.send([Request.read(0, 4)])
    assert link.exchange([Request.read(0, 4)]) == [Reply(Status.OK, bytes(4))]


def test_small_exchange_costs_little_python(link: UsbLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The overhead above the backend's own transfers, which are replaced by memory here."""
    answers: list[bytes] = []

    def write(endpoint: int, data: bytes, timeout: int) -> int:
        header = wire.decode_header(data)
        answers.append(wire.encode_reply(header, 0, bytes(header.length)))
        return len(data)

    monkeypatch.setattr(link, "_device", SimpleNamespace(write=write, read=lambda *_: answers.pop()))
    best = min(_timed(lambda: link.exchange([Request.read(0, 16)])) for _ in range(300))
    monkeypatch.undo()
    assert best < 60e-6


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_no_answer_is_a_link_error_with_the_next_step_and_the_link_recovers(link: UsbLink, server: UsbipServer) -> None:
    server.device.hold = True
    with pytest.raises(LinkError, match=r"READ 0x00000010, sequence 0; found nothing within 0.5 s .*; next step: look"):
        link.exchange([Request.read(0x10, 4)])
    server.device.log.clear()
    assert link.exchange([Request.read(0x10, 4)]) == [Reply(Status.OK, bytes(4))]
    assert "control 41 01 0000 0000" in server.device.log  # RESET dropped the late reply


def test_a_stalled_endpoint_recovers(link: UsbLink, server: UsbipServer) -> None:
    server.device.halted.add(0x81)
    with pytest.raises(LinkError, match="pipe error"):
        link.exchange([Request.read(0, 4)])
    assert link.exchange([Request.read(0, 4)]) == [Reply(Status.OK, bytes(4))]


def test_a_damaged_reply_is_a_link_error_and_the_link_recovers(link: UsbLink, server: UsbipServer) -> None:
    server.device.damage = lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:]
    with pytest.raises(LinkError, match="check byte"):
        link.exchange([Request.read(0, 4)])
    server.device.damage = lambda data: data
    assert link.exchange([Request.read(0, 4)]) == [Reply(Status.OK, bytes(4))]


def test_empty_packets_without_end_are_a_link_error(link: UsbLink, server: UsbipServer) -> None:
    server.device.damage = lambda data: b""
    server.device.board.answer = lambda transfer: bytes(640)  # type: ignore[method-assign]
    with pytest.raises(LinkError, match="expected READ 0x00000000, sequence 0; found .*empty packets"):
        for _ in range(4):
            server.device.waiting += bytes(16448)
        link.exchange([Request.read(0, 4)])


def test_one_empty_packet_left_from_before_does_no_harm(link: UsbLink, server: UsbipServer) -> None:
    seen: list[bytes] = []

    def once_empty(data: bytes) -> bytes:
        if seen:
            return data
        seen.append(data)
        server.device.waiting = data
        return b""

    server.device.damage = once_empty
    assert link.exchange([Request.read(0, 4)]) == [Reply(Status.OK, bytes(4))]


def test_a_device_that_is_gone(link: UsbLink, server: UsbipServer) -> None:
    server.drop()
    for _ in range(2):  # also the second time: a board that came back was reset, so it is not taken silently
        with pytest.raises(LinkError, match="usb 1209:0001 .* is gone; next step: plug it in again"):
            link.exchange([Request.read(0, 4)])


def test_a_dead_twin_is_reported_with_its_reason(server: UsbipServer) -> None:
    reason: list[str] = []
    link = open_link(server, explain=lambda: reason[0] if reason else None)
    server.drop()
    server.close()
    reason.append("exit code 3, log /tmp/twin.log: assertion failed")
    with pytest.raises(LinkError, match="found exit code 3, log /tmp/twin.log: assertion failed; next step: read"):
        link.exchange([Request.read(0, 4)])
    link.close()


def test_close_gives_the_device_back_and_may_be_repeated(server: UsbipServer) -> None:
    link = open_link(server)
    link.close()
    link.close()
    end = time.monotonic() + 5
    while server.imported is not None:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_host_time_is_the_given_clock(server: UsbipServer) -> None:
    with open_link(server, host_time_ns=lambda: 12345) as link:
        assert link.host_time_ns() == 12345
    with open_link(server) as link:
        before = time.perf_counter_ns()
        assert before <= link.host_time_ns() <= time.perf_counter_ns()


def test_raw_transfers(link: UsbLink) -> None:
    link.raw_write(wire.pad(wire.encode_request(Request.read(0, 8), 77)))
    ((header, data),) = wire.ReplyParser().feed(link.raw_read())
    assert (header.sequence, data) == (77, bytes(8))
    with pytest.raises(LinkError, match="bytes from the board"):
        link.raw_read(timeout_s=0.05)


# ------------------------------------------------------------ finding


def test_wrong_identity(server: UsbipServer) -> None:
    server.device.identity = b"CRIG" + (0x02000000).to_bytes(4, "little") + bytes(8)
    with pytest.raises(LinkError, match=r"wire version 1; found identity 43 52 49 47 00 00 00 02.*; next step: load"):
        open_link(server)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: setattr(d, "signature", (0xFF, 0, 0)), "has no such interface"),
        (lambda d: d.strings.__setitem__(2, "gadget"), "is 'gadget'"),
    ],
)
def test_another_device_with_the_test_identifier_is_left_alone(server: UsbipServer, change: Any, text: str) -> None:
    change(server.device)
    with pytest.raises(DeviceNotFound, match=f"1209:0001 with product string 'codecrig'.*{text}"):
        open_link(server)
    assert "control 41 01 0000 0000" not in server.device.log


def test_serial_that_is_not_there(server: UsbipServer) -> None:
    with pytest.raises(DeviceNotFound, match="serial 'OTHER'; found serials SERIAL01; .*--serial"):
        open_link(server, serial="OTHER")


class TwoBoards(UsbipBackend):
    """Two servers on one bus."""

    def __init__(self, *servers: UsbipServer) -> None:
        super().__init__("127.0.0.1", 0)
        self._parts = [UsbipBackend("127.0.0.1", server.port, "1-1") for server in servers]

    def enumerate_devices(self) -> Iterator[Any]:
        for part in self._parts:
            yield from part.enumerate_devices()

    def close(self) -> None:
        for part in self._parts:
            part.close()


def test_two_boards_alike_need_a_serial(server: UsbipServer) -> None:
    second = UsbipServer(PretendedDevice())
    second.device.strings[3] = "SERIAL02"
    with pytest.raises(DeviceNotFound, match="2 alike, with serials SERIAL01, SERIAL02; next step: .*--serial"):
        UsbLink.open(vendor_id=0x1209, product_id=1, backend=TwoBoards(server, second))
    with UsbLink.open(vendor_id=0x1209, product_id=1, serial="SERIAL02", backend=TwoBoards(server, second)) as link:
        assert link.serial == "SERIAL02"
    found = list_devices(TwoBoards(server, second))
    assert [(d.product, d.serial, d.problem) for d in found] == [("codecrig", f"SERIAL0{n}", "") for n in (1, 2)]
    second.close()


def test_no_device_says_what_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class EmptyBus(UsbipBackend):
        def enumerate_devices(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(DeviceNotFound, match="expected USB device 1209:0001 .*ff/43/52; found none; next step: plug"):
        UsbLink.open(vendor_id=0x1209, product_id=1, backend=EmptyBus("127.0.0.1", 0))


def test_no_permission_names_the_udev_rule(server: UsbipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> str:
        raise usb.core.USBError("Access denied (insufficient permissions)", -3, errno.EACCES)

    monkeypatch.setattr(link_usb.usb.util, "get_string", denied)
    with pytest.raises(DeviceNotFound) as caught:
        open_link(server)
    assert udev_rule(0x1209, 1) in str(caught.value) and "/etc/udev/rules.d/70-codecrig.rules" in str(caught.value)
    assert 'ATTR{product}=="codecrig*"' in udev_rule(0x1209, 1) and 'TAG+="uaccess"' in udev_rule(0x1209, 1)


def test_a_chip_that_the_firmware_refuses_is_told_with_what_to_do(server: UsbipServer) -> None:
    server.device.strings[2] = "codecrig pico-ice: needs RP2040 B2 or later"
    (found,) = list_devices(UsbipBackend("127.0.0.1", server.port, "1-1"))
    assert found.product == "codecrig pico-ice: needs RP2040 B2 or later"
    for product in ("codecrig", "codecrig pico-ice"):
        with pytest.raises(DeviceNotFound, match="this chip: it needs RP2040 B2 or later; next step: .*printed on"):
            open_link(server, product=product)


def test_no_libusb(monkeypatch: pytest.MonkeyPatch) -> None:
    import libusb_package
    import usb.backend.libusb1

    monkeypatch.setattr(libusb_package, "get_libusb1_backend", lambda: None)
    monkeypatch.setattr(usb.backend.libusb1, "get_backend", lambda: None)
    with pytest.raises(LinkError, match="expected libusb; found none; next step: install it"):
        list_devices()
