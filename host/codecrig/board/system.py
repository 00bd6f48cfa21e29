"""`BoardSystem`: the services that ports and miniports are given, over a board."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from codecrig.board.board import Board
from codecrig.portcls import REFERENCE_TIME_PER_SECOND, KEvent, MemoryView, System
from codecrig.portcls.memory import PAGE_BYTES


class BoardSystem(System):
    """Memory, waiting and timers in board time, and the host's clock of one board.

    The board's events arrive as interrupts, while somebody waits and between two parts of a long access to memory.
    The last page of audio memory is left out: miniports keep their descriptors there.
    """

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self._memory = board.memory_view(0, board.profile.memory.audio_bytes - PAGE_BYTES)
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._timer_numbers = count()
        board.events.deliver_through(self.interrupt)

    @property
    def memory(self) -> MemoryView:
        return self._memory

    def wait(self, event: KEvent, timeout_s: float) -> bool:
        return self._pass_time(event.take, timeout_s)

    def sleep(self, seconds: float) -> None:
        self._pass_time(lambda: False, seconds)

    def _pass_time(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Deliver events and run timers until `condition` holds (True) or `timeout_s` of board time passed (False)."""
        self.run_deferred()
        self.run_work_items()
        if condition():
            return True
        self._board.poll()
        end_ticks = self._board.events.time_ticks + self._board.clock.ticks(timeout_s)
        while True:
            self._run_timers()
            self.run_deferred()
            self.run_work_items()
            if condition():
                return True
            if self._board.events.time_ticks >= end_ticks:
                return False
            self._board.pump(min([end_ticks, *(due for due, _, _ in self._timers[:1])]))

    def system_time(self) -> int:
        rate = self._board.clock.rate
        return self._board.events.time_ticks * REFERENCE_TIME_PER_SECOND * rate.denominator // rate.numerator

    def precise_time(self) -> int:
        self._board.clock.now()
        return self.system_time()

    def set_timer(self, due_time: int, call: Callable[[], None]) -> Callable[[], bool]:
        rate = self._board.clock.rate
        ticks = -(-abs(due_time) * rate.numerator // (REFERENCE_TIME_PER_SECOND * rate.denominator))
        timer = (ticks + (self._board.events.time_ticks if due_time < 0 else 0), next(self._timer_numbers), call)
        heapq.heappush(self._timers, timer)

        def cancel() -> bool:
            if timer not in self._timers:
                return False
            self._timers.remove(timer)
            heapq.heapify(self._timers)
            return True

        return cancel

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self._board.events.time_ticks:
            self.queue_deferred(heapq.heappop(self._timers)[2])

    def performance_counter(self) -> int:
        return self._board.link.host_time_ns()

    @property
    def performance_frequency(self) -> int:
        return 1_000_000_000
