"""A pyusb backend that speaks USB/IP over TCP: reaches a simulated board, or a board that another machine exports.

Needs no root and no kernel module. Synchronous: one transfer at a time over one connection, so what the far side sees
depends on the order of calls alone. No isochronous transfers.

Facts of the protocol that shape the code: everything is big-endian but the 8 setup bytes; a reply carries direction 0,
so the direction is remembered by sequence number; a device in use is not listed.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core

VERSION = 0x0111
DEFAULT_PORT = 3240

_REQUEST_LIST, _REPLY_LIST = 0x8005, 0x0005
_REQUEST_IMPORT, _REPLY_IMPORT = 0x8003, 0x0003
_SUBMIT, _UNLINK, _SUBMIT_REPLY, _UNLINK_REPLY = 1, 2, 3, 4
_OUT, _IN = 0, 1
_DIRECTION_IN_FLAG = 0x200

_OPERATION = struct.Struct(">HHI")
_DEVICE = struct.Struct(">256s32sIIIHHHBBBBBB")
_SUBMIT_COMMAND = struct.Struct(">IIIIIIiiii8s")
_UNLINK_COMMAND = struct.Struct(">IIIIII24x")
_REPLY = struct.Struct(">IIIIIiiiii8x")
_SETUP = struct.Struct("<BBHHH")

_IMPORT_FAILURES = {
    1: (errno.EBUSY, "is not available: in use by another client, or not exported"),
    2: (errno.EBUSY, "is in use by another client"),
    3: (errno.EIO, "is in an error state at the server"),
    4: (errno.ENODEV, "is not exported by the server"),
}
_LIBUSB_SPEEDS = {5: 4, 6: 5}
"""Kernel speed codes that differ from libusb's: super speed and super speed plus."""

UNLINK_TIMEOUT_S = 5.0
"""A server answers an unlink at once; without an answer the connection is of no use any more."""
CONNECT_TIMEOUT_S = 5.0


def _usb_error(code: int, text: str | None = None) -> usb.core.USBError:
    """The pyusb exception for an errno value."""
    kind = usb.core.USBTimeoutError if code == errno.ETIMEDOUT else usb.core.USBError
    return kind(text or os.strerror(code), -code, code)


def _transfer_error(status: int) -> usb.core.USBError:
    """The pyusb exception for the status of a finished transfer, with the errno that libusb would give."""
    code = -status
    if code in (errno.ECONNRESET, errno.ENOENT):
        return _usb_error(errno.EINTR, "transfer cancelled")
    if code in (errno.ESHUTDOWN, errno.ENODEV):
        return _usb_error(errno.ENODEV, "no such device (it may have been disconnected)")
    if code == errno.EPIPE:
        return _usb_error(errno.EPIPE, "pipe error (endpoint stalled)")
    if code in (errno.EPROTO, errno.EILSEQ, errno.ETIME):
        return _usb_error(errno.EIO, f"input/output error on the bus ({os.strerror(code)})")
    return _usb_error(code)


