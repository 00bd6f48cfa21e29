"""`UsbLink`: a board on USB, through pyusb over libusb or over USB/IP.

Finds the device by identifier, product string and interface signature, because the default identifier is a test one
that anybody may use. Never retries a request; after a failure the next exchange resets the link first.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import serial.tools.list_ports
import usb.core
import usb.util

from codecrig.link import Link, LinkError, Reply, Request
from codecrig.link import registers as regs
from codecrig.link.wire import PACKET_BYTES, WINDOW_BYTES, Exchange

INTERFACE_SIGNATURE = (0xFF, 0x43, 0x52)
"""Class, subclass ("C") and protocol ("R") of the vendor interface."""

TIMEOUT_S = 5.0
"""Longest wait for one transfer to a physical board; a WAIT lasts 1 s at most, an answer milliseconds."""
TWIN_TIMEOUT_S = 60.0
"""The same for a twin, in wall-clock time: it may run slowly, this only detects a dead one."""

_RESET, _IDENTITY, _BOOT_LOADER = 0x01, 0x02, 0x03
_LEAVING_S = 2.0
"""A board that was told to leave for its boot loader is gone 10 ms later."""
_CONTROL_TIMEOUT_MS = 2000
_READ_BYTES = WINDOW_BYTES + PACKET_BYTES
"""Room for all that may be outstanding and the short packet behind it."""
_MOST_EMPTY_READS = 4
"""One zero-length packet may be left from before; more in a row mean that requests are not being answered."""


class DeviceNotFound(LinkError):
    """No device, more than one, or one that may not be opened."""


@dataclass(frozen=True)
class UsbDevice:
    """A device with our interface, as found on the bus."""

    vendor_id: int
    product_id: int
    product: str
    serial: str
    text: str
    """Where it is, for people."""
    problem: str = ""
    """Why it cannot be opened, with the fix; empty if it can."""


def udev_rule(vendor_id: int, product_id: int, product: str = "codecrig") -> str:
    """The line for /etc/udev/rules.d/70-codecrig.rules that lets an ordinary user open the board."""
    return (
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor_id:04x}", ATTR{{idProduct}}=="{product_id:04x}", '
        f'ATTR{{product}}=="{product}*", TAG+="uaccess", MODE="0660", GROUP="plugdev"'
    )


def refusal_help(product: str) -> str:
    """What to do about a board whose firmware refuses its chip and says so in the product string; empty if it runs."""
    name, _, refusal = product.partition(": ")
    if name.split()[:1] != ["codecrig"] or not refusal:
        return ""
    return (
        f"the firmware does not run on this chip: it {refusal}; next step: take another board "
        f"(the revision is printed on the chip: RP2-B2 is the first that will do)"
    )


def _permission_help(vendor_id: int, product_id: int) -> str:
    return (
        f"no permission to open it; next step: put the line {udev_rule(vendor_id, product_id)} into "
        f"/etc/udev/rules.d/70-codecrig.rules, run `sudo udevadm control --reload-rules && sudo udevadm trigger`, "
        f"plug the board in again (over ssh: be a member of group plugdev)"
    )


def libusb_backend() -> Any:
    """A pyusb backend over the bundled or the system's libusb. Raises LinkError if there is none."""
    backend = None
    try:
        import libusb_package

        backend = libusb_package.get_libusb1_backend()
    except ImportError:
        pass
    if backend is None:
        import usb.backend.libusb1

        backend = usb.backend.libusb1.get_backend()
    if backend is None:
        raise LinkError.of(
            "libusb", "none", "install it: `pip install libusb-package`, or libusb-1.0-0 of the distribution"
        )
    return backend


def _find(backend: Any, **match: int) -> list[Any]:
    try:
        return list(usb.core.find(find_all=True, backend=backend, **match))
    except (usb.core.USBError, usb.core.NoBackendError) as error:
        raise LinkError.of("a list of USB devices", str(error), "run `codecrig doctor`") from error


def _vendor_interface(device: Any) -> Any | None:
    """The interface with our signature, or None."""
    try:
        for configuration in device:
            for interface in configuration:
                found = (interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol)
                if found == INTERFACE_SIGNATURE:
                    return interface
    except usb.core.USBError:
        return None
    return None


