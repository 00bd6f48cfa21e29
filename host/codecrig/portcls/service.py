"""Service groups: how an interrupt of a miniport reaches the port, as abstract classes.

A miniport makes a group with `IPort.new_service_group`, hands it out with its stream, and names it in Notify. The port
puts its sink into the group; a request runs every sink in deferred context.
"""

from abc import ABC, abstractmethod

from .irql import IRQL, context
from .system import System
from .unknown import IUnknown


class IServiceSink(IUnknown, ABC):
    """Somebody who wants to be called when a group is served. Source: IServiceSink."""

    @abstractmethod
    @context(IRQL.DISPATCH)
    def request_service(self) -> None:
        """Something may have happened: look at positions and counters, never at how often this is called. Deferred.

        Source: IServiceSink::RequestService.
        """


class IServiceGroup(IServiceSink):
    """A set of sinks that are served together. A group is a sink itself and can nest. Source: IServiceGroup."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def request_service(self) -> None:
        """Serve all members soon, in deferred context; requests in between merge. Any context.

        Source: IServiceGroup::RequestService.
        """

    @abstractmethod
    def add_member(self, service_sink: IServiceSink) -> None:
        """Take a reference on the sink and serve it from now on. Passive. Source: IServiceGroup::AddMember."""

    @abstractmethod
    def remove_member(self, service_sink: IServiceSink) -> None:
        """Drop the sink; it is never called again, also if a request was pending. Passive.

        Source: IServiceGroup::RemoveMember.
        """

    @abstractmethod
    def support_delayed_service(self) -> None:
        """Make delayed requests possible; called once before the first. Passive.

        Source: IServiceGroup::SupportDelayedService.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def request_delayed_service(self, delay: int) -> None:
        """Serve later: `delay` in 100 ns, negative relative to now, else absolute system time. Any context.

        Raises INVALID_DEVICE_REQUEST without `support_delayed_service`.
        Source: IServiceGroup::RequestDelayedService.
        """

    @abstractmethod
    def cancel_delayed_service(self) -> None:
        """Forget a delayed request that has not been served yet. Passive.

        Source: IServiceGroup::CancelDelayedService.
        """


class IPort(IUnknown, ABC):
    """What every port object offers a miniport: the machine's services. Source: IPort; PcNewServiceGroup."""

    @property
    @abstractmethod
    def system(self) -> System:
        """The machine: levels, deferred calls, the performance counter."""

    @abstractmethod
    def new_service_group(self) -> IServiceGroup:
        """An empty group with one reference for the caller. Passive. Source: PcNewServiceGroup."""
