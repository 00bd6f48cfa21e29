"""The MIDI interfaces, as abstract classes: raw bytes between port and device; the port does all timing.

Conventions as in `wavert.py`. Outer unknowns and pool types mean nothing here and are left out.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from uuid import UUID

from .irql import IRQL, context
from .ks import KSSTATE
from .service import IPort, IServiceGroup
from .status import NTSTATUS
from .unknown import IUnknown

KSDATAFORMAT_TYPE_MUSIC = UUID("e725d360-62cc-11cf-a5d6-28db04c10000")
KSDATAFORMAT_SUBTYPE_MIDI = UUID("1d262760-e957-11cf-a5d6-28db04c10000")
KSDATAFORMAT_SPECIFIER_NONE = UUID("0f6417d6-c318-11d0-a43f-00a0c9223196")


@dataclass(frozen=True, slots=True)
class KSDATAFORMAT:
    """What kind of data a stream carries, where that takes no numbers. Source: KSDATAFORMAT (ks.h)."""

    MajorFormat: UUID
    SubFormat: UUID
    Specifier: UUID


MIDI_FORMAT = KSDATAFORMAT(KSDATAFORMAT_TYPE_MUSIC, KSDATAFORMAT_SUBTYPE_MIDI, KSDATAFORMAT_SPECIFIER_NONE)
"""Raw MIDI bytes: the one format of these streams."""


class IPortMidi(IPort):
    """The MIDI port as a miniport sees it. Source: IPortMidi."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def notify(self, service_group: IServiceGroup | None) -> None:
        """Something happened that belongs to the group (None: the registered one). Any context.

        Source: IPortMidi::Notify.
        """

    @abstractmethod
    def register_service_group(self, service_group: IServiceGroup) -> None:
        """The group of Init, told before interrupts can come. Passive. Source: IPortMidi::RegisterServiceGroup."""


class IMiniportMidiStream(IUnknown, ABC):
    """One stream of a MIDI miniport. Source: IMiniportMidiStream."""

    @abstractmethod
    def set_format(self, data_format: KSDATAFORMAT) -> NTSTATUS:
        """Changes nothing: MIDI stays MIDI. Passive. Raises INVALID_PARAMETER for another format.

        Source: IMiniportMidiStream::SetFormat.
        """

    @abstractmethod
    def set_state(self, state: KSSTATE) -> NTSTATUS:
        """Input is kept in RUN only, and cleared at STOP; leaving RUN silences notes. Passive.

        Raises INVALID_DEVICE_STATE if the unit is dead. Source: IMiniportMidiStream::SetState.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def read(self, buffer: bytearray | memoryview, length: int) -> int:
        """Put at most `length` received bytes at the start of `buffer`; returns how many, 0 for none now. Deferred.

        Raises INVALID_DEVICE_REQUEST on a render stream. Source: IMiniportMidiStream::Read.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def write(self, buffer: bytes | bytearray | memoryview, length: int) -> int:
        """Send the first `length` bytes; returns how many were taken: all, or a smaller multiple of 4. Deferred.

        Raises INVALID_DEVICE_REQUEST on a capture stream, IO_DEVICE_ERROR if the device stays busy.
        Source: IMiniportMidiStream::Write.
        """


@dataclass(frozen=True, slots=True)
class NewMidiStream:
    """The output parameters of NewStream; each carries a reference for the caller."""

    Stream: IMiniportMidiStream
    ServiceGroup: IServiceGroup | None


class IMiniportMidi(IUnknown, ABC):
    """A MIDI miniport: the driver of one adapter's MIDI pins. Source: IMiniportMidi."""

    @abstractmethod
    def init(
        self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortMidi
    ) -> IServiceGroup | None:
        """Take the adapter into use; register the group with the port before interrupts can come. Passive.

        Returns the group, with a reference for the caller, or None. Source: IMiniportMidi::Init.
        """

    @abstractmethod
    def new_stream(self, pin: int, capture: bool, data_format: KSDATAFORMAT) -> NewMidiStream:
        """A stream in STOP, of one direction. Passive.

        Raises INVALID_PARAMETER (pin, direction, format), INVALID_DEVICE_REQUEST (the pin's stream is taken).
        Source: IMiniportMidi::NewStream.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def service(self) -> None:
        """The port has served the group of Init. Deferred; may do nothing. Source: IMiniportMidi::Service."""
