"""Content protection of a codecrig board: the rights of all streams that share the converter, and the gates they close.

The strictest rights of all streams are in force. They close gates in the FPGA: S/PDIF off or marked, digital loopback
and header copies off. What the user had set comes back when protection ends. The analog output is never touched.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from codecrig.board import Board, BoardError
from codecrig.link import LinkError
from codecrig.link import registers as regs
from codecrig.portcls import NTSTATUS, IUnknown, NtStatusError
from codecrig.portcls.drm import DEFAULT_CONTENT_ID, DRMRIGHTS, IDrmAudioStream, IDrmPort2

_SEND = 1 << regs.SPDIF_GATES_ENABLE_LSB
_COPY_NEVER = 1 << regs.SPDIF_GATES_COPY_NEVER_LSB
_MUTE_LOOPBACK = 1 << regs.SPDIF_GATES_MUTE_LOOPBACK_LSB
_HEADER_OFF = 1 << regs.SPDIF_GATES_HEADER_OFF_LSB
_ALL = _SEND | _COPY_NEVER | _MUTE_LOOPBACK | _HEADER_OFF

METHODS = 4
"""Length of IDrmAudioStream's method table."""


def gates(user: int, rights: DRMRIGHTS) -> int:
    """SPDIF.GATES under `rights`, where the user would have `user`."""
    if rights.DigitalOutputDisable:
        user = user & ~_SEND | _HEADER_OFF
    if rights.CopyProtect:
        user |= _COPY_NEVER | _MUTE_LOOPBACK
    return user


class ContentRights:
    """The contents that one miniport's streams carry."""

    def __init__(self, board: Board, drm: IDrmPort2 | None) -> None:
        """`drm` is the port's interface, with a reference that this object owns; None if the port has none."""
        self._board = board
        self._drm = drm
        self._streams: dict[int, tuple[int, DRMRIGHTS]] = {}
        self._mixed_id = DEFAULT_CONTENT_ID
        self._rights = DRMRIGHTS()
        self._user: int | None = None
        """What the user has set, while protection is in force."""

    def close(self) -> None:
        """Drop the reference on the port."""
        if self._drm is not None:
            self._drm.release()
            self._drm = None

    def set_user_gates(self, send: bool) -> None:
        """The user's switch for S/PDIF: takes effect now, or when protection ends."""
        if self._user is None:
            found = self._board.read_register(regs.SPDIF_GATES) & _ALL
            self._board.write_register(regs.SPDIF_GATES, found & ~_SEND | send * _SEND)
        else:
            self._user = self._user & ~_SEND | send * _SEND
            self._apply(self._rights)

    def set(self, stream: int, content_id: int, rights: DRMRIGHTS, carrier: IUnknown) -> None:
        """The stream carries a content from now on. Enforced before this returns; on failure nothing has changed.

        Raises NOT_IMPLEMENTED if the board cannot enforce the rights, IO_DEVICE_ERROR if it does not answer.
        """
        self._replace({**self._streams, stream: (content_id, rights)}, carrier)

    def drop(self, stream: int) -> None:
        """The stream is gone. A board that does not answer any more changes nothing about that."""
        if stream in self._streams:
            with suppress(NtStatusError):
                self._replace({number: each for number, each in self._streams.items() if number != stream}, None)

    def _replace(self, streams: dict[int, tuple[int, DRMRIGHTS]], carrier: IUnknown | None) -> None:
        """Put other contents in force: the new mix is made and applied, then the old one destroyed."""
        ids = [content_id for content_id, _ in streams.values()]
        mixed_id, rights = DEFAULT_CONTENT_ID, _strictest([each for _, each in streams.values()])
        if self._drm is not None and any(ids):
            mixed_id = self._drm.create_content_mixed(ids)
        try:
            if self._drm is not None and mixed_id != DEFAULT_CONTENT_ID:
                rights = _strictest([rights, self._drm.get_content_rights(mixed_id)])
            self._apply(rights)
            if self._drm is not None and carrier is not None and mixed_id != DEFAULT_CONTENT_ID:
                self._drm.forward_content_to_interface(mixed_id, carrier, METHODS)
        except BaseException:
            try:
                self._apply(self._rights)
            finally:
                if self._drm is not None and mixed_id != DEFAULT_CONTENT_ID:
                    self._drm.destroy_content(mixed_id)
            raise
        old_id, self._mixed_id = self._mixed_id, mixed_id
        self._streams, self._rights = streams, rights
        if rights == DRMRIGHTS():
            self._user = None
        if self._drm is not None and old_id != DEFAULT_CONTENT_ID:
            self._drm.destroy_content(old_id)

    def _apply(self, rights: DRMRIGHTS) -> None:
        """Close or open the gates, and read them back."""
        if rights == DRMRIGHTS() and self._user is None:
            return
        if not self._board.identity().peripherals:
            raise NtStatusError(NTSTATUS.NOT_IMPLEMENTED, "the board has no gates for its digital paths")
        try:
            if self._user is None:
                self._user = self._board.read_register(regs.SPDIF_GATES) & _ALL
            wanted = gates(self._user, rights)
            self._board.write_register(regs.SPDIF_GATES, wanted)
            found = self._board.read_register(regs.SPDIF_GATES) & _ALL
        except (BoardError, LinkError) as error:
            raise NtStatusError(NTSTATUS.IO_DEVICE_ERROR, f"the gates cannot be set: {error}") from error
        if found != wanted:
            raise NtStatusError(
                NTSTATUS.NOT_IMPLEMENTED, f"expected SPDIF.GATES to take {wanted:#x}; it reads {found:#x}"
            )


def _strictest(rights: list[DRMRIGHTS]) -> DRMRIGHTS:
    return DRMRIGHTS(
        CopyProtect=any(each.CopyProtect for each in rights),
        DigitalOutputDisable=any(each.DigitalOutputDisable for each in rights),
    )


class ProtectedStream(IDrmAudioStream):
    """The part of a wave stream that carries protected content, for streams with an EngineMiniport and an EngineStream
    as `_miniport` and `_engine`.
    """

    def set_content_id(self, content_id: int, drm_rights: DRMRIGHTS) -> NTSTATUS:
        stream: Any = self
        stream._miniport.rights.set(stream._engine.number, content_id, drm_rights, self)
        return NTSTATUS.SUCCESS
