"""Service groups with one defect each, and a port that counts services."""

from __future__ import annotations

from collections.abc import Callable

from codecrig.contract.checks import saboteur
from codecrig.contract.rig import Objects
from codecrig.contract.saboteurs.build import become, each_pin
from codecrig.port.service import ServiceGroup
from codecrig.port.wavecyclic import PortWaveCyclic, WaveCyclicPin
from codecrig.portcls import IServiceGroup, IServiceSink


def with_group(objects: Objects, group: type[ServiceGroup]) -> None:
    """The WaveCyclic port makes groups of that class."""

    class Port(PortWaveCyclic):
        def new_service_group(self) -> IServiceGroup:
            return group(self.system)

    objects.ports["wavecyclic"] = Port


@saboteur("SVC-ADD-01")
def a_group_takes_no_reference(objects: Objects) -> None:
    """AddMember keeps the sink without a reference."""

    class Group(ServiceGroup):
        def add_member(self, service_sink: IServiceSink) -> None:
            self._members.append(service_sink)

        def remove_member(self, service_sink: IServiceSink) -> None:
            self._members.remove(service_sink)

    with_group(objects, Group)


@saboteur("SVC-ADD-01")
def a_group_serves_who_has_gone(objects: Objects) -> None:
    """A request remembers its members when it is made, and serves them though they have left."""

    class Group(ServiceGroup):
        def request_service(self) -> None:
            for member in self.members:
                self._system.queue_deferred(member.request_service)

    with_group(objects, Group)


@saboteur("SVC-REQ-01")
def a_group_serves_in_the_interrupt(objects: Objects) -> None:
    """RequestService calls the members itself."""

    class Group(ServiceGroup):
        def request_service(self) -> None:
            self._serve()

    with_group(objects, Group)


@saboteur("SVC-REQ-01")
def a_group_serves_its_first_member(objects: Objects) -> None:
    """A request reaches only the member added first."""

    class Group(ServiceGroup):
        def _serve(self) -> None:
            self._queued = False
            self._members[0].request_service()

    with_group(objects, Group)


@saboteur("SVC-REQ-02")
def a_group_is_served_once_in_its_life(objects: Objects) -> None:
    """The mark that a deferred call is queued is never taken away."""

    class Group(ServiceGroup):
        def _serve(self) -> None:
            super()._serve()
            self._queued = True

    with_group(objects, Group)


@saboteur("SVC-REQ-02")
def a_group_serves_more_than_was_asked(objects: Objects) -> None:
    """Each request serves the members twice."""

    class Group(ServiceGroup):
        def request_service(self) -> None:
            for _ in range(2):
                self._system.queue_deferred(self._serve)

    with_group(objects, Group)


@saboteur("SVC-REQ-02")
def a_port_counts_services(objects: Objects) -> None:
    """The port copies one notification interval in each service instead of asking for the position."""

    class Pin(WaveCyclicPin):
        def _follow(self) -> None:
            if self._has_run:
                self._device_bytes += self._bytes_of(10)

    each_pin(objects, "wavecyclic", become(Pin))


@saboteur("SVC-DLY-01")
def delayed_service_without_support(objects: Objects) -> None:
    """RequestDelayedService works without SupportDelayedService."""

    class Group(ServiceGroup):
        def request_delayed_service(self, delay: int) -> None:
            self._delayed_supported = True
            super().request_delayed_service(delay)

    with_group(objects, Group)


@saboteur("SVC-DLY-01")
def delays_are_always_relative(objects: Objects) -> None:
    """A time that is not negative is taken as a span, too."""

    class Group(ServiceGroup):
        def request_delayed_service(self, delay: int) -> None:
            super().request_delayed_service(-abs(delay))

    with_group(objects, Group)


@saboteur("SVC-DLY-01")
def cancelling_forgets_the_timer(objects: Objects) -> None:
    """CancelDelayedService forgets that there is a timer, but does not stop it."""

    class Group(ServiceGroup):
        def _cancel(self) -> None:
            self._cancel_delayed: Callable[[], bool] | None = None

    with_group(objects, Group)


@saboteur("SVC-DLY-01")
def delays_in_microseconds(objects: Objects) -> None:
    """Delays count microseconds instead of 100 ns."""

    class Group(ServiceGroup):
        def request_delayed_service(self, delay: int) -> None:
            super().request_delayed_service(delay * 10 if delay < 0 else delay)

    with_group(objects, Group)
