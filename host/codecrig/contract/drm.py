"""Checks of the rules DRM: rights on wave streams, judged at registers, at the pins and in what is captured.

Only synthetic content is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from codecrig.board import BoardError
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.streams import MODELS
from codecrig.contract.watch import unwrap
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.portcls import KSSTATE, NTSTATUS, Format, NtStatusError
from codecrig.portcls.drm import DEFAULT_CONTENT_ID, DRMRIGHTS, IDrmAudioStream
from codecrig.wave import pack_samples, unpack_samples

COPY = DRMRIGHTS(CopyProtect=True)
DISABLE = DRMRIGHTS(DigitalOutputDisable=True)
BOTH = DRMRIGHTS(CopyProtect=True, DigitalOutputDisable=True)
FREE = DRMRIGHTS()
SEND = 1 << regs.SPDIF_GATES_ENABLE_LSB
MUTE_LOOPBACK = 1 << regs.SPDIF_GATES_MUTE_LOOPBACK_LSB
HEADER_OFF = 1 << regs.SPDIF_GATES_HEADER_OFF_LSB
COPYRIGHT_BIT = 2
"""Of the channel status, consumer form (IEC 60958-3): 0 = copyright asserted."""
BUFFER_FRAMES = 960
BLOCKS_S = 0.009
"""More than two blocks of channel status, 192 frames each."""
GATES = "SPDIF.GATES"


class Playing:
    """Render streams that play a steady pattern, a capture stream on the digital loopback; the user wants S/PDIF."""

    def __init__(self, rig: Rig, pins: Sequence[int] = (0,), *, send: bool = True) -> None:
        rig.skip_unless(rig.board.identity().peripherals, "the board has no S/PDIF gates")
        self.rig = rig
        rig.board.write_register(regs.SPDIF_GATES, SEND * send)
        self.form: Format = rig.format_of(24)
        self.port: Any = rig.wavert()
        self.pins = {pin: self._render(pin) for pin in pins}
        self.capture = self._capture()

    def _render(self, pin: int) -> Any:
        opened = self.port.open_pin(pin, False, self.form, buffer_bytes=BUFFER_FRAMES * self.form.block_bytes)
        frames = 1000 + 100 * pin + np.arange(BUFFER_FRAMES)
        samples = np.stack([frames, -frames], axis=1).astype(np.int32) * 256
        opened.buffer.write(0, pack_samples(samples, 24, 24))
        return opened

    def _capture(self) -> Any:
        return self.port.open_pin(1, True, self.form, buffer_bytes=4 * BUFFER_FRAMES * self.form.block_bytes)

    @property
    def port_object(self) -> Any:
        """The port itself."""
        return unwrap(self.port)

    def protect(self, pin: int, rights: DRMRIGHTS | None) -> int:
        """SetContentId on the stream of a pin; returns the content id."""
        return int(self.port_object.set_content(self.pins[pin], rights))

    def run(self) -> None:
        for pin in (*self.pins.values(), self.capture):
            pin.set_state(KSSTATE.RUN)

    def stop(self) -> None:
        for pin in (self.capture, *self.pins.values()):
            pin.set_state(KSSTATE.STOP)

    def captured(self, first: int) -> Any:
        """Frames captured from `first` on, as far as the buffer still holds them."""
        moved = self.rig.board.snapshot(1).bytes // self.form.block_bytes
        data = self.capture.buffer.read(0, 4 * BUFFER_FRAMES * self.form.block_bytes)
        oldest = max(first, moved - 4 * BUFFER_FRAMES)
        return unpack_samples(data, 2, 24, 24)[np.arange(oldest, moved) % (4 * BUFFER_FRAMES)]

    def gates(self) -> int:
        """SPDIF.GATES as it reads."""
        return self.rig.board.read_register(regs.SPDIF_GATES)

    def spdif(self) -> tuple[bool, int | None]:
        """At the S/PDIF pin: is there a carrier, and bit Cp of its channel status."""
        bench = self.rig.board.bench
        bench.spdif_start()
        self.rig.system.sleep(BLOCKS_S)
        tap = bench.spdif_read()
        bench.spdif_stop()
        status = tap.channel_status(0)
        return tap.half_cell_ticks > 0 and len(tap.samples) > 0, None if status is None else status >> COPYRIGHT_BIT & 1


def _say(rights: DRMRIGHTS) -> str:
    names = [name for name in ("CopyProtect", "DigitalOutputDisable") if getattr(rights, name)]
    return " and ".join(names) or "no rights"


@contextmanager
def gates_fail(rig: Rig, error: bool) -> Iterator[None]:
    """Writes to SPDIF.GATES inside the block are refused with an error, or have no effect."""
    good = rig.board.transact

    def transact(requests: Sequence[Request]) -> list[bytes]:
        passed = []
        for request in requests:
            if request.address == regs.SPDIF_GATES and request.data:
                if error:
                    raise BoardError("expected the write of SPDIF.GATES to succeed; found an error made on purpose")
                request = Request.read(regs.FPGA_ID, 4)
            passed.append(request)
        return good(passed)

    rig.board.transact = transact  # type: ignore[method-assign]
    try:
        yield
    finally:
        rig.board.transact = good  # type: ignore[method-assign]


@contextmanager
def forwarding_fails(port: Any) -> Iterator[None]:
    """The system refuses every content that is forwarded inside the block."""

    def refuse(*_: Any) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "forwarding refused on purpose")

    port.forward_content_to_interface = port.forward_content_to_device_object = port.add_content_handlers = refuse
    try:
        yield
    finally:
        del port.forward_content_to_interface, port.forward_content_to_device_object, port.add_content_handlers


@check("DRM-QIF-01")
def render_streams_carry_protected_content(rig: Rig) -> None:
    """Asks a render stream of each wave model for IDrmAudioStream, and gives it a content."""
    for model in MODELS:
        stream = model(rig, capture=False)
        try:
            found = stream.stream.query_interface(IDrmAudioStream)
        except NtStatusError as error:
            rig.expect(False, f"{model.model}: IDrmAudioStream", "an interface", error)
        status = found.set_content_id(DEFAULT_CONTENT_ID, FREE)
        rig.expect_equal(f"{model.model}: SetContentId(0, no rights)", status, NTSTATUS.SUCCESS)
        found.release()
        rig.note(f"{model.model}: IDrmAudioStream", "answered", "QueryInterface")
        unwrap(stream.port).close()


@check("DRM-SET-01")
def rights_hold_when_the_call_returns(rig: Rig) -> None:
    """Protects a stream in each state, last in RUN: what is captured behind the return of the call is silence."""
    for state in (KSSTATE.STOP, KSSTATE.PAUSE, KSSTATE.RUN):
        with rig.converter(InputSelect.LOOPBACK):
            playing = Playing(rig)
            playing.capture.set_state(KSSTATE.RUN)
            playing.pins[0].set_state(state)
            rig.system.sleep(0.004)
            playing.protect(0, COPY)
            first = rig.board.snapshot(1).frames
            before = playing.captured(0)[:first]
            playing.pins[0].set_state(KSSTATE.RUN)
            rig.system.sleep(0.006)
            after = playing.captured(first)
            rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
            if state is KSSTATE.RUN:
                rig.expect(bool(before.any()), "frames captured before the call", "the played pattern", "silence")
            rig.expect(len(after) > 100, "frames captured behind the call", "more than 100", len(after))
            leaked = np.flatnonzero(after.any(axis=1))
            rig.expect(
                len(leaked) == 0, f"frames captured behind SetContentId in {state.name}", f"{len(after)} of silence",
                f"sound in {len(leaked)}, the first {leaked[0] if len(leaked) else 0} behind the call",
            )  # fmt: skip
            rig.note(f"frames of silence behind SetContentId in {state.name}", len(after), "captured samples")
            playing.port_object.close()


@check("DRM-SET-02")
def what_cannot_be_enforced_is_refused(rig: Rig) -> None:
    """Makes the gates deaf, so that rights cannot be enforced: NOT_IMPLEMENTED, and the content before stays."""
    playing = Playing(rig)
    old = playing.protect(0, DISABLE)
    gates = playing.gates()
    with gates_fail(rig, error=False):
        rig.expect_status("SetContentId that the board cannot enforce", NTSTATUS.NOT_IMPLEMENTED, playing.protect, 0,
                          BOTH)  # fmt: skip
    rig.expect_equal("gates behind the refusal", playing.gates(), gates)
    rig.expect(old in playing.port_object.contents, "the content before", "still there", "destroyed")
    # What is in force shows when something else changes: the strictest rights of all streams are worked out anew.
    other = playing.port_object.open_pin(2, False, playing.form)
    playing.port_object.set_content(other, DRMRIGHTS())
    rig.expect_equal("gates behind another stream's content", playing.gates(), gates)
    rig.note("gates before and behind the refusal", f"{gates:#x}", GATES)


@check("DRM-SET-03")
def a_failure_leaves_everything(rig: Rig) -> None:
    """Lets the gates fail, then the forwarding, while another content is set: gates and contents stay as they were."""
    for (first, second), where in itertools.product(
        ((DISABLE, COPY), (COPY, BOTH), (FREE, COPY)), ("gates", "forwarding")
    ):
        playing = Playing(rig)
        playing.protect(0, first)
        gates, contents = playing.gates(), playing.port_object.contents
        with gates_fail(rig, error=True) if where == "gates" else forwarding_fails(playing.port_object):
            try:
                playing.protect(0, second)
            except NtStatusError as error:
                rig.note(f"SetContentId, {_say(second)}, with failing {where}", error.status, "SetContentId")
            else:
                rig.expect(where != "gates", f"SetContentId with failing {where}", "a failure", "success")
                playing.port_object.close()
                continue
        rig.expect_equal(f"gates behind the failure, {_say(first)} before", playing.gates(), gates)
        rig.expect_equal("contents of the port", playing.port_object.contents, contents)
        other = playing.port_object.open_pin(2, False, playing.form)
        playing.port_object.set_content(other, DRMRIGHTS())
        rig.expect_equal("gates behind another stream's content", playing.gates(), gates)
        other.close()
        playing.protect(0, None)
        rig.expect_equal("gates once the stream has default rights", playing.gates(), SEND)
        playing.port_object.close()


@check("DRM-SET-04")
def digital_outputs_go_off(rig: Rig) -> None:
    """Disables digital outputs in RUN and looks at the S/PDIF pin and at the gate of the headers."""
    rig.need_bench("spdif")
    with rig.converter(InputSelect.LOOPBACK):
        playing = Playing(rig)
        playing.run()
        rig.system.sleep(0.002)
        carrier, _ = playing.spdif()
        rig.expect(carrier, "S/PDIF before", "a carrier", "none")
        playing.protect(0, DISABLE)
        carrier, _ = playing.spdif()
        rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
        rig.note("S/PDIF behind the call", "carrier" if carrier else "no carrier", "S/PDIF pin")
        rig.expect(not carrier, "S/PDIF under DigitalOutputDisable", "no carrier", "a carrier")
        rig.expect(bool(playing.gates() & HEADER_OFF), "gate of the headers", "off", f"{playing.gates():#x}")


@check("DRM-SET-05")
def copies_into_captures_are_muted(rig: Rig) -> None:
    """Protects a stream against copying: a capture that runs and one opened later hear silence."""
    with rig.converter(InputSelect.LOOPBACK):
        playing = Playing(rig)
        playing.run()
        rig.system.sleep(0.004)
        rig.expect(bool(playing.captured(0).any()), "frames captured before", "the played pattern", "silence")
        playing.protect(0, COPY)
        first = rig.board.snapshot(1).frames
        rig.system.sleep(0.004)
        rig.expect(not playing.captured(first).any(), "frames captured behind the call", "silence", "sound")
        playing.capture.close()
        playing.capture = playing._capture()
        playing.capture.set_state(KSSTATE.RUN)
        rig.system.sleep(0.004)
        later = playing.captured(0)
        rig.moved(rig.board.snapshot(1).bytes, "STREAM[1].SNAP_BYTES")
        rig.expect(len(later) > 50 and not later.any(), "frames of a capture opened later", "silence", "sound or none")
        rig.note("frames of silence in a capture opened later", len(later), "captured samples")


@check("DRM-SET-06")
def spdif_follows_the_table(rig: Rig) -> None:
    """Sets all four combinations of rights and looks at the S/PDIF pin: carrier and copyright bit."""
    rig.need_bench("spdif")
    outcomes = {FREE: (True, 1), COPY: (True, 0), DISABLE: (False, None), BOTH: (False, None)}
    with rig.converter(InputSelect.LOOPBACK):
        playing = Playing(rig)
        playing.run()
        for rights, (carrier, mark) in outcomes.items():
            playing.protect(0, rights)
            rig.system.sleep(0.0045)  # the marks change with the next block
            found = playing.spdif()
            rig.note(f"S/PDIF with {_say(rights)}", f"carrier {found[0]}, bit Cp {found[1]}", "S/PDIF pin")
            rig.expect_equal(f"S/PDIF with {_say(rights)}: carrier", found[0], carrier)
            if carrier:
                rig.expect_equal(f"S/PDIF with {_say(rights)}: bit Cp (0: copy never)", found[1], mark)
        rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")


@check("DRM-SET-07")
def the_strictest_rights_apply(rig: Rig) -> None:
    """Mixes two streams with all pairs of rights: the gates follow the strictest, and open again at the end."""
    with rig.converter(InputSelect.LOOPBACK):
        playing = Playing(rig, pins=(0, 2))
        playing.run()
        rig.system.sleep(0.001)
        combinations = (FREE, COPY, DISABLE, BOTH)
        for one in combinations:
            for two in combinations:
                playing.protect(0, one)
                playing.protect(2, two)
                copy = one.CopyProtect or two.CopyProtect
                disable = one.DigitalOutputDisable or two.DigitalOutputDisable
                found = playing.gates()
                names = f"{_say(one)} with {_say(two)}"
                rig.expect_equal(f"loopback muted, {names}", bool(found & MUTE_LOOPBACK), copy)
                rig.expect_equal(f"S/PDIF off, {names}", not found & SEND, disable)
                rig.expect_equal(f"headers off, {names}", bool(found & HEADER_OFF), disable)
        rig.note("pairs of rights", 16, GATES)
        rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
        playing.protect(0, COPY)
        playing.protect(2, DISABLE)
        playing.pins.pop(2).close()
        found = playing.gates()
        rig.expect_equal("gates behind the end of the stricter stream", found & (SEND | MUTE_LOOPBACK | HEADER_OFF),
                         SEND | MUTE_LOOPBACK)  # fmt: skip
        playing.protect(0, None)
        rig.expect_equal("gates once nothing is protected", playing.gates(), SEND)
        playing.protect(0, BOTH)
        playing.port_object.close()
    rig.expect_equal("gates once the last protected stream has ended", playing.gates(), SEND)
    contents = playing.port_object.contents
    rig.expect(all(content < 100 for content in contents), "contents", "ids", contents)


@check("DRM-SET-08")
def rights_survive_changes(rig: Rig) -> None:
    """Changes state and format of a protected stream and the user's S/PDIF switch: the gates stay closed."""
    playing = Playing(rig, send=False)
    playing.protect(0, BOTH)
    gates = playing.gates()
    stream = rig.trace.wrap(rig.trace.of("new_stream", caller="port")[0].result, "port")
    with rig.converter(InputSelect.LOOPBACK):
        for state in (KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.STOP, KSSTATE.RUN, KSSTATE.STOP):
            playing.pins[0].set_state(state)
            rig.expect_equal(f"gates behind SetState({state.name})", playing.gates(), gates)
        stream.set_format(playing.form)
        rig.expect_equal("gates behind SetFormat", playing.gates(), gates)
    miniport = unwrap(rig.trace.of("new_stream", caller="port")[0].target)
    rights = getattr(miniport, "rights", None)
    if rights is not None:
        rights.set_user_gates(True)
        rig.expect_equal("gates behind the user's switch", playing.gates(), gates)
    playing.protect(0, None)
    wanted = SEND if rights is not None else 0
    rig.note("gates under protection and behind it", f"{gates:#x}, {playing.gates():#x}", GATES)
    rig.expect_equal("gates once protection has ended", playing.gates(), wanted)


