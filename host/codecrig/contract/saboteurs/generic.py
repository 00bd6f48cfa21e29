"""Defects that the rules GEN find. Most are built into the WaveRT objects; the checks go through all models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, break_streams, each_pin, each_stream
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.port.wavert import WaveRTPin
from codecrig.portcls import IRQL, KSAUDIO_POSITION, KSSTATE, NTSTATUS, Format, IPortWaveRTStream, IUnknown


@saboteur("GEN-REF-01")
def keeps_the_port_stream_for_ever(objects: Objects) -> None:
    """A stream that is destroyed does not drop its reference on the port stream."""

    def destroy(good: Callable[[], None], stream: Any) -> None:
        stream._port_stream.add_ref()
        good()

    break_streams(objects, destroy=destroy)


@saboteur("GEN-REF-01")
def keeps_the_port_stream_without_a_reference(objects: Objects) -> None:
    """A stream uses the port stream behind NewStream though it took no reference on it."""

    def change(stream: Any) -> None:
        stream._port_stream.release()
        stream._port_stream = _Unreferenced(stream._port_stream)

    each_stream(objects, "wavert", change)


class _Unreferenced:
    """Passes all calls on, but no reference counting."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return (lambda: 1) if name in ("add_ref", "release") else getattr(self._target, name)


@saboteur("GEN-REF-02")
def delivers_a_stream_with_two_references(objects: Objects) -> None:
    """NewStream delivers a stream with one reference too many."""

    each_stream(objects, "wavert", lambda stream: stream.add_ref())


@saboteur("GEN-REF-03")
def a_refused_stream_keeps_a_reference(objects: Objects) -> None:
    """NewStream takes its reference on the port stream before it checks the request, and forgets it when it fails."""

    class Miniport(MiniportWaveRT):
        def new_stream(self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format) -> Any:
            port_stream.add_ref()
            stream = super().new_stream(port_stream, pin, capture, data_format)
            port_stream.release()
            return stream

    objects.miniports["wavert"] = Miniport


@saboteur("GEN-QIF-01")
def has_every_interface(objects: Objects) -> None:
    """QueryInterface succeeds for any identifier."""

    def query_interface(good: Callable[..., Any], stream: Any, interface: type[IUnknown]) -> Any:
        stream.add_ref()
        return stream

    break_streams(objects, query_interface=query_interface)


@saboteur("GEN-QIF-01")
def queries_without_a_reference(objects: Objects) -> None:
    """QueryInterface forgets to add the reference."""

    def query_interface(good: Callable[..., Any], stream: Any, interface: type[IUnknown]) -> Any:
        found = good(interface)
        found.release()
        return found

    break_streams(objects, query_interface=query_interface)


@saboteur("GEN-STA-01")
def a_port_skips_states(objects: Objects) -> None:
    """The port hands a client's request for RUN to the miniport in one step."""

    class Pin(WaveRTPin):
        def set_state(self, state: KSSTATE) -> None:
            self._stream.set_state(state)
            self._state = state

    each_pin(objects, "wavert", become(Pin))


@saboteur("GEN-STA-02")
def restarts_at_the_same_state(objects: Objects) -> None:
    """PAUSE in PAUSE throws the position away."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.PAUSE and stream._state is KSSTATE.PAUSE:
            good(KSSTATE.STOP)
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("GEN-STA-03")
def a_port_believes_in_success(objects: Objects) -> None:
    """The port reports the new state though SetState failed."""

    class Pin(WaveRTPin):
        def set_state(self, state: KSSTATE) -> None:
            before = self._state
            try:
                super().set_state(state)
            except Exception:
                self._state = KSSTATE(before + (1 if state > before else -1)) if state != before else before
                raise

    each_pin(objects, "wavert", become(Pin))


@saboteur("GEN-STA-04")
def a_port_releases_a_running_stream(objects: Objects) -> None:
    """Closing a pin releases the stream without taking it to STOP."""

    class Pin(WaveRTPin):
        def close(self) -> None:
            self._state = KSSTATE.STOP
            super().close()

        def set_state(self, state: KSSTATE) -> None:
            if state is not self._state:
                super().set_state(state)

    each_pin(objects, "wavert", become(Pin))


@saboteur("GEN-STA-05")
def run_starts_anew(objects: Objects) -> None:
    """RUN behind PAUSE resets the engine, as STOP would."""

    def set_state(good: Callable[..., Any], stream: Any, state: KSSTATE) -> NTSTATUS:
        if state is KSSTATE.RUN and stream._state is KSSTATE.PAUSE:
            good(KSSTATE.STOP)
        return good(state)

    break_streams(objects, set_state=set_state)


@saboteur("GEN-CTX-01")
def a_port_asks_latency_in_deferred_context(objects: Objects) -> None:
    """The port calls GetHWLatency, a passive method, from a deferred call."""

    class Pin(WaveRTPin):
        def set_state(self, state: KSSTATE) -> None:
            super().set_state(state)
            if state is KSSTATE.RUN:
                with self._port.system.at(IRQL.DISPATCH):
                    self._stream.get_hw_latency()

    each_pin(objects, "wavert", become(Pin))


@saboteur("GEN-CTX-02")
def sets_events_in_the_interrupt(objects: Objects) -> None:
    """The interrupt handler sets the client's events instead of deferring that."""

    class Miniport(MiniportWaveRT):
        def queue_deferred(self, call: Callable[[], None]) -> None:
            call()

    objects.miniports["wavert"] = Miniport


@saboteur("GEN-FMT-01")
def takes_any_format(objects: Objects) -> None:
    """NewStream takes formats that the board cannot do."""

    class Miniport(MiniportWaveRT):
        def check_format(self, pin: int, data_format: Format) -> None:
            pass

    objects.miniports["wavert"] = Miniport


@saboteur("GEN-FMT-02")
def gives_one_stream_to_two(objects: Objects) -> None:
    """A second NewStream for a pin in use succeeds, with the same stream of the engine."""

    class Miniport(MiniportWaveRT):
        def new_stream(self, *arguments: Any) -> Any:
            self._engine_streams.clear()
            return super().new_stream(*arguments)

        def _forget(self, pin: int) -> None:
            self._engine_streams.pop(pin, None)

    objects.miniports["wavert"] = Miniport


@saboteur("GEN-POS-01")
def a_clock_two_percent_fast(objects: Objects) -> None:
    """The board's crystal runs 2 % fast."""
    objects.clock_ppm = 20_000


@saboteur("GEN-POS-02")
def the_position_jumps_at_packet_ends(objects: Objects) -> None:
    """GetPosition knows whole packets of 20 ms only."""

    def get_position(good: Callable[[], KSAUDIO_POSITION], stream: Any) -> KSAUDIO_POSITION:
        position = good()
        packet_bytes = stream._buffer.packet_bytes if stream._buffer else 1
        return KSAUDIO_POSITION(position.PlayOffset // packet_bytes * packet_bytes, position.WriteOffset)

    break_streams(objects, get_position=get_position)


@saboteur("GEN-POS-03")
def the_position_starts_late(objects: Objects) -> None:
    """GetPosition lags 25 ms behind the converter."""

    def get_position(good: Callable[[], KSAUDIO_POSITION], stream: Any) -> KSAUDIO_POSITION:
        good()
        lag_frames = stream._engine.format.sample_rate // 40
        played = max(0, stream._engine.snapshot().frames - lag_frames) * stream._engine.format.block_bytes
        size = stream._buffer.actual_bytes if stream._buffer else 1
        return KSAUDIO_POSITION(played % size, played % size)

    break_streams(objects, get_position=get_position)
