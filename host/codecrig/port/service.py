"""ServiceGroup: the group that PortCls offers to miniports."""

from collections.abc import Callable

from codecrig.portcls import IRQL, NTSTATUS, IServiceGroup, IServiceSink, NtStatusError, System


class Sink(IServiceSink):
    """What a port puts into a service group: calls a function when the group is served."""

    def __init__(self, serve: Callable[[], object]) -> None:
        self._serve = serve

    def request_service(self) -> None:
        self._serve()


class ServiceGroup(IServiceGroup):
    """Sinks that are served together, in deferred context of `system`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._members: list[IServiceSink] = []
        self._queued = False
        self._delayed_supported = False
        self._cancel_delayed: Callable[[], bool] | None = None

    def destroy(self) -> None:
        self._cancel()
        for member in self._members.copy():
            self._drop(member)

    @property
    def members(self) -> tuple[IServiceSink, ...]:
        """The sinks, in the order in which they were added."""
        return tuple(self._members)

    def request_service(self) -> None:
        if not self._queued:
            self._queued = True
            self._system.queue_deferred(self._serve)

    def _serve(self) -> None:
        self._queued = False
        for member in tuple(self._members):
            if member in self._members:  # one served before it may have removed it
                member.request_service()

    def add_member(self, service_sink: IServiceSink) -> None:
        self._passive("add_member")
        service_sink.add_ref()
        self._members.append(service_sink)

    def remove_member(self, service_sink: IServiceSink) -> None:
        self._passive("remove_member")
        self._drop(service_sink)

    def _drop(self, service_sink: IServiceSink) -> None:
        if service_sink in self._members:
            self._members.remove(service_sink)
            service_sink.release()

    def support_delayed_service(self) -> None:
        self._passive("support_delayed_service")
        self._delayed_supported = True

    def request_delayed_service(self, delay: int) -> None:
        if not self._delayed_supported:
            raise NtStatusError(
                NTSTATUS.INVALID_DEVICE_REQUEST, "delayed service: call support_delayed_service of the group first"
            )
        self._cancel()
        self._cancel_delayed = self._system.set_timer(delay, self._serve)

    def cancel_delayed_service(self) -> None:
        self._passive("cancel_delayed_service")
        self._cancel()

    def _passive(self, method: str) -> None:
        self._system.require(IRQL.PASSIVE, f"IServiceGroup.{method}")

    def _cancel(self) -> None:
        if self._cancel_delayed is not None:
            self._cancel_delayed()
            self._cancel_delayed = None