def _describe(device: Any) -> UsbDevice:
    """Strings of a device; if they cannot be read, why."""
    product = serial = problem = ""
    try:
        product = usb.util.get_string(device, device.iProduct) or "" if device.iProduct else ""
        serial = usb.util.get_string(device, device.iSerialNumber) or "" if device.iSerialNumber else ""
    except (usb.core.USBError, ValueError, NotImplementedError) as error:
        # pyusb says "no langid" (ValueError) when it may not read strings.
        if isinstance(error, ValueError) or getattr(error, "errno", None) == errno.EACCES:
            problem = _permission_help(device.idVendor, device.idProduct)
        else:
            problem = f"cannot be read: {error}"
    problem = problem or refusal_help(product)
    text = f"usb {device.idVendor:04x}:{device.idProduct:04x} bus {device.bus} address {device.address}"
    return UsbDevice(device.idVendor, device.idProduct, product, serial, text, problem)


def list_devices(backend: Any = None) -> list[UsbDevice]:
    """Every device on the bus with our interface, whatever its identifier. Raises LinkError without libusb."""
    backend = backend or libusb_backend()
    found = []
    for device in _find(backend):
        if _vendor_interface(device) is not None:
            found.append(_describe(device))
            usb.util.dispose_resources(device)
    return found


def console_port(device: UsbDevice) -> str | None:
    """Serial port of the board's console (e.g. /dev/ttyACM0), None where the system shows none.

    A board without a serial number is not looked up: its port could be another board's.
    """
    wanted = (device.vendor_id, device.product_id, device.serial)
    ports = [port for port in serial.tools.list_ports.comports() if (port.vid, port.pid, port.serial_number) == wanted]
    return str(ports[0].device) if device.serial and ports else None