class UsbipConnection:
    """One imported device: transfers, one at a time."""

    def __init__(self, host: str, port: int, bus_id: str) -> None:
        """Import device `bus_id`. Raises USBError: EBUSY in use, ENODEV not exported, ECONNREFUSED no server."""
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._directions: dict[int, int] = {}
        self._sequence = 0
        self._dead = False
        self._socket = _connect(host, port)
        try:
            self._socket.sendall(_OPERATION.pack(VERSION, _REQUEST_IMPORT, 0) + bus_id.encode().ljust(32, b"\0"))
            _, code, status = _OPERATION.unpack(self._read_exactly(_OPERATION.size))
            if code != _REPLY_IMPORT:
                raise _usb_error(
                    errno.EPROTO, f"{host}:{port} does not speak USB/IP (answer 0x{code:04X} to an import)"
                )
            if status:
                number, text = _IMPORT_FAILURES.get(status, (errno.EIO, f"was refused with status {status}"))
                raise _usb_error(number, f"device {bus_id} at {host}:{port} {text}")
            self.record = _DEVICE.unpack(self._read_exactly(_DEVICE.size))
        except TimeoutError:
            self._socket.close()
            raise _usb_error(errno.ETIMEDOUT, f"{host}:{port} does not answer the import of {bus_id}") from None
        except BaseException:
            self._socket.close()
            raise
        self._device_id = self.record[2] << 16 | self.record[3]

    @property
    def alive(self) -> bool:
        """False once the connection was closed or lost."""
        return not self._dead

    def close(self) -> None:
        """Give the device back."""
        self._dead = True
        self._socket.close()

    def transfer(
        self, endpoint: int, direction: int, length: int, data: bytes, timeout_ms: int, setup: bytes = bytes(8)
    ) -> tuple[int, bytes]:
        """Carry out one transfer; returns (bytes moved, data of an IN). `timeout_ms` 0 means no limit."""
        with self._lock:
            if self._dead:
                raise _transfer_error(-errno.ENODEV)
            deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else None
            sequence = self._next_sequence()
            self._directions[sequence] = direction
            flags = _DIRECTION_IN_FLAG if direction == _IN else 0
            command = _SUBMIT_COMMAND.pack(
                _SUBMIT, sequence, self._device_id, direction, endpoint, flags, length, 0, 0, 0, setup
            )
            try:
                self._send(command + data if data else command)
                status, actual, received = self._await_transfer(sequence, deadline)
            except TimeoutError:
                late = self._unlink(sequence)
                if late is None:
                    raise _usb_error(errno.ETIMEDOUT) from None
                status, actual, received = late
            except usb.core.USBError:
                raise
            except BaseException:
                # Ctrl-C: the transfer must not be left at the device.
                self._unlink(sequence)
                raise
            if status not in (0, -errno.EREMOTEIO):
                raise _transfer_error(status)
            return actual, received

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def _send(self, message: bytes) -> None:
        try:
            self._socket.settimeout(UNLINK_TIMEOUT_S)
            self._socket.sendall(message)
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError | None = None) -> None:
        self.close()
        raise _transfer_error(-errno.ENODEV) from error

    def _await_transfer(self, sequence: int, deadline: float | None) -> tuple[int, int, bytes]:
        """(status, bytes moved, data) of transfer `sequence`; answers to abandoned ones are dropped."""
        while True:
            kind, answered, status, actual, data = self._next_message(deadline)
            if kind == _SUBMIT_REPLY and answered == sequence:
                return status, actual, data

    def _unlink(self, sequence: int) -> tuple[int, int, bytes] | None:
        """Take a transfer back. Returns its result if it was finished meanwhile."""
        unlink = self._next_sequence()
        self._send(_UNLINK_COMMAND.pack(_UNLINK, unlink, self._device_id, 0, 0, sequence))
        deadline = time.monotonic() + UNLINK_TIMEOUT_S
        late = None
        try:
            while True:
                kind, answered, status, actual, data = self._next_message(deadline)
                if kind == _SUBMIT_REPLY and answered == sequence:
                    late = (status, actual, data)
                elif kind == _UNLINK_REPLY and answered == unlink:
                    self._directions.pop(sequence, None)
                    return late
        except TimeoutError as error:
            self._lost(error)
            return None

    def _next_message(self, deadline: float | None) -> tuple[int, int, int, int, bytes]:
        """(kind, sequence, status, bytes moved, data). Raises TimeoutError, or USBError if the connection is lost."""
        self._fill(_REPLY.size, deadline)
        kind, sequence, _, _, _, status, actual, _, _, _ = _REPLY.unpack_from(self._buffer)
        size = _REPLY.size
        if kind == _SUBMIT_REPLY:
            if sequence not in self._directions:
                self._lost()  # without its direction the length of the message is unknown
            if self._directions[sequence] == _IN and actual > 0:
                size += actual
                self._fill(size, deadline)
            del self._directions[sequence]
        elif kind != _UNLINK_REPLY:
            self._lost()
        data = bytes(self._buffer[_REPLY.size : size])
        del self._buffer[:size]
        return kind, sequence, status, actual, data

    def _fill(self, count: int, deadline: float | None) -> None:
        """Receive until the buffer holds `count` bytes."""
        while len(self._buffer) < count:
            if deadline is None:
                self._socket.settimeout(None)
            else:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                self._socket.settimeout(remaining)
            try:
                received = self._socket.recv(1 << 17)
            except TimeoutError:
                raise
            except OSError as error:
                self._lost(error)
            if not received:
                self._lost()
            self._buffer += received

    def _read_exactly(self, count: int) -> bytes:
        self._fill(count, time.monotonic() + CONNECT_TIMEOUT_S)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _connect(host: str, port: int) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
    except OSError as error:
        text = f"no USB/IP server at {host}:{port}: {error.strerror or error}"
        raise _usb_error(error.errno or errno.ECONNREFUSED, text) from error
    # Small requests and replies must not wait for one another.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def list_exported(host: str, port: int = DEFAULT_PORT) -> list[tuple[str, int, int]]:
    """(bus id, vendor id, product id) of every device that the server exports and nobody uses."""
    return [(_text(record[1]), record[5], record[6]) for record in _read_list(host, port)]


