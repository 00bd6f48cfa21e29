"""The runner turns whatever a miniport does into a verdict, names it, and goes on with a quiet board."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from codecrig.board import Bench, monitor_register
from codecrig.contract import Check, Objects, Rig, RuleResult, Runner, Verdict, all_rules
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.port.wavert import PortWaveRTStream
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, NtStatusError


def judge(function: Callable[[Rig], None], rule: str = "WRT-STA-02", miniport: Any = None) -> RuleResult:
    objects = Objects(miniports={"wavert": miniport} if miniport else {})
    with Runner.by_name("model", objects, check_limit_s=2) as runner:
        return runner.judge(Check(all_rules()[rule], function, 0.0))


def opens_a_pin(rig: Rig) -> None:
    """Opens a pin."""
    rig.wavert().open_pin(0, False, rig.formats[0])


class Dies(MiniportWaveRT):
    def new_stream(self, *arguments: Any) -> Any:
        raise ZeroDivisionError("no stream today")


class Hangs(MiniportWaveRT):
    def new_stream(self, *arguments: Any) -> Any:
        while True:
            pass


class Refuses(MiniportWaveRT):
    def new_stream(self, *arguments: Any) -> Any:
        raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, "none left")


@pytest.mark.parametrize(
    ("miniport", "words"),
    [
        (Dies, "raised by Dies.new_stream: ZeroDivisionError: no stream today"),
        (Hangs, "hung in Hangs.new_stream"),
        (Refuses, "raised by Refuses.new_stream: STATUS_INSUFFICIENT_RESOURCES: none left"),
    ],
)
def test_a_broken_miniport_is_named(miniport: Any, words: str) -> None:
    result = judge(opens_a_pin, miniport=miniport)
    assert result.verdict is Verdict.FAILED
    assert words in result.reason
    assert any(f"{miniport.__name__}.new_stream" in line for line in result.trace)


@pytest.mark.parametrize("long", [False, True])
def test_a_check_of_a_long_span_has_the_time_for_it(long: bool) -> None:
    with Runner.by_name("model", long=long, check_limit_s=0.2) as runner:
        result = runner.judge(Check(all_rules()["WRT-STA-02"], lambda rig: time.sleep(0.5), 0.1))
    assert result.verdict is (Verdict.PASSED if long else Verdict.FAILED)
    assert long or result.reason == "hung"


def test_a_failed_expectation_says_what_was_expected_and_found() -> None:
    result = judge(lambda rig: rig.expect_equal("state", KSSTATE.RUN, KSSTATE.STOP))
    assert (result.verdict, result.expected, result.found) == (Verdict.FAILED, "STOP", "RUN")


def test_a_board_rule_without_progress_is_not_judged() -> None:
    assert judge(opens_a_pin, "WRT-POS-01").verdict is Verdict.NOT_JUDGED
    assert judge(opens_a_pin, "WRT-NEW-01").verdict is Verdict.PASSED


def test_a_missing_bench_skips_with_its_reason() -> None:
    def has_no_bench(rig: Rig) -> None:
        """Asks for a tap."""
        rig.board.bench = Bench()
        rig.need_bench("tap")

    result = judge(has_no_bench)
    assert result.verdict is Verdict.SKIPPED and "tap" in result.reason


def test_what_a_check_leaves_running_is_stopped() -> None:
    def leaves_it_running(rig: Rig) -> None:
        """Runs."""
        with rig.converter(InputSelect.LOOPBACK):
            form = rig.formats[0]
            pin = rig.wavert().open_pin(0, False, form, buffer_bytes=form.bytes_per_second // 50)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.01)
            rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
            raise KeyError("in the middle")

    with Runner.by_name("model") as runner:
        result = runner.judge(Check(all_rules()["WRT-POS-01"], leaves_it_running, 0.0))
        assert result.verdict is Verdict.FAILED and "KeyError" in result.reason
        assert runner.board.snapshot(0).bytes == 0


def test_what_is_left_behind_does_not_reach_the_next_check() -> None:
    def forgets_a_stream(rig: Rig) -> None:
        """Opens a pin whose stream has a reference too many."""
        rig.wavert().open_pin(0, False, rig.formats[0])._stream.add_ref()

    def opens_it_again(rig: Rig) -> None:
        """Opens the same pin."""
        assert not rig.board.events.subscribed
        rig.wavert().open_pin(0, False, rig.formats[0])

    rule = all_rules()["WRT-STA-02"]
    with Runner.by_name("model") as runner:
        first = runner.board
        assert runner.judge(Check(rule, opens_it_again, 0.0)).verdict is Verdict.PASSED
        assert runner.board is first
        assert runner.judge(Check(rule, forgets_a_stream, 0.0)).verdict is Verdict.PASSED
        assert runner.judge(Check(rule, opens_it_again, 0.0)).verdict is Verdict.PASSED


def test_the_referee_goes_home_with_its_check() -> None:
    """Left on, it would count on, and make a model work frame by frame."""

    def watches(rig: Rig) -> None:
        """Watches an address range."""
        rig.monitor(0, 4095, number=1)

    with Runner.by_name("model") as runner:
        runner.judge(Check(all_rules()["WRT-STA-02"], watches, 0.0))
        assert runner.board.read_register(monitor_register(1, regs.MONITOR_CONTROL)) == 0


def test_the_trace_knows_caller_context_and_order() -> None:
    seen: list[Any] = []

    def looks(rig: Rig) -> None:
        """Looks."""
        miniport = rig.miniport("wavert")
        port = rig.wavert()
        miniport.init(None, None, port)
        stream = miniport.new_stream(PortWaveRTStream(port.pages), 0, False, rig.formats[0])
        mdl = stream.allocate_audio_buffer(4096).AudioBufferMdl
        with rig.system.at(IRQL.DISPATCH):
            stream.get_position()
            stream.set_state(KSSTATE.ACQUIRE)
        stream.set_state(KSSTATE.STOP)
        stream.free_audio_buffer(mdl, 4096)
        seen.extend([rig.trace.wrong_contexts("port"), rig.trace.of("allocate_pages_for_mdl", caller="miniport")])

    assert judge(looks).verdict is Verdict.PASSED
    wrong, allocations = seen
    assert [call.method for call in wrong] == ["set_state"] and wrong[0].level is IRQL.DISPATCH
    assert len(allocations) == 1 and allocations[0].depth == 1
