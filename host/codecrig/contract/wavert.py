"""Checks of the rules WRT, WRP, WRN, WRI and WRO: WaveRT streams, page services, notification, packets."""

from __future__ import annotations

from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.portcls import KSSTATE, NTSTATUS


@check("WRT-STA-02")
def run_without_a_buffer_is_refused(rig: Rig) -> None:
    """Asks a stream without a buffer to run."""
    pin = rig.wavert().open_pin(0, False, rig.formats[0])
    rig.expect_status("SetState(RUN) without a buffer", NTSTATUS.INVALID_DEVICE_STATE, pin.set_state, KSSTATE.RUN)
    rig.expect_equal("state afterwards", pin.state, KSSTATE.PAUSE)