def _read_list(host: str, port: int) -> list[tuple[Any, ...]]:
    with _connect(host, port) as connection:
        try:
            connection.sendall(_OPERATION.pack(VERSION, _REQUEST_LIST, 0))
            stream = connection.makefile("rb")
            _, code, status = _OPERATION.unpack(stream.read(_OPERATION.size))
            if code != _REPLY_LIST or status:
                raise _usb_error(errno.EPROTO, f"{host}:{port} refused to list its devices (status {status})")
            (count,) = struct.unpack(">I", stream.read(4))
            records = []
            for _ in range(count):
                record = _DEVICE.unpack(stream.read(_DEVICE.size))
                stream.read(4 * record[13])
                records.append(record)
        except (OSError, struct.error) as error:
            if isinstance(error, usb.core.USBError):
                raise
            raise _usb_error(errno.EPROTO, f"{host}:{port} does not speak USB/IP") from error
        return records


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")


class _Device:
    """One device at a server, imported when first needed."""

    def __init__(self, host: str, port: int, bus_id: str, record: tuple[Any, ...] | None = None) -> None:
        self.host, self.port, self.bus_id = host, port, bus_id
        self.record = record
        self.connection: UsbipConnection | None = None
        self.device_descriptor: bytes | None = None
        self.configurations: dict[int, _Configuration] = {}

    def connected(self) -> UsbipConnection:
        if self.connection is None or not self.connection.alive:
            self.connection = UsbipConnection(self.host, self.port, self.bus_id)
            self.record = self.connection.record
        return self.connection

    def in_use(self) -> UsbipConnection:
        """The connection of an open device. A lost one is not replaced silently: the board was reset."""
        if self.connection is None:
            raise _transfer_error(-errno.ENODEV)
        return self.connection

    def control_in(self, kind: int, request: int, value: int, index: int, length: int) -> bytes:
        setup = _SETUP.pack(kind, request, value, index, length)
        return self.connected().transfer(0, _IN, length, b"", 5000, setup)[1]

    def descriptor(self, kind: int, index: int, length: int) -> bytes:
        return self.control_in(0x80, 6, kind << 8 | index, 0, length)

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class _Configuration:
    """A configuration descriptor taken apart."""

    def __init__(self, data: bytes) -> None:
        names = (
            "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration bmAttributes "
            "bMaxPower"
        )
        self.descriptor = _named(names, struct.unpack_from("<BBHBBBBB", data))
        self.interfaces: dict[int, list[tuple[SimpleNamespace, list[SimpleNamespace]]]] = {}
        current = self.descriptor
        endpoints: list[SimpleNamespace] = []
        offset = self.descriptor.bLength
        while offset + 2 <= len(data) and data[offset] >= 2:
            part = data[offset : offset + data[offset]]
            if part[1] == 4 and len(part) >= 9:
                names = (
                    "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass "
                    "bInterfaceSubClass bInterfaceProtocol iInterface"
                )
                current, endpoints = _named(names, part[:9]), []
                self.interfaces.setdefault(current.bInterfaceNumber, []).append((current, endpoints))
            elif part[1] == 5 and len(part) >= 7:
                names = "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval"
                current = _named(names, struct.unpack("<BBBBHB", part[:7]))
                current.bRefresh, current.bSynchAddress = (part[7], part[8]) if len(part) >= 9 else (0, 0)
                endpoints.append(current)
            else:
                current.extra_descriptors = [*current.extra_descriptors, *part]
            offset += len(part)


