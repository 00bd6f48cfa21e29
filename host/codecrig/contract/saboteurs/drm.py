"""Content protection with one defect each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import break_streams
from codecrig.link import registers as regs
from codecrig.miniport.rights import ContentRights
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.portcls import NTSTATUS, IPort, IUnknown, NtStatusError
from codecrig.portcls.drm import DRMRIGHTS, IDrmAudioStream

_SEND = 1 << regs.SPDIF_GATES_ENABLE_LSB
_COPY_NEVER = 1 << regs.SPDIF_GATES_COPY_NEVER_LSB
_MUTE_LOOPBACK = 1 << regs.SPDIF_GATES_MUTE_LOOPBACK_LSB
_HEADER_OFF = 1 << regs.SPDIF_GATES_HEADER_OFF_LSB


def with_rights(objects: Objects, rights: type[ContentRights]) -> None:
    """The WaveRT miniport keeps its contents in an object of that class."""

    class Miniport(MiniportWaveRT):
        def take_port(self, port: IPort) -> None:
            super().take_port(port)
            assert self._rights is not None
            self._rights.__class__ = rights

    objects.miniports["wavert"] = Miniport


class _WithoutGates(ContentRights):
    """Leaves some gates as the user has them."""

    left: int

    def _apply(self, rights: DRMRIGHTS) -> None:
        super()._apply(rights)
        user = self._user if self._user is not None else self._board.read_register(regs.SPDIF_GATES)
        found = self._board.read_register(regs.SPDIF_GATES)
        self._board.write_register(regs.SPDIF_GATES, found & ~self.left | user & self.left)


@saboteur("DRM-QIF-01")
def streams_without_protection(objects: Objects) -> None:
    """WaveRT render streams do not answer for IDrmAudioStream."""

    def query_interface(good: Callable[..., Any], stream: Any, interface: type[IUnknown]) -> Any:
        if interface is IDrmAudioStream:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "no protected content")
        return good(interface)

    break_streams(objects, query_interface=query_interface)


@saboteur("DRM-SET-01")
def rights_wait_for_the_next_call(objects: Objects) -> None:
    """SetContentId enforces what the call before it asked for."""

    class Late(ContentRights):
        _waiting: DRMRIGHTS | None = None

        def _apply(self, rights: DRMRIGHTS) -> None:
            due, self._waiting = self._waiting or DRMRIGHTS(), rights
            super()._apply(due)

    with_rights(objects, Late)


@saboteur("DRM-SET-02")
def claims_what_it_cannot_enforce(objects: Objects) -> None:
    """The gates are not read back, so SetContentId succeeds though they took nothing."""

    class Trusting(ContentRights):
        def _apply(self, rights: DRMRIGHTS) -> None:
            try:
                super()._apply(rights)
            except NtStatusError as error:
                if error.status is not NTSTATUS.NOT_IMPLEMENTED:
                    raise

    with_rights(objects, Trusting)


@saboteur("DRM-SET-03")
def restores_the_new_content(objects: Objects) -> None:
    """As the WaveRT sample: the new content is stored before it is enforced, and stays stored after a failure."""

    class Hasty(ContentRights):
        def set(self, stream: int, content_id: int, rights: DRMRIGHTS, carrier: IUnknown) -> None:
            try:
                super().set(stream, content_id, rights, carrier)
            except NtStatusError:
                self._streams[stream] = (0, rights)
                raise

    with_rights(objects, Hasty)


@saboteur("DRM-SET-03")
def a_failure_leaves_the_recording_block(objects: Objects) -> None:
    """When the system refuses a content that was enforced already, the gates stay as it wanted them."""

    class Halfway(ContentRights):
        def set(self, stream: int, content_id: int, rights: DRMRIGHTS, carrier: IUnknown) -> None:
            try:
                super().set(stream, content_id, rights, carrier)
            except NtStatusError:
                with suppress(NtStatusError):
                    self._apply(rights)
                raise

    with_rights(objects, Halfway)


@saboteur("DRM-SET-04", "DRM-SET-06")
def spdif_stays_on(objects: Objects) -> None:
    """DigitalOutputDisable leaves S/PDIF as the user has it."""

    class Leaky(_WithoutGates):
        left = _SEND

    with_rights(objects, Leaky)


@saboteur("DRM-SET-04")
def headers_stay_on(objects: Objects) -> None:
    """DigitalOutputDisable leaves the copies on the headers on."""

    class Leaky(_WithoutGates):
        left = _HEADER_OFF

    with_rights(objects, Leaky)


@saboteur("DRM-SET-05", "DRM-SET-01")
def loopback_stays_open(objects: Objects) -> None:
    """CopyProtect marks S/PDIF and does not mute the loopback into captures."""

    class Leaky(_WithoutGates):
        left = _MUTE_LOOPBACK

    with_rights(objects, Leaky)


@saboteur("DRM-SET-06")
def copies_are_not_marked(objects: Objects) -> None:
    """CopyProtect leaves the copyright bit of S/PDIF as it was."""

    class Leaky(_WithoutGates):
        left = _COPY_NEVER

    with_rights(objects, Leaky)


@saboteur("DRM-SET-07")
def the_last_rights_win(objects: Objects) -> None:
    """With several streams, the rights that were set last apply."""

    class Last(ContentRights):
        def _replace(self, streams: dict[int, tuple[int, DRMRIGHTS]], carrier: IUnknown | None) -> None:
            newest = dict(list(streams.items())[-1:])
            super()._replace(newest, carrier)

        def set(self, stream: int, content_id: int, rights: DRMRIGHTS, carrier: IUnknown) -> None:
            self._streams.pop(stream, None)
            super().set(stream, content_id, rights, carrier)

    with_rights(objects, Last)


@saboteur("DRM-SET-07")
def outputs_stay_closed(objects: Objects) -> None:
    """A protected stream that ends leaves its gates closed."""

    class Sticky(ContentRights):
        def drop(self, stream: int) -> None:
            self._streams.pop(stream, None)

    with_rights(objects, Sticky)


@saboteur("DRM-SET-08")
def a_state_change_lifts_protection(objects: Objects) -> None:
    """STOP opens the gates of a stream that is still protected."""

    def set_state(good: Callable[..., Any], stream: Any, state: Any) -> Any:
        status = good(state)
        stream._board.write_register(regs.SPDIF_GATES, _SEND)
        return status

    break_streams(objects, set_state=set_state)


@saboteur("DRM-SET-09")
def protection_mutes_the_dac(objects: Objects) -> None:
    """DigitalOutputDisable mutes the converter as well."""

    class Mute(ContentRights):
        def _apply(self, rights: DRMRIGHTS) -> None:
            super()._apply(rights)
            control = self._board.read_register(regs.FPGA_CONVERTER_CONTROL)
            mute = rights.DigitalOutputDisable << regs.FPGA_CONVERTER_CONTROL_MUTE_LSB
            self._board.write_register(regs.FPGA_CONVERTER_CONTROL, control | mute)

    with_rights(objects, Mute)


@saboteur("DRM-MIX-01")
def destroys_the_old_mix_first(objects: Objects) -> None:
    """The old mixed content is destroyed before the new one is forwarded."""

    class Hasty(ContentRights):
        def _replace(self, streams: dict[int, tuple[int, DRMRIGHTS]], carrier: IUnknown | None) -> None:
            if self._drm is not None and self._mixed_id:
                self._drm.destroy_content(self._mixed_id)
                self._mixed_id = 0
            super()._replace(streams, carrier)

    with_rights(objects, Hasty)


@saboteur("DRM-MIX-01")
def leaks_a_mix_that_failed(objects: Objects) -> None:
    """A mixed content that could not be applied is not destroyed."""

    class Leaky(ContentRights):
        def _replace(self, streams: dict[int, tuple[int, DRMRIGHTS]], carrier: IUnknown | None) -> None:
            drm = self._drm

            class Keeps:
                def __getattr__(self, name: str) -> Any:
                    return getattr(drm, name)

                def destroy_content(self, content_id: int) -> Any:
                    if failed:
                        return NTSTATUS.SUCCESS
                    return drm.destroy_content(content_id) if drm else None

            failed = False
            good = self._apply

            def apply(rights: DRMRIGHTS) -> None:
                nonlocal failed
                try:
                    good(rights)
                except NtStatusError:
                    failed = True
                    raise

            self._apply = apply  # type: ignore[method-assign]
            self._drm = Keeps()  # type: ignore[assignment]
            try:
                super()._replace(streams, carrier)
            finally:
                self._drm = drm
                del self._apply

    with_rights(objects, Leaky)
