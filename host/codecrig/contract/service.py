"""Checks of the rules SVC: service groups, on the group that the port gives to miniports."""

from __future__ import annotations

from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.link.registers import InputSelect
from codecrig.measure.pattern import ramp
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, IServiceGroup, IServiceSink
from codecrig.wave import unpack_samples

REQUESTS = 5
"""Requests raised while a deferred call is queued."""


class Sink(IServiceSink):
    """Notes the context and the time of each call."""

    def __init__(self, rig: Rig) -> None:
        self._system = rig.system
        self.levels: list[IRQL] = []
        self.times: list[int] = []
        self.in_handler: list[bool] = []
        self.handler_runs = False

    def request_service(self) -> None:
        self.levels.append(self._system.level)
        self.times.append(self._system.system_time())
        self.in_handler.append(self.handler_runs)

    @property
    def count(self) -> int:
        """Calls so far."""
        return len(self.levels)


def _group(rig: Rig) -> IServiceGroup:
    group: IServiceGroup = rig.port("wavecyclic").new_service_group()
    return group


@check("SVC-ADD-01")
def a_removed_sink_is_left_alone(rig: Rig) -> None:
    """Counts the references of a sink around AddMember and RemoveMember, and serves a group whose sink has gone."""
    group, sink, other = _group(rig), Sink(rig), Sink(rig)
    before = sink.reference_count
    group.add_member(sink)
    rig.expect_equal("references behind AddMember", sink.reference_count, before + 1)
    group.add_member(other)
    group.request_service()
    rig.system.run_deferred()
    rig.expect_equal("calls of a member after one request", sink.count, 1)
    group.request_service()
    group.remove_member(sink)
    rig.expect_equal("references behind RemoveMember", sink.reference_count, before)
    rig.system.run_deferred()
    rig.expect_equal("calls behind RemoveMember, with a request pending before it", sink.count, 1)
    rig.expect_equal("calls of the sink that stayed", other.count, 2)
    group.request_service()
    rig.system.run_deferred()
    rig.expect_equal("calls behind RemoveMember", sink.count, 1)
    group.remove_member(other)
    rig.note("sink", f"{before} references before, {sink.reference_count} after; served once", "reference_count")
    group.release()


@check("SVC-REQ-01")
def a_request_is_served_later(rig: Rig) -> None:
    """Requests service in an interrupt handler, and looks where and when each of three members is called."""
    group = _group(rig)
    sinks = [Sink(rig) for _ in range(3)]
    for sink in sinks:
        group.add_member(sink)

    def handler() -> None:
        for sink in sinks:
            sink.handler_runs = True
        group.request_service()
        rig.expect_equal("calls of members inside the caller", [sink.count for sink in sinks], [0, 0, 0])
        for sink in sinks:
            sink.handler_runs = False

    rig.system.interrupt(handler)
    rig.system.run_deferred()
    rig.expect_equal("calls of each member behind the handler", [sink.count for sink in sinks], [1, 1, 1])
    levels = sorted({level.words for sink in sinks for level in sink.levels})
    rig.expect_equal("contexts of these calls", levels, [IRQL.DISPATCH.words])
    rig.note("three members", f"each called once, {levels[0]}", "calls of the sinks")
    for sink in sinks:
        group.remove_member(sink)
    group.release()


@check("SVC-REQ-02")
def requests_merge_and_consumers_do_not_count_them(rig: Rig) -> None:
    """Raises five requests at once, then serves a capture stream far too often and compares what its port copied."""
    group, sink = _group(rig), Sink(rig)
    group.add_member(sink)
    for _ in range(2):
        served = sink.count

        def handler() -> None:
            for _ in range(REQUESTS):
                group.request_service()

        rig.system.interrupt(handler)
        rig.system.run_deferred()
        passes = sink.count - served
        rig.expect_within(f"passes over the members for {REQUESTS} requests at once", passes, 1, REQUESTS)
        rig.note(f"{REQUESTS} requests at once", f"{passes} passes", "calls of the sink")
    group.remove_member(sink)
    group.release()
    form = rig.format_of(24)
    with rig.converter(InputSelect.PATTERN):
        port = rig.port("wavecyclic")
        pin = port.open_pin(1, True, form)
        stream_group = rig.trace.of("new_stream", caller="port")[-1].result.ServiceGroup
        pin.set_state(KSSTATE.RUN)
        captured = b""
        for _ in range(12):
            rig.system.sleep(0.004)
            for _ in range(3):
                stream_group.request_service()
                rig.system.run_deferred()
            captured += pin.read()
        pin.set_state(KSSTATE.PAUSE)
        moved = rig.board.snapshot(1).bytes
        pin.close()
    samples = unpack_samples(captured, form.channels, form.valid_bits, form.container_bits)
    expected = ramp(0, len(samples), form.channels, form.valid_bits)
    rig.expect(len(captured) > 0, "bytes copied by the port", "some", len(captured))
    rig.expect(len(captured) <= moved, "bytes copied by the port", f"at most {moved}, which the device gave",
               len(captured))  # fmt: skip
    wrong = int((samples != expected).any(axis=1).sum())
    rig.expect_equal("frames of the pattern that are wrong, served three times each 4 ms", wrong, 0)
    rig.note("frames captured under extra services", len(samples), "what the port copied")


@check("SVC-DLY-01")
def delayed_service(rig: Rig) -> None:
    """Asks for service later: without support, after a span, at a time, and with a change of mind."""
    system = rig.system
    group, sink = _group(rig), Sink(rig)
    group.add_member(sink)
    rig.expect_status("delayed service without SupportDelayedService",
                      (NTSTATUS.INVALID_DEVICE_REQUEST, NTSTATUS.UNSUCCESSFUL, NTSTATUS.INVALID_DEVICE_STATE,
                       NTSTATUS.INVALID_PARAMETER, NTSTATUS.NOT_SUPPORTED),
                      group.request_delayed_service, -10_000)  # fmt: skip
    group.support_delayed_service()
    system.sleep(0)
    span = 50_000
    for name, delay in (("relative", lambda: -span), ("absolute", lambda: system.system_time() + span)):
        system.sleep(0)
        begin, served = system.system_time(), sink.count
        group.request_delayed_service(delay())
        system.sleep(0.003)
        rig.expect_equal(f"calls before a {name} delay of 5 ms was over", sink.count, served)
        system.sleep(0.005)
        rig.expect_equal(f"calls behind a {name} delay of 5 ms", sink.count, served + 1)
        late = (sink.times[-1] - begin - span) / 10
        rig.expect_within(f"lateness of a {name} request", late, 0, 2000, "us")
        rig.note(f"{name} request over 5 ms", f"served {late:.0f} us late", "system time")
    served = sink.count
    group.request_delayed_service(-span)
    system.sleep(0.001)
    group.cancel_delayed_service()
    system.sleep(0.008)
    rig.expect_equal("calls behind CancelDelayedService", sink.count, served)
    levels = {level.words for level in sink.levels}
    rig.expect_equal("contexts of all calls", levels, {IRQL.DISPATCH.words})
    group.remove_member(sink)
    group.release()
