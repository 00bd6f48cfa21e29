"""KEvent: the event object that a miniport sets and a client waits for.

Waiting is not done here: only a `System` can let time pass.
"""


class KEvent:
    """A synchronisation event: one wake-up for any number of settings before the wait.

    `set_count` counts every setting since creation, for a suite that wants to know how often a miniport set it.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.set_count = 0
        self._signalled = False

    def set(self) -> None:
        """Signal the event. Context: up to deferred call. Source: KeSetEvent."""
        self._signalled = True
        self.set_count += 1

    def clear(self) -> None:
        """Take the signal away without waiting. Source: KeClearEvent."""
        self._signalled = False

    def read_state(self) -> bool:
        """True if signalled; changes nothing. Source: KeReadStateEvent."""
        return self._signalled

    def take(self) -> bool:
        """True if it was signalled, and it no longer is: what a wait does when it is satisfied."""
        signalled = self._signalled
        self._signalled = False
        return signalled

    def __repr__(self) -> str:
        return f"KEvent({self.name!r}, signalled={self._signalled}, set_count={self.set_count})"