class UsbLink(Link):
    """The link to one board on USB. `UsbLink.open` finds it."""

    def __init__(
        self,
        device: Any,
        interface: Any,
        *,
        name: str,
        serial: str,
        host_time_ns: Callable[[], int] | None = None,
        explain: Callable[[], str | None] | None = None,
        timeout_s: float = TIMEOUT_S,
        close_backend: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.serial = serial
        self.timeout_s = timeout_s
        self._device = device
        self._interface_number = int(interface.bInterfaceNumber)
        self._host_time_ns = host_time_ns or time.perf_counter_ns
        self._explain = explain
        self._close_backend = close_backend
        self._sequence = 0
        self._dirty = False
        self._sent: deque[Exchange] = deque()
        self._closed = False
        self._detached = False
        out, into = (
            usb.util.find_descriptor(
                interface,
                custom_match=lambda e, d=direction: (
                    usb.util.endpoint_direction(e.bEndpointAddress) == d
                    and usb.util.endpoint_type(e.bmAttributes) == usb.util.ENDPOINT_TYPE_BULK
                ),
            )
            for direction in (usb.util.ENDPOINT_OUT, usb.util.ENDPOINT_IN)
        )
        if out is None or into is None:
            raise LinkError.of(
                "a bulk OUT and a bulk IN endpoint", f"neither both at {name}", "load this release's firmware"
            )
        self._out, self._in = out.bEndpointAddress, into.bEndpointAddress
        try:
            self._claim()
            self._reset()
            self._check_identity()
        except usb.core.USBError as error:
            raise self._failure("RESET and IDENTITY to be answered", error) from error

    @classmethod
    def open(
        cls,
        *,
        vendor_id: int,
        product_id: int,
        product: str = "codecrig",
        serial: str | None = None,
        backend: Any = None,
        host_time_ns: Callable[[], int] | None = None,
        explain: Callable[[], str | None] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> UsbLink:
        """Find the one board that fits, claim it, reset the link and check the wire version.

        `product`: the product string, or its first words.

        `host_time_ns` replaces the machine's clock (a twin has its own), `explain` says why a twin died. Raises
        DeviceNotFound (a LinkError) if there is none, more than one, or no permission; LinkError if it does not answer.
        """
        chosen_backend = backend or libusb_backend()
        close_backend = getattr(chosen_backend, "close", None)
        device = None
        try:
            device, interface, found = _choose(chosen_backend, vendor_id, product_id, product, serial)
            return cls(
                device,
                interface,
                name=found.text,
                serial=found.serial,
                host_time_ns=host_time_ns,
                explain=explain,
                timeout_s=timeout_s,
                close_backend=close_backend,
            )
        except BaseException:
            if device is not None:
                usb.util.dispose_resources(device)
            if close_backend is not None:
                close_backend()
            raise

    # ------------------------------------------------------------ Link

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """See `Link.exchange`. If it fails, or is interrupted, the next exchange resets the link first."""
        exchange = Exchange(requests, self._sequence)
        try:
            if self._dirty:
                self._recover()
            self._dirty = True
            self._sequence = (self._sequence + exchange.pieces) & 0xFFFF
            for transfer in exchange.transfers:
                while (excess := exchange.excess_bytes(transfer)) > 0:
                    # Ask for whole packets that are sure to come, so that the read ends by itself.
                    self._receive(exchange, -(-excess // PACKET_BYTES) * PACKET_BYTES)
                self._send(transfer.data)
                exchange.sent(transfer)
            while exchange.outstanding_bytes:
                self._receive(exchange, _READ_BYTES)
        except usb.core.USBError as error:
            raise self._failure(exchange.next_name(), error) from error
        self._dirty = False
        return exchange.replies()

    def send(self, requests: Sequence[Request]) -> None:
        exchange = Exchange(requests, self._sequence, behind=self._sent[-1] if self._sent else None)
        (transfer,) = exchange.transfers
        try:
            if self._dirty and not self._sent:
                self._recover()
            self._dirty = True
            self._sequence = (self._sequence + exchange.pieces) & 0xFFFF
            self._send(transfer.data)
        except BaseException as error:
            self._sent.clear()
            if isinstance(error, usb.core.USBError):
                raise self._failure(exchange.next_name(), error) from error
            raise
        exchange.sent(transfer)
        self._sent.append(exchange)

    def receive(self) -> list[Reply]:
        exchange = self._sent[0]
        try:
            while exchange.outstanding_bytes:
                missing = exchange.outstanding_bytes - exchange.partial_bytes
                coming = sum(each.outstanding_bytes for each in self._sent) - exchange.partial_bytes
                whole = -(-missing // PACKET_BYTES) * PACKET_BYTES
                # Whole packets come when they are full. If the last one will not be, the end of all replies ends it.
                self._receive(exchange, whole if whole <= coming else _READ_BYTES)
        except BaseException as error:
            self._sent.clear()
            if isinstance(error, usb.core.USBError):
                raise self._failure(exchange.next_name(), error) from error
            raise
        self._sent.popleft()
        self._dirty = bool(self._sent)
        return exchange.replies()

    def host_time_ns(self) -> int:
        return self._host_time_ns()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            usb.util.release_interface(self._device, self._interface_number)
            if self._detached:
                self._device.attach_kernel_driver(self._interface_number)
        except usb.core.USBError:
            pass  # the device is gone: nothing is left to release
        finally:
            usb.util.dispose_resources(self._device)
            if self._close_backend is not None:
                self._close_backend()

    def enter_boot_loader(self) -> None:
        try:
            self._device.ctrl_transfer(0x41, _BOOT_LOADER, 0, self._interface_number, None, _CONTROL_TIMEOUT_MS)
        except usb.core.USBError as error:
            raise self._failure("the order to enter the boot loader to be taken", error) from error
        deadline = time.monotonic() + _LEAVING_S
        while time.monotonic() < deadline:
            try:
                self._check_identity()
            except usb.core.USBError:
                return
        raise LinkError.of("the board to leave for its boot loader", f"it still answers at {self.name}", "unplug it")

    # ------------------------------------------------------------ for tests of the wire itself

    def raw_write(self, data: bytes) -> None:
        """Send bytes as they are, one OUT transfer, unpadded. For tests that send what a client must not."""
        self._send(data)

    def raw_read(self, length: int = _READ_BYTES, timeout_s: float | None = None) -> bytes:
        """One IN transfer of up to `length` bytes, a multiple of 64. Raises LinkError if nothing comes in time."""
        try:
            return self._read(length, self.timeout_s if timeout_s is None else timeout_s)
        except usb.core.USBError as error:
            raise self._failure("bytes from the board", error) from error

    def reset(self) -> None:
        """Drop whatever the board has in its queues (control request RESET)."""
        try:
            self._reset()
            self._dirty = False
        except usb.core.USBError as error:
            raise self._failure("RESET to be answered", error) from error

    # ------------------------------------------------------------ inside

    def _send(self, data: bytes) -> None:
        written = self._device.write(self._out, data, int(self.timeout_s * 1000))
        if written != len(data):
            raise LinkError.of(f"{len(data)} bytes to be taken", f"{written}", "close the board and open it again")

    def _read(self, length: int, timeout_s: float) -> bytes:
        return bytes(self._device.read(self._in, length, max(1, int(timeout_s * 1000))))

    def _receive(self, exchange: Exchange, length: int) -> None:
        for _ in range(_MOST_EMPTY_READS):
            data = self._read(length, self.timeout_s)
            if data:
                exchange.feed(data)
                return
        raise LinkError.of(
            exchange.next_name(),
            f"{_MOST_EMPTY_READS} empty packets, as if everything had been answered",
            "close the board and open it again; look at the board's console",
        )

    def _claim(self) -> None:
        try:
            if self._device.is_kernel_driver_active(self._interface_number):
                self._device.detach_kernel_driver(self._interface_number)
                self._detached = True
        except NotImplementedError:
            pass  # not on this system, where no driver takes a vendor interface
        try:
            self._device.get_active_configuration()
        except usb.core.USBError:
            self._device.set_configuration()  # an exported device comes unconfigured
        usb.util.claim_interface(self._device, self._interface_number)

    def _reset(self) -> None:
        self._device.ctrl_transfer(0x41, _RESET, 0, self._interface_number, None, _CONTROL_TIMEOUT_MS)

    def _recover(self) -> None:
        """Make the link usable after an exchange that did not end."""
        for endpoint in (self._out, self._in):
            self._device.clear_halt(endpoint)
        self._reset()

    def _check_identity(self) -> None:
        data = bytes(self._device.ctrl_transfer(0xC1, _IDENTITY, 0, self._interface_number, 16, _CONTROL_TIMEOUT_MS))
        version = int.from_bytes(data[4:8], "little")
        if data[:4] != b"CRIG" or len(data) != 16 or version >> 24 != regs.BRIDGE_VERSION_MAJOR_RESET:
            raise LinkError.of(
                f"a board that speaks wire version {regs.BRIDGE_VERSION_MAJOR_RESET}",
                f"identity {data.hex(' ')} at {self.name}",
                "load the firmware of this release, or use the package of the firmware's release",
            )

    def _failure(self, expected: str, error: usb.core.USBError) -> LinkError:
        """What went wrong, with the reason of a dead twin if there is one."""
        gone = error.errno == errno.ENODEV
        why = self._explain() if gone and self._explain is not None else None
        if why:
            return LinkError.of(expected, why, "read its log; run again with a fresh one")
        if isinstance(error, usb.core.USBTimeoutError):
            next_step = "look at the board's console; if it is silent too, plug it in again"
            return LinkError.of(expected, f"nothing within {self.timeout_s:g} s at {self.name}", next_step)
        if gone:
            return LinkError.of(expected, f"{self.name} is gone", "plug it in again and open it again")
        if error.errno == errno.EACCES:
            return LinkError.of(expected, _permission_help(self._device.idVendor, self._device.idProduct), "see above")
        if error.errno == errno.EBUSY:
            return LinkError.of(expected, f"{self.name} is in use", "end the other program that uses this board")
        return LinkError.of(expected, f"{error} at {self.name}", "close the board and open it again")


def _choose(
    backend: Any, vendor_id: int, product_id: int, product: str, serial: str | None
) -> tuple[Any, Any, UsbDevice]:
    """The one device that fits, its interface, and what it says of itself."""
    wanted = f"{vendor_id:04x}:{product_id:04x} with product string {product!r} and interface ff/43/52"
    fitting: list[tuple[Any, Any, UsbDevice]] = []
    rejected: list[str] = []
    closed: list[UsbDevice] = []
    for device in _find(backend, idVendor=vendor_id, idProduct=product_id):
        interface = _vendor_interface(device)
        found = _describe(device)
        if interface is None:
            rejected.append(f"{found.text} has no such interface")
        elif found.problem:
            closed.append(found)
        elif found.product != product and not found.product.startswith(f"{product} "):
            rejected.append(f"{found.text} is {found.product!r}")
        else:
            fitting.append((device, interface, found))
            continue
        usb.util.dispose_resources(device)
    others = [choice for choice in fitting if serial is not None and choice[2].serial != serial]
    chosen = [choice for choice in fitting if serial is None or choice[2].serial == serial]
    keep = chosen if len(chosen) == 1 else []
    for device, _, _ in fitting:
        if not any(device is kept for kept, _, _ in keep):
            usb.util.dispose_resources(device)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        serials = ", ".join(choice[2].serial or "(none)" for choice in chosen)
        raise DeviceNotFound.of(
            f"one USB device {wanted}",
            f"{len(chosen)} alike, with serials {serials}",
            "choose one with --serial SERIAL",
        )
    if others:
        serials = ", ".join(choice[2].serial or "(none)" for choice in others)
        raise DeviceNotFound.of(
            f"USB device {wanted} and serial {serial!r}",
            f"serials {serials}",
            "choose one of these with --serial SERIAL",
        )
    if closed:
        raise DeviceNotFound(f"expected USB device {wanted}; found {closed[0].text}, but {closed[0].problem}")
    raise DeviceNotFound.of(
        f"USB device {wanted}",
        "; ".join(rejected) if rejected else "none",
        "plug the board in, check the cable, and see `codecrig list`",
    )