def _named(names: str, values: Any) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(names.split(), values, strict=True)), extra_descriptors=[])


class UsbipBackend(usb.backend.IBackend):
    """pyusb backend for the devices of one USB/IP server, or for one of them.

    With a bus id the device is imported as soon as pyusb looks for it, so that its strings can be read. Without one,
    pyusb sees what the server's list tells (no strings) until a device is used.
    """

    def __init__(self, host: str, port: int = DEFAULT_PORT, bus_id: str | None = None) -> None:
        self._host, self._port, self._bus_id = host, port, bus_id
        self._devices: dict[str, _Device] = {}

    def close(self) -> None:
        """Give back every device."""
        for device in self._devices.values():
            device.disconnect()

    # -------------------------------------------------------- finding

    def enumerate_devices(self) -> Iterator[_Device]:
        if self._bus_id is not None:
            device = self._devices.setdefault(self._bus_id, _Device(self._host, self._port, self._bus_id))
            device.connected()
            yield device
            return
        in_use = [d for d in self._devices.values() if d.connection is not None and d.connection.alive]
        yield from in_use  # devices that we use are not listed any more
        for record in _read_list(self._host, self._port):
            bus_id = _text(record[1])
            if bus_id not in (device.bus_id for device in in_use):
                self._devices[bus_id] = _Device(self._host, self._port, bus_id, record)
                yield self._devices[bus_id]

    def get_parent(self, dev: _Device) -> None:
        return None

    def get_device_descriptor(self, dev: _Device) -> SimpleNamespace:
        if dev.device_descriptor is None and dev.connection is not None:
            dev.device_descriptor = dev.descriptor(1, 0, 18)
        record = dev.record
        if record is None:
            raise _usb_error(errno.ENODEV)
        fields: tuple[Any, ...]
        if dev.device_descriptor is not None:
            fields = struct.unpack("<BBHBBBBHHHBBBB", dev.device_descriptor)
        else:
            fields = (18, 1, 0x200, *record[8:11], 64, *record[5:8], 0, 0, 0, record[12])
        names = (
            "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 idVendor "
            "idProduct bcdDevice iManufacturer iProduct iSerialNumber bNumConfigurations"
        )
        descriptor = _named(names, fields)
        ports = tuple(int(part) for part in dev.bus_id.partition("-")[2].split(".") if part.isdigit())
        descriptor.bus, descriptor.address = record[2], record[3]
        descriptor.port_numbers, descriptor.port_number = ports, ports[-1] if ports else None
        descriptor.speed = _LIBUSB_SPEEDS.get(record[4], record[4])
        return descriptor

    def _configuration(self, dev: _Device, index: int) -> _Configuration:
        if index not in dev.configurations:
            try:
                head = dev.descriptor(2, index, 9)
            except usb.core.USBError as error:
                if error.errno == errno.EPIPE:
                    raise IndexError(f"invalid configuration index {index}") from error
                raise
            dev.configurations[index] = _Configuration(dev.descriptor(2, index, int.from_bytes(head[2:4], "little")))
        return dev.configurations[index]

    def get_configuration_descriptor(self, dev: _Device, config: int) -> SimpleNamespace:
        if config >= self.get_device_descriptor(dev).bNumConfigurations:
            raise IndexError(f"invalid configuration index {config}")
        return self._configuration(dev, config).descriptor

    def _interface(
        self, dev: _Device, intf: int, alt: int, config: int
    ) -> tuple[SimpleNamespace, list[SimpleNamespace]]:
        interfaces = [settings for _, settings in sorted(self._configuration(dev, config).interfaces.items())]
        if intf >= len(interfaces) or alt >= len(interfaces[intf]):
            raise IndexError(f"invalid interface index {intf} with alternate setting {alt}")
        return interfaces[intf][alt]

    def get_interface_descriptor(self, dev: _Device, intf: int, alt: int, config: int) -> SimpleNamespace:
        return self._interface(dev, intf, alt, config)[0]

    def get_endpoint_descriptor(self, dev: _Device, ep: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        endpoints = self._interface(dev, intf, alt, config)[1]
        if ep >= len(endpoints):
            raise IndexError(f"invalid endpoint index {ep}")
        return endpoints[ep]

    # -------------------------------------------------------- using

    def open_device(self, dev: _Device) -> _Device:
        dev.connected()
        return dev

    def close_device(self, dev_handle: _Device) -> None:
        dev_handle.disconnect()

    def _control_out(self, handle: _Device, kind: int, request: int, value: int, index: int) -> None:
        handle.in_use().transfer(0, _OUT, 0, b"", 5000, _SETUP.pack(kind, request, value, index, 0))

    def set_configuration(self, dev_handle: _Device, config_value: int) -> None:
        self._control_out(dev_handle, 0x00, 9, config_value, 0)

    def get_configuration(self, dev_handle: _Device) -> int:
        return dev_handle.control_in(0x80, 8, 0, 0, 1)[0]

    def set_interface_altsetting(self, dev_handle: _Device, intf: int, altsetting: int) -> None:
        self._control_out(dev_handle, 0x01, 11, altsetting, intf)

    def clear_halt(self, dev_handle: _Device, ep: int) -> None:
        self._control_out(dev_handle, 0x02, 1, 0, ep)

    def reset_device(self, dev_handle: _Device) -> None:
        """A port reset. The kernel's server knows it as "set port feature reset"; another one may stall it."""
        self._control_out(dev_handle, 0x23, 3, 4, 0)

    # An import is exclusive and no driver sits on our side: nothing to claim, nothing to detach.

    def claim_interface(self, dev_handle: _Device, intf: int) -> None:
        pass

    def release_interface(self, dev_handle: _Device, intf: int) -> None:
        pass

    def is_kernel_driver_active(self, dev_handle: _Device, intf: int) -> bool:
        return False

    def detach_kernel_driver(self, dev_handle: _Device, intf: int) -> None:
        pass

    def attach_kernel_driver(self, dev_handle: _Device, intf: int) -> None:
        pass

    def ctrl_transfer(
        self,
        dev_handle: _Device,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: array.array[int],
        timeout: int,
    ) -> int:
        payload = data.tobytes()
        setup = _SETUP.pack(bmRequestType, bRequest, wValue, wIndex, len(payload))
        if bmRequestType & 0x80:
            actual, received = dev_handle.in_use().transfer(0, _IN, len(payload), b"", timeout, setup)
            _copy_into(data, received)
            return actual
        return dev_handle.in_use().transfer(0, _OUT, len(payload), payload, timeout, setup)[0]

    def bulk_write(self, dev_handle: _Device, ep: int, intf: int, data: array.array[int], timeout: int) -> int:
        payload = data.tobytes()
        return dev_handle.in_use().transfer(ep & 0x0F, _OUT, len(payload), payload, timeout)[0]

    def bulk_read(self, dev_handle: _Device, ep: int, intf: int, buff: array.array[int], timeout: int) -> int:
        length = len(buff) * buff.itemsize
        actual, received = dev_handle.in_use().transfer(ep & 0x0F, _IN, length, b"", timeout)
        _copy_into(buff, received)
        return actual

    def intr_write(self, dev_handle: _Device, ep: int, intf: int, data: array.array[int], timeout: int) -> int:
        return self.bulk_write(dev_handle, ep, intf, data, timeout)

    def intr_read(self, dev_handle: _Device, ep: int, intf: int, size: array.array[int], timeout: int) -> int:
        return self.bulk_read(dev_handle, ep, intf, size, timeout)


def _copy_into(target: array.array[int], data: bytes) -> None:
    if data:
        memoryview(target).cast("B")[: len(data)] = data
