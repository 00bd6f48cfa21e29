"""Content protection: DRMRIGHTS, IDrmAudioStream and IDrmPort2.

Conventions as in `wavert.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from .status import NTSTATUS
from .unknown import IUnknown


@dataclass(frozen=True, slots=True)
class DRMRIGHTS:
    """What may be done with a content. Source: DRMRIGHTS (drmk.h).

    CopyProtect: no recording, no unmarked digital copy. Reserved: 0. DigitalOutputDisable: no digital output at all.
    """

    CopyProtect: bool = False
    Reserved: int = 0
    DigitalOutputDisable: bool = False


DEFAULT_CONTENT_ID = 0
"""Stands for default rights: everything is allowed. Never destroyed."""


class IDrmAudioStream(IUnknown, ABC):
    """A stream that can carry protected content; found by QueryInterface. Source: IDrmAudioStream."""

    @abstractmethod
    def set_content_id(self, content_id: int, drm_rights: DRMRIGHTS) -> NTSTATUS:
        """Enforce the rights at once, here and downstream, in any state. Passive.

        Raises NOT_IMPLEMENTED if they cannot be enforced; on any failure what was in force stays in force.
        Source: IDrmAudioStream::SetContentId.
        """


class IDrmPort2(IUnknown, ABC):
    """What the port knows of contents; found by QueryInterface on the port. All methods: passive.

    Source: IDrmPort, IDrmPort2.
    """

    @abstractmethod
    def create_content_mixed(self, content_ids: Sequence[int]) -> int:
        """A new id with the strictest rights of `content_ids`, of which there may be none.

        Raises INVALID_PARAMETER for an id that does not exist. Source: IDrmPort::CreateContentMixed.
        """

    @abstractmethod
    def destroy_content(self, content_id: int) -> NTSTATUS:
        """Forget an id that was created here; not 0. Raises INVALID_PARAMETER. Source: IDrmPort::DestroyContent."""

    @abstractmethod
    def get_content_rights(self, content_id: int) -> DRMRIGHTS:
        """The rights of an id. Raises INVALID_PARAMETER. Source: IDrmPort::GetContentRights."""

    @abstractmethod
    def forward_content_to_interface(self, content_id: int, unknown: IUnknown, methods: int) -> NTSTATUS:
        """Tell the system that `unknown` gets the content next; `methods` is the length of its method table.

        Source: IDrmPort::ForwardContentToInterface.
        """

    @abstractmethod
    def forward_content_to_device_object(self, content_id: int, device: object, forward: object) -> NTSTATUS:
        """Tell the system that a device gets the content next. Source: IDrmPort::ForwardContentToDeviceObject."""

    @abstractmethod
    def add_content_handlers(self, content_id: int, handlers: Sequence[object]) -> NTSTATUS:
        """Tell the system which functions will handle the content. Source: IDrmPort2::AddContentHandlers."""
