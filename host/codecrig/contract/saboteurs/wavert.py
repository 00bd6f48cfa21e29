"""WaveRT objects with one defect each."""

from __future__ import annotations

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.miniport.wavert import MiniportWaveRT, WaveRTRenderStream
from codecrig.portcls import KSSTATE, NTSTATUS, Format, IMiniportWaveRTStream, IPortWaveRTStream


def with_stream(render: type[WaveRTRenderStream]) -> type[MiniportWaveRT]:
    """A miniport whose render streams are of that class."""

    class Miniport(MiniportWaveRT):
        def new_stream(
            self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
        ) -> IMiniportWaveRTStream:
            stream = super().new_stream(port_stream, pin, capture, data_format)
            if not capture:
                stream.__class__ = type(render.__name__, (render,), {})
            return stream

    return Miniport


@saboteur("WRT-STA-02")
def runs_without_a_buffer(objects: Objects) -> None:
    """SetState(RUN) succeeds though no buffer was allocated."""

    class Stream(WaveRTRenderStream):
        def set_state(self, state: KSSTATE) -> NTSTATUS:
            if state is KSSTATE.RUN and self._buffer is None:
                return NTSTATUS.SUCCESS
            return super().set_state(state)

    objects.miniports["wavert"] = with_stream(Stream)
