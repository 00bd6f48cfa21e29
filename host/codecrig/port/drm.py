"""DrmPort: the content ids of a wave port, and protected content for its pins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from codecrig.portcls import NTSTATUS, IUnknown, NtStatusError
from codecrig.portcls.drm import DEFAULT_CONTENT_ID, DRMRIGHTS, IDrmAudioStream, IDrmPort2


class DrmPort(IDrmPort2):
    """The part of a wave port that knows contents; ports inherit it."""

    @cached_property
    def _contents(self) -> dict[int, DRMRIGHTS]:
        return {DEFAULT_CONTENT_ID: DRMRIGHTS()}

    def _new_content(self, rights: DRMRIGHTS) -> int:
        content_id = max(self._contents) + 1
        self._contents[content_id] = rights
        return content_id

    @property
    def contents(self) -> dict[int, DRMRIGHTS]:
        """All ids that exist, with their rights."""
        return dict(self._contents)

    def create_content_mixed(self, content_ids: Sequence[int]) -> int:
        rights = [self.get_content_rights(content_id) for content_id in content_ids]
        return self._new_content(
            DRMRIGHTS(
                CopyProtect=any(each.CopyProtect for each in rights),
                DigitalOutputDisable=any(each.DigitalOutputDisable for each in rights),
            )
        )

    def destroy_content(self, content_id: int) -> NTSTATUS:
        if content_id == DEFAULT_CONTENT_ID or content_id not in self._contents:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"content {content_id} cannot be destroyed")
        del self._contents[content_id]
        return NTSTATUS.SUCCESS

    def get_content_rights(self, content_id: int) -> DRMRIGHTS:
        if content_id not in self._contents:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, f"content {content_id} does not exist")
        return self._contents[content_id]

    def forward_content_to_interface(self, content_id: int, unknown: IUnknown, methods: int) -> NTSTATUS:
        self.get_content_rights(content_id)
        return NTSTATUS.SUCCESS

    def forward_content_to_device_object(self, content_id: int, device: object, forward: object) -> NTSTATUS:
        self.get_content_rights(content_id)
        return NTSTATUS.SUCCESS

    def add_content_handlers(self, content_id: int, handlers: Sequence[object]) -> NTSTATUS:
        self.get_content_rights(content_id)
        return NTSTATUS.SUCCESS

    # ------------------------------------------------------------------ for the client

    def set_content(self, pin: Any, rights: DRMRIGHTS | None) -> int:
        """Give an open pin a new content with `rights` (None: default rights); returns its id.

        Raises NOT_SUPPORTED if the pin's stream cannot carry protected content, and what SetContentId raises; the
        pin then keeps the content it had.
        """
        try:
            stream = pin._stream.query_interface(IDrmAudioStream)
        except NtStatusError as error:
            raise NtStatusError(NTSTATUS.NOT_SUPPORTED, "the stream cannot carry protected content") from error
        content_id = DEFAULT_CONTENT_ID if rights is None else self._new_content(rights)
        try:
            stream.set_content_id(content_id, self.get_content_rights(content_id))
        except BaseException:
            if content_id != DEFAULT_CONTENT_ID:
                self.destroy_content(content_id)
            raise
        finally:
            stream.release()
        return content_id
