"""The pyusb backend over USB/IP, used as any pyusb program would, against a server written from the protocol."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import usb.core
import usb.util
from usbip_server import UsbipServer

from codecrig.link import Request, wire
from codecrig.link.usbip import UsbipBackend, UsbipConnection, list_exported


@pytest.fixture
def backend(server: UsbipServer) -> Iterator[UsbipBackend]:
    made = UsbipBackend("127.0.0.1", server.port, "1-1")
    yield made
    made.close()


@pytest.fixture
def device(backend: UsbipBackend) -> Iterator[Any]:
    found = usb.core.find(backend=backend, idVendor=0x1209, idProduct=0x0001)
    assert found is not None
    found.set_configuration()
    yield found
    usb.util.dispose_resources(found)


def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.005)


def test_find_reads_the_real_descriptor_and_strings(device: Any) -> None:
    assert (device.bcdUSB, device.iSerialNumber, device.bDeviceClass) == (0x0210, 3, 0xEF)
    assert (device.manufacturer, device.product, device.serial_number) == ("codecrig project", "codecrig", "SERIAL01")
    assert device.langids == (0x0409,)
    assert (device.bus, device.address, device.port_numbers) == (1, 2, (1,))


def test_find_by_string(backend: UsbipBackend) -> None:
    def named(name: str) -> Any:
        return usb.core.find(backend=backend, custom_match=lambda d: usb.util.get_string(d, d.iProduct) == name)

    assert named("codecrig") is not None
    assert named("something else") is None


def test_find_by_other_identifier_finds_nothing(backend: UsbipBackend) -> None:
    assert usb.core.find(backend=backend, idVendor=0x1234) is None


def test_configuration_is_taken_apart(device: Any) -> None:
    configuration = device.get_active_configuration()
    assert (configuration.bConfigurationValue, configuration.bNumInterfaces) == (1, 2)
    vendor, other = configuration[(0, 0)], configuration[(1, 0)]
    assert (vendor.bInterfaceClass, vendor.bInterfaceSubClass, vendor.bInterfaceProtocol) == (0xFF, 0x43, 0x52)
    assert [(e.bEndpointAddress, e.wMaxPacketSize) for e in vendor] == [(0x01, 64), (0x81, 64)]
    assert [(e.bEndpointAddress, e.bInterval) for e in other] == [(0x82, 16)]
    assert list(other.extra_descriptors) == [5, 0x24, 0, 0x10, 1]
    with pytest.raises(IndexError):
        device[1]


def test_claim_alternate_setting_and_driver_calls(device: Any, server: UsbipServer) -> None:
    usb.util.claim_interface(device, 0)
    device.set_interface_altsetting(0, 0)
    assert device.is_kernel_driver_active(0) is False
    usb.util.release_interface(device, 0)
    device.reset()
    assert "control 23 03 0004 0000" in server.device.log


def test_control_transfers_both_ways(device: Any) -> None:
    assert device.ctrl_transfer(0x40, 0x70, 0, 0, b"hello") == 5
    assert bytes(device.ctrl_transfer(0xC0, 0x70, 0, 0, 64)) == b"hello"
    assert device.ctrl_transfer(0x40, 0x70, 0, 0, None) == 0
    assert bytes(device.ctrl_transfer(0xC0, 0x70, 0, 0, 64)) == b""


def test_control_stall_is_a_pipe_error(device: Any) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        device.ctrl_transfer(0xC0, 0x55, 0, 0, 4)
    assert caught.value.errno == errno.EPIPE


def test_control_timeout_unlinks_and_leaves_the_device_usable(device: Any, server: UsbipServer) -> None:
    with pytest.raises(usb.core.USBTimeoutError) as caught:
        device.ctrl_transfer(0xC0, 0x71, 0, 0, 4, 50)
    assert caught.value.errno == errno.ETIMEDOUT
    assert len(server.unlinked) == 1
    assert len(device.ctrl_transfer(0xC1, 0x02, 0, 0, 16)) == 16


@pytest.mark.parametrize("length", [1, 52, 64, 116, 4000, 4096])
def test_bulk_round_trip_of_every_kind_of_length(device: Any, server: UsbipServer, length: int) -> None:
    server.device.board.memory[:length] = bytes(i * 7 & 0xFF for i in range(length))
    device.write(0x01, wire.pad(wire.encode_request(Request.read(0, length), 9)))
    reply = bytes(device.read(0x81, 8192))
    assert wire.ReplyParser().feed(reply)[0][1] == bytes(i * 7 & 0xFF for i in range(length))


def test_bulk_in_timeout_unlinks_and_keeps_the_data(device: Any, server: UsbipServer) -> None:
    server.device.hold = True
    device.write(0x01, wire.pad(wire.encode_request(Request.read(0, 4), 1)))
    start = time.monotonic()
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(0x81, 64, 80)
    assert 0.08 <= time.monotonic() - start < 2
    assert len(server.unlinked) == 1
    server.device.hold = False
    assert len(device.read(0x81, 64, 1000)) == 16


def test_a_transfer_that_finishes_while_it_is_unlinked_is_not_lost(server: UsbipServer) -> None:
    connection = UsbipConnection("127.0.0.1", server.port, "1-1")
    connection.transfer(0, 0, 0, b"", 1000, bytes([0, 9, 1, 0, 0, 0, 0, 0]))
    server.device.interrupts = [b"late"]
    real = connection._await_transfer

    def too_late(sequence: int, deadline: float | None) -> tuple[int, int, bytes]:
        raise TimeoutError

    connection._await_transfer = too_late  # type: ignore[method-assign]
    assert connection.transfer(2, 1, 8, b"", 100) == (4, b"late")
    connection._await_transfer = real  # type: ignore[method-assign]
    connection.close()


def test_endpoint_halt_and_clear(device: Any, server: UsbipServer) -> None:
    server.device.halted.add(0x81)
    with pytest.raises(usb.core.USBError) as caught:
        device.read(0x81, 64, 500)
    assert caught.value.errno == errno.EPIPE
    device.clear_halt(0x81)
    device.write(0x01, wire.pad(wire.encode_request(Request.read(0, 4), 1)))
    assert len(device.read(0x81, 64, 500)) == 16


def test_interrupt_endpoint(device: Any, server: UsbipServer) -> None:
    server.device.interrupts = [b"abc"]
    assert bytes(device.read(0x82, 8, 500)) == b"abc"


def test_transfers_from_two_threads_take_turns(device: Any, server: UsbipServer) -> None:
    problems: list[BaseException] = []

    def store(name: bytes) -> None:
        try:
            for _ in range(50):
                assert device.ctrl_transfer(0x40, 0x70, 0, 0, name) == len(name)
                assert bytes(device.ctrl_transfer(0xC0, 0x70, 0, 0, 64)) in (b"one", b"three")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=store, args=(name,)) for name in (b"one", b"three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert problems == []


def test_a_cut_connection_means_no_device(device: Any, server: UsbipServer) -> None:
    server.drop()
    server.close()
    with pytest.raises(usb.core.USBError) as caught:
        device.read(0x81, 64, 500)
    assert caught.value.errno == errno.ENODEV


def test_a_cut_connection_ends_a_pending_transfer(device: Any, server: UsbipServer) -> None:
    threading.Timer(0.1, server.drop).start()
    with pytest.raises(usb.core.USBError) as caught:
        device.read(0x81, 64, 20000)
    assert caught.value.errno == errno.ENODEV


def test_ctrl_c_takes_the_transfer_back(device: Any, server: UsbipServer) -> None:
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        device.read(0x81, 64, 20000)
    assert len(server.unlinked) == 1
    assert len(device.ctrl_transfer(0xC1, 0x02, 0, 0, 16)) == 16


def test_list_and_import_rules(server: UsbipServer, device: Any) -> None:
    assert list_exported("127.0.0.1", server.port) == []  # in use: not listed
    with pytest.raises(usb.core.USBError, match="in use by another client") as caught:
        UsbipConnection("127.0.0.1", server.port, "1-1")
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(usb.core.USBError, match="9-9 .* not exported") as caught:
        UsbipConnection("127.0.0.1", server.port, "9-9")
    assert caught.value.errno == errno.ENODEV


def test_closing_gives_the_device_back_and_opening_again_works(server: UsbipServer, device: Any) -> None:
    usb.util.dispose_resources(device)
    until(lambda: server.imported is None)
    assert list_exported("127.0.0.1", server.port) == [("1-1", 0x1209, 1)]
    assert len(device.ctrl_transfer(0xC1, 0x02, 0, 0, 16)) == 16


def test_without_a_bus_id_nothing_is_imported_until_use(server: UsbipServer) -> None:
    backend = UsbipBackend("127.0.0.1", server.port)
    found = usb.core.find(backend=backend, idVendor=0x1209)
    assert found is not None and server.imported is None
    assert found[0].bNumInterfaces == 2 and server.imported is not None
    assert usb.core.find(backend=backend, idVendor=0x1209) is not None  # ours, though no longer listed
    backend.close()


def test_no_server_is_said_in_words() -> None:
    with pytest.raises(usb.core.USBError, match="no USB/IP server at 127.0.0.1:1"):
        UsbipConnection("127.0.0.1", 1, "1-1")


def test_a_peer_that_speaks_something_else(server: UsbipServer) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        connection, _ = listener.accept()
        connection.recv(40)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

    threading.Thread(target=speak, daemon=True).start()
    with pytest.raises(usb.core.USBError, match="does not speak USB/IP"):
        UsbipConnection("127.0.0.1", listener.getsockname()[1], "1-1")
    listener.close()
