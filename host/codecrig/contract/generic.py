"""Checks of the rules GEN: what holds for the wave streams of every model. Each goes through all models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.streams import MODELS, ModelStream
from codecrig.contract.watch import Call, Side, unwrap
from codecrig.link.registers import InputSelect
from codecrig.measure.pattern import ramp
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, Format, IUnknown, KEvent, NtStatusError
from codecrig.portcls.wavecyclic import NewWaveCyclicStream
from codecrig.portcls.wavepci import NewWavePciStream
from codecrig.wave import unpack_samples

READINGS = 33
"""Position readings that have moved, for a line; the rule wants at least 30."""
MOST_READINGS = 100
"""All of them, also those before the first movement."""
READING_INTERVAL_S = 0.0015
EVENT_SPAN_S = 0.021
"""Long enough for an event of every model: packets of 20 ms, notifications each 10 ms."""
SEAMS = 5
"""Cycles of PAUSE and RUN."""


class _Stranger(IUnknown):
    """An interface that nobody has."""


# ------------------------------------------------------------------ references


def _takes(rig: Rig, target: IUnknown, side: Side, calls: list[Call]) -> int:
    """References that `side` took and still has by the end of `calls`."""
    mine = [call for call in calls if call.target is target and call.caller == side and call.error is None]
    count = {"add_ref": 1, "release": -1, "query_interface": 1}
    return sum(count.get(call.method, 0) for call in mine)


@check("GEN-REF-01")
def what_is_kept_is_referenced(rig: Rig) -> None:
    """Opens and closes a stream of each model, and counts the references that the miniport takes and drops."""
    for model in MODELS:
        for capture in (False, True):
            before = len(rig.trace.calls)
            stream = model(rig, capture=capture)
            unwrap(stream.port).close()
            calls = rig.trace.calls[before:]
            handed = [
                (each, call)
                for call in calls
                if call.caller == "port" and call.method in ("init", "new_stream")
                for each in call.arguments
                if isinstance(each, IUnknown)
            ]
            for target, call in handed:
                target = unwrap(target)
                where = f"{model.model}: {type(target).__name__} handed to {call.name}"
                left = _takes(rig, target, "miniport", calls)
                rig.expect_equal(f"{where}: references still held at the end", left, 0)
                begin = calls.index(call)
                end = next((n for n in range(begin + 1, len(calls)) if calls[n].depth <= call.depth), len(calls))
                used_later = [
                    each
                    for each in calls[end:]
                    if each.target is target and each.caller == "miniport" and each.method not in ("release", "add_ref")
                ]
                if used_later:
                    taken = _takes(rig, target, "miniport", calls[begin:end])
                    rig.expect(
                        taken >= 1,
                        f"{where}: references taken before the call returned, for {used_later[0].method} later",
                        "1",
                        taken,
                    )
                rig.note(where, f"{left} references left", "calls of add_ref and release")
            rig.expect_equal(f"{model.model}: references on the stream at the end", stream.real.reference_count, 0)


@check("GEN-REF-02")
def what_is_delivered_carries_one_reference(rig: Rig) -> None:
    """Releases every object that Init and NewStream delivered exactly once, and looks whether that destroys it."""
    for model in MODELS:
        for capture in (False, True):
            before = len(rig.trace.calls)
            stream = model(rig, capture=capture)
            outputs: dict[int, IUnknown] = {}
            for call in rig.trace.calls[before:]:
                delivers = call.caller == "port" and call.method in ("init", "new_stream")
                for each in _interfaces_in(call.result) if delivers else ():
                    outputs[id(each)] = each
            unwrap(stream.port).close()
            for target in outputs.values():
                name = f"{model.model}: {type(target).__name__} delivered by the miniport"
                rig.note(name, f"{target.reference_count} references after everything was closed", "reference_count")
                rig.expect_equal(f"{name}: references after everything was closed", target.reference_count, 0)


def _interfaces_in(result: Any) -> list[IUnknown]:
    """What a call delivered; the DMA channel of WavePci comes without a reference (rule WP-NEW-02) and is left out."""
    if isinstance(result, NewWavePciStream):
        values: list[Any] = [result.Stream, result.ServiceGroup]
    elif isinstance(result, NewWaveCyclicStream):
        values = [result.Stream, result.DmaChannel, result.ServiceGroup]
    else:
        values = [result]
    return [unwrap(each) for each in values if isinstance(each, IUnknown)]


def _refused(rig: Rig, model: type[ModelStream]) -> list[tuple[str, int, bool, Format]]:
    """Requests for a stream that must be refused: why, pin, capture, format."""
    good = rig.formats[0]
    return [
        ("a pin that does not exist", 99, False, good),
        ("capture on the render pin", 0, True, good),
        ("render on the capture pin", 1, False, good),
        ("a rate that the board does not have", 0, False, Format(12345, good.channels, good.container_bits)),
        ("float samples", 0, False, Format(good.sample_rate, good.channels, 32, is_float=True)),
    ]


@check("GEN-REF-03")
def a_failed_call_leaves_no_reference(rig: Rig) -> None:
    """Asks each miniport for streams that it must refuse, and compares the counts before and after."""
    for model in MODELS:
        stream = model(rig, capture=False)
        port = unwrap(stream.port)
        miniport = rig.trace.of("new_stream", caller="port")[-1].target
        stream.pin.close()
        for why, pin, capture, form in _refused(rig, model):
            before = (port.reference_count, miniport.reference_count)
            begin = len(rig.trace.calls)
            try:
                opened = port.open_pin(pin, capture, form)
            except NtStatusError:
                pass
            else:
                opened.close()
            calls = rig.trace.calls[begin:]
            asked = [call for call in calls if call.method == "new_stream" and call.caller == "port"]
            for call in asked:
                rig.expect(call.error is not None, f"{model.model}: NewStream with {why}", "a failure", call.status)
                for target in (each for each in call.arguments if isinstance(each, IUnknown)):
                    left = _takes(rig, unwrap(target), "miniport", calls)
                    rig.expect_equal(f"{model.model}: references left on {type(target).__name__}, {why}", left, 0)
            after = (port.reference_count, miniport.reference_count)
            rig.expect_equal(f"{model.model}: references of port and miniport after {why}", after, before)
            rig.note(f"{model.model}: {why}", f"references {before} before, {after} after", "reference_count")


@check("GEN-QIF-01")
def unknown_interfaces_are_refused(rig: Rig) -> None:
    """Asks miniport and stream of each model for interfaces that they have and for one that nobody has."""
    for model in MODELS:
        stream = model(rig, capture=False)
        for target in (stream.real, rig.trace.of("new_stream", caller="port")[-1].target):
            seen = rig.trace.wrap(target, "port")
            name = type(target).__name__
            before = target.reference_count
            known = next(base for base in type(target).__mro__ if base.__module__.startswith("codecrig.portcls"))
            found = seen.query_interface(known)
            rig.expect_equal(f"{name} for {known.__name__}: count", target.reference_count, before + 1)
            found.release()
            try:
                seen.query_interface(_Stranger)
            except NtStatusError as error:
                rig.note(f"{name} for an unknown interface", error.status, "query_interface")
            else:
                rig.expect(False, f"{name} for an unknown interface", "a failure", "success")
            rig.expect_equal(f"{name} after both: count", target.reference_count, before)


# ------------------------------------------------------------------ states


@check("GEN-STA-01")
def states_are_climbed_one_by_one(rig: Rig) -> None:
    """Asks each port to skip states, up and down, and looks at what reaches the miniport."""
    for model in MODELS:
        with rig.converter(InputSelect.LOOPBACK):
            stream = model(rig, capture=True)
            for state in (KSSTATE.RUN, KSSTATE.STOP, KSSTATE.PAUSE, KSSTATE.STOP, KSSTATE.RUN, KSSTATE.ACQUIRE):
                stream.set_state(state)
                rig.expect_equal(f"{model.model}: state reported after a request for {state.name}", stream.state, state)
            unwrap(stream.port).close()
        ladder = stream.ladder
        rig.note(f"{model.model}: states delivered", " ".join(state.name for state in ladder), "calls of set_state")
        for before, after in zip([KSSTATE.STOP, *ladder], ladder, strict=False):
            rig.expect(
                abs(after - before) <= 1, f"{model.model}: step from {before.name}", "a neighbouring state", after.name
            )
        rig.expect(KSSTATE.RUN in ladder, f"{model.model}: states delivered", "RUN among them", ladder)


@check("GEN-STA-02")
def asking_for_the_same_state_changes_nothing(rig: Rig) -> None:
    """Asks each stream twice for every state, on the way up and down."""
    for model in MODELS:
        with rig.converter(InputSelect.LOOPBACK):
            stream = model(rig, capture=True)
            for state in (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.ACQUIRE,
                          KSSTATE.STOP):  # fmt: skip
                stream.set_state(state)
                if state is KSSTATE.RUN:
                    rig.system.sleep(0.002)
                    before = rig.board.snapshot(stream.number)
                    stream.stream.set_state(state)
                    after = rig.board.snapshot(stream.number)
                    rig.expect(
                        after.frames >= before.frames and after.overruns == before.overruns,
                        f"{model.model}: frames and overruns around a second RUN",
                        f"at least {before.frames}, {before.overruns}",
                        f"{after.frames}, {after.overruns}",
                    )
                    continue
                before_bytes = stream.position_bytes()
                stream.stream.set_state(state)
                rig.expect_equal(
                    f"{model.model}: position after a second {state.name}", stream.position_bytes(), before_bytes
                )
            rig.note(f"{model.model}: every state asked for twice", "no effect", "GetPosition, STREAM[].SNAPSHOT")
            unwrap(stream.port).close()


@check("GEN-STA-03")
def a_failed_step_leaves_the_state(rig: Rig) -> None:
    """Makes each step of the ladder fail in the miniport once, and looks at what the port reports and does."""
    steps = [(KSSTATE.STOP, KSSTATE.ACQUIRE), (KSSTATE.ACQUIRE, KSSTATE.PAUSE), (KSSTATE.PAUSE, KSSTATE.RUN),
             (KSSTATE.RUN, KSSTATE.PAUSE), (KSSTATE.ACQUIRE, KSSTATE.STOP)]  # fmt: skip
    for model in MODELS:
        with rig.converter(InputSelect.LOOPBACK):
            stream = model(rig, capture=True)
            for state, refused in steps:
                stream.set_state(state)
                position = stream.position_bytes() if state is not KSSTATE.RUN else None
                good = stream.real.set_state
                stream.real.set_state = _refuse
                begin = len(rig.trace.calls)
                try:
                    stream.set_state(refused)
                except NtStatusError as error:
                    rig.note(f"{model.model}: {refused.name} refused in {state.name}", error.status, "set_state")
                else:
                    rig.expect(False, f"{model.model}: {refused.name} that the miniport refuses", "a failure", "none")
                finally:
                    stream.real.set_state = good
                rig.expect_equal(f"{model.model}: state after a refused {refused.name}", stream.state, state)
                if position is not None:
                    rig.expect_equal(
                        f"{model.model}: position after a refused {refused.name}", stream.position_bytes(), position
                    )
                followed = [
                    call.method
                    for call in rig.trace.calls[begin:]
                    if call.caller == "port" and call.method in ("revoke_mappings", "silence", "service", "release")
                ]
                rig.expect_equal(f"{model.model}: what the port did after a refused {refused.name}", followed, [])
            unwrap(stream.port).close()


def _refuse(state: KSSTATE) -> NTSTATUS:
    raise NtStatusError(NTSTATUS.UNSUCCESSFUL, f"{state.name} refused on purpose")


@check("GEN-STA-04")
def closing_stops_first(rig: Rig) -> None:
    """Closes a pin of each model in RUN and in PAUSE, and looks at the order of what reaches the miniport."""
    for model in MODELS:
        for state in (KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.ACQUIRE):
            with rig.converter(InputSelect.LOOPBACK):
                stream = model(rig, capture=True)
                stream.set_state(state)
                begin = len(rig.trace.calls)
                stream.pin.close()
                unwrap(stream.port).close()
            mine = [call for call in rig.trace.calls[begin:] if call.caller == "port"]
            stops = [n for n, call in enumerate(mine)
                     if call.method == "set_state" and call.arguments[0] is KSSTATE.STOP]  # fmt: skip
            rig.expect(len(stops) > 0, f"{model.model}: STOP while closing in {state.name}", "a call", "none")
            removals = [n for n, call in enumerate(mine) if call.method == "remove_member"]
            releases = [n for n, call in enumerate(mine) if call.method == "release" and call.target is stream.real]
            added = len(rig.trace.of("add_member", caller="port")) > 0
            rig.expect(
                len(releases) > 0, f"{model.model}: release of the stream while closing", "at least one", len(releases)
            )
            last = releases[-1]
            rig.expect(stops[-1] < last, f"{model.model}: order", "STOP before release", "release before STOP")
            if added:
                rig.expect(
                    len(removals) > 0 and removals[-1] < last,
                    f"{model.model}: the port's sink", "removed from the group before release", "not",
                )  # fmt: skip
            rig.expect_equal(f"{model.model}: references on the closed stream", stream.real.reference_count, 0)
            order = [call.method for call in mine if call.method in ("set_state", "remove_member", "release")]
            rig.note(f"{model.model}: closing in {state.name}", " ".join(order), "calls")


@check("GEN-STA-05")
def nothing_is_lost_at_the_seams(rig: Rig) -> None:
    """Alternates PAUSE and RUN under a counting pattern: the advance fits the intervals, the pattern has no seam."""
    for model in MODELS:
        with rig.converter(InputSelect.PATTERN):
            stream = model(rig, capture=True, data_format=rig.format_of(24))
            rate, advance = rig.board.clock.rate, 0
            for _ in range(SEAMS):
                before = _ticks(rig)
                stream.set_state(KSSTATE.RUN)
                began = _ticks(rig)
                rig.system.sleep(0.002)
                ending = _ticks(rig)
                stream.set_state(KSSTATE.PAUSE)
                ended = _ticks(rig)
                frames = rig.board.snapshot(stream.number).frames
                low = float((ending - began) * stream.format.sample_rate / rate) - 1
                high = float((ended - before) * stream.format.sample_rate / rate) + 1
                rig.expect_within(f"{model.model}: frames in one running interval", frames - advance, low, high)
                advance = frames
            snapshot = rig.board.snapshot(stream.number)
            rig.moved(snapshot.bytes, f"STREAM[{stream.number}].SNAP_BYTES")
            rig.note(f"{model.model}: frames in {SEAMS} intervals", advance, f"STREAM[{stream.number}].SNAP_FRAMES")
            _check_ramp(rig, stream, stream.captured(snapshot.bytes))
            unwrap(stream.port).close()


def _ticks(rig: Rig) -> int:
    return rig.board.clock.now()


def _check_ramp(rig: Rig, stream: ModelStream, data: bytes) -> None:
    form = stream.format
    block = form.block_bytes
    samples = unpack_samples(data[: len(data) // block * block], form.channels, form.valid_bits, form.container_bits)
    expected = ramp(0, len(samples), form.channels, form.valid_bits)
    wrong = np.nonzero((samples != expected).any(axis=1))[0]
    rig.expect(
        len(samples) > 0 and len(wrong) == 0,
        f"{stream.model}: pattern in the captured frames",
        f"{len(samples)} frames in a row",
        f"frame {wrong[0]} is {samples[wrong[0]].tolist()}" if len(wrong) else "no frame",
    )


# ------------------------------------------------------------------ contexts


class _LevelEvent(KEvent):
    """Knows at which levels it was set."""

    def __init__(self, rig: Rig) -> None:
        super().__init__("level")
        self.levels: set[IRQL] = set()
        self._rig = rig

    def set(self) -> None:
        self.levels.add(self._rig.system.level)
        super().set()


def _exercise(rig: Rig, model: type[ModelStream], event: KEvent | None = None) -> None:
    """Everything that a client does, with events under way."""
    for capture in (False, True):
        with rig.converter(InputSelect.LOOPBACK):
            stream = model(rig, capture=capture)
            if event is not None and model.model == "wavert":
                stream.pin.register_event(event)
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(EVENT_SPAN_S)
            stream.position_bytes()
            stream.set_state(KSSTATE.PAUSE)
            stream.set_state(KSSTATE.RUN)
            stream.set_state(KSSTATE.STOP)
            unwrap(stream.port).close()


@check("GEN-CTX-01")
def the_port_calls_in_the_right_context(rig: Rig) -> None:
    """Runs a stream of each model with events, and compares the context of each call of the port with the table."""
    for model in MODELS:
        _exercise(rig, model)
        wrong = [call.line().strip() for call in rig.trace.wrong_contexts("port")]
        rig.expect_equal(f"{model.model}: calls of the port in a wrong context", wrong, [])
    calls = [call for call in rig.trace.calls if call.caller == "port"]
    rig.note("calls of the port", len(calls), "calls")
    rig.note("of these in deferred context", sum(call.level is IRQL.DISPATCH for call in calls), "calls")


@check("GEN-CTX-02")
def the_interrupt_only_notifies(rig: Rig) -> None:
    """Runs a stream of each model with events, and looks at what the miniport calls from interrupt context."""
    event = _LevelEvent(rig)
    for model in MODELS:
        _exercise(rig, model, event)
    above = sorted(level.words for level in event.levels if level > IRQL.DISPATCH)
    rig.expect_equal("contexts above deferred in which events were set", above, [])
    rig.expect(event.set_count > 0, "settings of the client's event", "some", event.set_count)
    interrupts = [call for call in rig.trace.calls if call.level is IRQL.DEVICE and call.caller == "miniport"]
    others = sorted({call.name for call in interrupts if call.method != "notify"})
    rig.expect_equal("calls of the miniport from interrupt context besides Notify", others, [])
    rig.note("calls of Notify from interrupt context", len(interrupts), "calls")


# ------------------------------------------------------------------ NewStream


@check("GEN-FMT-01")
def wrong_streams_are_refused(rig: Rig) -> None:
    """Asks each miniport for wrong pins, directions and formats, then for a right one."""
    for model in MODELS:
        stream = model(rig, capture=False)
        port = unwrap(stream.port)
        stream.pin.close()
        for why, pin, capture, form in _refused(rig, model):
            begin = len(rig.trace.calls)
            try:
                port.open_pin(pin, capture, form).close()
            except NtStatusError as error:
                status = error.status
                bad_format = form != rig.formats[0]
                rig.expect(
                    not bad_format or status is NTSTATUS.INVALID_PARAMETER,
                    f"{model.model}: NewStream with {why}", "INVALID_PARAMETER", status.name,
                )  # fmt: skip
                rig.note(f"{model.model}: NewStream with {why}", status, "NewStream")
            else:
                rig.expect(False, f"{model.model}: NewStream with {why}", "a failure", "a stream")
            asked = [c for c in rig.trace.calls[begin:] if c.method == "new_stream"]
            rig.expect(len(asked) > 0, f"{model.model}: {why}", "the miniport was asked", "it was not")
        again = model(rig, capture=False)
        rig.expect_equal(f"{model.model}: a right stream afterwards", again.state, KSSTATE.STOP)
        unwrap(again.port).close()


@check("GEN-FMT-02")
def one_stream_too_many_is_refused(rig: Rig) -> None:
    """Opens streams until each miniport refuses, with one running: it must not notice."""
    accepted = (NTSTATUS.INVALID_DEVICE_REQUEST, NTSTATUS.INSUFFICIENT_RESOURCES)
    for model in MODELS:
        with rig.converter(InputSelect.LOOPBACK):
            stream = model(rig, capture=True)
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.002)
            before = rig.board.snapshot(stream.number)
            opened: list[Any] = []
            status = None
            for _ in range(rig.board.identity().streams + 1):
                try:
                    opened.append(stream.port.open_pin(1, True, stream.format))
                except NtStatusError as error:
                    status = error.status
                    break
            for pin in opened:
                pin.close()
            rig.expect(status in accepted, f"{model.model}: one stream too many",
                       " or ".join(each.name for each in accepted), status)  # fmt: skip
            rig.note(f"{model.model}: one stream too many, after {len(opened) + 1}", status, "NewStream")
            after = rig.board.snapshot(stream.number)
            rig.moved(after.bytes, f"STREAM[{stream.number}].SNAP_BYTES")
            rig.expect_equal(
                f"{model.model}: frames of the running stream against ticks of the converter",
                after.frames - before.frames,
                after.frame_ticks - before.frame_ticks,
            )
            rig.expect_equal(f"{model.model}: overruns of the running stream", after.overruns, before.overruns)
            unwrap(stream.port).close()


# ------------------------------------------------------------------ quality of positions


@dataclass
class _Readings:
    """Positions over host time."""

    seconds: Any
    frames: Any
    run_called_s: float


def _read_positions(rig: Rig, model: type[ModelStream]) -> _Readings:
    with rig.converter(InputSelect.LOOPBACK):
        stream = model(rig, capture=True)
        stream.set_state(KSSTATE.PAUSE)
        called = rig.system.performance_counter()
        stream.set_state(KSSTATE.RUN)
        points = []
        block, unwrapped, last = stream.format.block_bytes, 0, 0
        for _ in range(MOST_READINGS):
            before = rig.system.performance_counter()
            position = stream.position_bytes()
            after = rig.system.performance_counter()
            step = position - last
            unwrapped += step % stream.buffer_bytes if stream.buffer_bytes else step
            last = position
            points.append(((before + after) / 2, unwrapped / block))
            if sum(frame > 0 for _, frame in points) == READINGS:
                break
            rig.system.sleep(READING_INTERVAL_S)
        rig.moved(rig.board.snapshot(stream.number).bytes, f"STREAM[{stream.number}].SNAP_BYTES")
        unwrap(stream.port).close()
    frequency = rig.system.performance_frequency
    seconds, frames = np.array([time / frequency for time, _ in points]), np.array([frame for _, frame in points])
    return _Readings(seconds, frames, called / frequency)


def _line(readings: _Readings) -> tuple[float, float, Any]:
    """Slope, intercept and what is left, behind the first non-zero reading."""
    moving = readings.frames > 0
    seconds, frames = readings.seconds[moving], readings.frames[moving]
    origin = seconds[0]
    slope, intercept = np.polyfit(seconds - origin, frames, 1)
    return float(slope), float(intercept - slope * origin), frames - (slope * (seconds - origin) + intercept)


def _for_each_model(rig: Rig, judge: Callable[[Rig, str, float, _Readings], None]) -> None:
    for model in MODELS:
        readings = _read_positions(rig, model)
        rig.expect(
            int((readings.frames > 0).sum()) >= 30, f"{model.model}: readings in RUN", "at least 30 that moved",
            int((readings.frames > 0).sum()),
        )  # fmt: skip
        judge(rig, model.model, rig.formats[0].sample_rate, readings)


@check("GEN-POS-01")
def the_position_has_the_nominal_rate(rig: Rig) -> None:
    """Lays a line through 33 positions of each model over host time: its slope is within 1 % of the nominal rate."""

    def judge(rig: Rig, model: str, rate: float, readings: _Readings) -> None:
        slope, _, _ = _line(readings)
        rig.note(f"{model}: rate", f"{slope:.1f} frames/s ({(slope / rate - 1) * 1e6:+.0f} ppm)", "GetPosition")
        rig.expect_within(f"{model}: rate of the position", slope, 0.99 * rate, 1.01 * rate, "frames/s")

    _for_each_model(rig, judge)


@check("GEN-POS-02")
def the_position_keeps_to_its_line(rig: Rig) -> None:
    """Takes that line away: what is left stays below 4 ms, its standard deviation below 1 ms."""

    def judge(rig: Rig, model: str, rate: float, readings: _Readings) -> None:
        rest_ms = _line(readings)[2] / rate * 1000
        worst, deviation = float(np.abs(rest_ms).max()), float(rest_ms.std())
        rig.note(f"{model}: jitter", f"{deviation:.4f} ms rms, {worst:.4f} ms at worst", "GetPosition")
        rig.expect(worst < 4, f"{model}: largest distance from the line", "below 4 ms", f"{worst:.3f} ms")
        rig.expect(deviation < 1, f"{model}: standard deviation", "below 1 ms", f"{deviation:.3f} ms")

    _for_each_model(rig, judge)


@check("GEN-POS-03")
def the_stream_starts_within_20_ms(rig: Rig) -> None:
    """Follows the line back to position 0: not later than 20 ms behind the call of SetState(RUN)."""

    def judge(rig: Rig, model: str, rate: float, readings: _Readings) -> None:
        slope, intercept, _ = _line(readings)
        rig.expect(slope > rate / 2, f"{model}: rate of the position", f"about {rate:g} frames/s", f"{slope:g}")
        start_ms = (-intercept / slope - readings.run_called_s) * 1000
        rig.note(f"{model}: start latency", f"{start_ms:.3f} ms", "GetPosition extrapolated")
        rig.expect(start_ms <= 20, f"{model}: start latency", "at most 20 ms", f"{start_ms:.3f} ms")

    _for_each_model(rig, judge)
