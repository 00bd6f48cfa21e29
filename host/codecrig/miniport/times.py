"""When a frame of a stream was converted, in board time and in host time.

Both come from the board: a frame from the time of the first frame of its run and the frame clock, host time from the
brackets around snapshots. Knows no interface of Windows.
"""

from dataclasses import dataclass
from fractions import Fraction

from codecrig.board import Snapshot

CLOCK_ERROR = Fraction(1, 2000)
"""How far from nominal the rate between board and host clock may be, as far as an old bracket is trusted."""


class HostClock:
    """Host time of board times near the present.

    Each snapshot was taken somewhere between two host times. Brackets are moved to the present at the nominal rate,
    widened by what the clocks may have drifted since, and intersected: what is left is at most as wide as the latest.
    """

    def __init__(self, rate: Fraction) -> None:
        """`rate`: board ticks a second, nominal."""
        self._ns_per_tick = 1_000_000_000 / rate
        self._ticks = 0
        self._low_ns: Fraction | None = None
        self._high_ns = Fraction(0)

    def bracket(self, before_ns: int, after_ns: int, ticks: int) -> None:
        """Board time was `ticks` somewhere between these host times."""
        nominal = ticks * self._ns_per_tick
        low, high = before_ns - nominal, after_ns - nominal
        if self._low_ns is not None:
            drift = abs(ticks - self._ticks) * self._ns_per_tick * CLOCK_ERROR
            low_before, high_before = self._low_ns - drift, self._high_ns + drift
            if low_before <= high and low <= high_before:
                low, high = max(low, low_before), min(high, high_before)
        self._ticks, self._low_ns, self._high_ns = ticks, low, high

    @property
    def error_ns(self) -> int:
        """What `host_ns` may be wrong by, at the latest bracket."""
        assert self._low_ns is not None, "no bracket yet"
        return int((self._high_ns - self._low_ns) / 2)

    def host_ns(self, ticks: int) -> int:
        """Host time of a board time."""
        assert self._low_ns is not None, "no bracket yet"
        return int(ticks * self._ns_per_tick + (self._low_ns + self._high_ns) / 2)


@dataclass(slots=True)
class _Stretch:
    """From one RUN to the next PAUSE."""

    first_frame: int
    run_ticks: int
    """Board time of the order to run."""
    missed: int
    """Frames missed (underruns, overruns) before it."""
    start_ticks: int | None = None
    """Board time of its first frame, once it was converted."""
    end_frame: int = 0
    """Frames converted by its end, as far as seen."""
    whole: bool = True
    """No frame was missed in it."""


class FrameTimes:
    """Board times of the frames of one stream since STOP."""

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []
        self._frame_clocks = 0

    def clear(self) -> None:
        """STOP."""
        self._stretches.clear()

    @property
    def has_run(self) -> bool:
        """True if there was a RUN since STOP."""
        return bool(self._stretches)

    def run(self, run_ticks: int, first_frame: int, missed: int, frame_clocks: int) -> None:
        """RUN was ordered at `run_ticks`, with so many frames behind."""
        self._frame_clocks = frame_clocks
        self._stretches.append(_Stretch(first_frame, run_ticks, missed))

    def look(self, snapshot: Snapshot) -> None:
        """Learn from a snapshot; to be called for one behind each PAUSE at least."""
        if not self._stretches:
            return
        latest = self._stretches[-1]
        if snapshot.frames > latest.first_frame and snapshot.start_ticks >= latest.run_ticks:
            latest.start_ticks = snapshot.start_ticks
        latest.end_frame = snapshot.frames
        latest.whole = snapshot.underruns + snapshot.overruns == latest.missed

    def steady(self, snapshot: Snapshot) -> bool:
        """True if the latest frame of `snapshot` came at the time that the frame clock says."""
        self.look(snapshot)
        ticks = self.of_frame(snapshot.frames - 1)
        # Counted when the engine served it, within a frame of its own service time; then up to a frame passes.
        return ticks is not None and -self._frame_clocks < snapshot.time_ticks - ticks < 2 * self._frame_clocks

    def of_frame(self, frame: int) -> int | None:
        """Board time at which frame number `frame` was converted, within a frame; None if that is not known.

        It may lie in the future: the frame is then due in the stretch that runs.
        """
        for stretch in reversed(self._stretches):
            if stretch.first_frame <= frame and (frame < stretch.end_frame or stretch is self._stretches[-1]):
                if stretch.start_ticks is None or not stretch.whole:
                    return None
                return stretch.start_ticks + (frame - stretch.first_frame) * self._frame_clocks
        return None
