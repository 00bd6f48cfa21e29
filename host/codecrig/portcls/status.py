"""NTSTATUS values used by the audio stream objects, and the exception that carries a failure.

A failure is raised as `NtStatusError`; a success other than SUCCESS (for example PENDING) is returned.
"""

from enum import IntEnum


class NTSTATUS(IntEnum):
    """Status values with Microsoft's numbers (ntstatus.h), without the `STATUS_` prefix."""

    SUCCESS = 0x00000000
    PENDING = 0x00000103
    UNSUCCESSFUL = 0xC0000001
    NOT_IMPLEMENTED = 0xC0000002
    INVALID_PARAMETER = 0xC000000D
    INVALID_DEVICE_REQUEST = 0xC0000010
    BUFFER_TOO_SMALL = 0xC0000023
    DATA_OVERRUN = 0xC000003C
    DATA_LATE_ERROR = 0xC000003D
    INSUFFICIENT_RESOURCES = 0xC000009A
    DEVICE_NOT_READY = 0xC00000A3
    NOT_SUPPORTED = 0xC00000BB
    CANCELLED = 0xC0000120
    INVALID_DEVICE_STATE = 0xC0000184
    IO_DEVICE_ERROR = 0xC0000185
    NOT_FOUND = 0xC0000225

    @property
    def is_success(self) -> bool:
        """True if the top bit is clear, Microsoft's NT_SUCCESS for the values used here."""
        return self < 0x80000000


class NtStatusError(Exception):
    """A method failed with a failure status.

    `status` is the NTSTATUS; the text says which rule was broken and with which values.
    """

    def __init__(self, status: NTSTATUS, text: str = "") -> None:
        if status.is_success:
            raise ValueError(f"{status.name} is a success and must be returned, not raised")
        self.status = status
        self.text = text
        super().__init__(f"STATUS_{status.name}: {text}" if text else f"STATUS_{status.name}")