@check("DRM-SET-09")
def the_analog_output_stays(rig: Rig) -> None:
    """Taps the DAC with and without both rights: the same samples, beginning with the same RUN."""
    rig.need_bench("tap")
    heard = []
    for rights in (None, BOTH):
        with rig.converter(InputSelect.LOOPBACK):
            playing = Playing(rig)
            if rights is not None:
                playing.protect(0, rights)
            rig.board.bench.tap_start()
            playing.pins[0].set_state(KSSTATE.RUN)
            rig.system.sleep(0.008)
            samples = rig.board.bench.tap_read().samples
            rig.board.bench.tap_stop()
            rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
            playing.port_object.close()
        sound = np.flatnonzero(samples.any(axis=1))
        rig.expect(len(sound) > 200, f"frames heard, {_say(rights or FREE)}", "more than 200", len(sound))
        heard.append(samples[sound[0] : sound[0] + 200])
    rig.expect(bool((heard[0] == heard[1]).all()), "samples at the DAC with both rights", "as without", "others")
    rig.note("samples at the DAC compared", heard[0].size, "DAC tap")


@check("DRM-MIX-01")
def a_new_mix_is_forwarded_before_the_old_one_ends(rig: Rig) -> None:
    """Replaces mixed contents, once in vain, and looks at the order of the miniport's calls on IDrmPort."""
    playing = Playing(rig, pins=(0, 2))
    playing.protect(0, COPY)
    playing.protect(2, DISABLE)
    with gates_fail(rig, error=True):
        try:
            playing.protect(0, BOTH)
        except NtStatusError:
            pass
        else:
            rig.expect(False, "SetContentId with failing gates", "a failure", "success")
    playing.protect(0, None)
    playing.protect(2, None)
    calls = [
        call
        for call in rig.trace.calls
        if call.caller == "miniport"
        and call.method in ("create_content_mixed", "forward_content_to_interface", "destroy_content",
                            "forward_content_to_device_object", "add_content_handlers")
    ]  # fmt: skip
    created = [call.result for call in calls if call.method == "create_content_mixed"]
    rig.note("calls on IDrmPort", [(call.method, call.result or call.arguments[0]) for call in calls], "IDrmPort")
    rig.expect(len(created) >= 3, "mixed contents created", "at least 3", len(created))
    alive: list[int] = []
    forwarded: set[int] = set()
    for call in calls:
        content = call.arguments[0]
        if call.method == "create_content_mixed":
            alive.append(call.result)
        elif call.method == "destroy_content":
            rig.expect(content != DEFAULT_CONTENT_ID, "DestroyContent", "never of id 0", "id 0")
            rig.expect(content in alive, f"DestroyContent of {content}", f"a mix that exists, of {alive}", content)
            alive.remove(content)
        else:
            forwarded.add(content)
    for each in rig.trace.of("set_content_id", caller="port"):
        begin = rig.trace.calls.index(each) + 1
        inside = itertools.takewhile(lambda call: call.depth > 0, rig.trace.calls[begin:])
        order = [call.method for call in inside if call in calls and call.arguments[0] != DEFAULT_CONTENT_ID]
        if "create_content_mixed" in order and each.error is None:
            rig.expect_equal(
                "calls on IDrmPort inside one SetContentId", order[:2],
                ["create_content_mixed", "forward_content_to_interface"],
            )  # fmt: skip
    rig.expect_equal("mixed contents left at the end", alive, [])
    rig.expect(len(forwarded) >= 2, "mixed contents forwarded", "at least 2", len(forwarded))
