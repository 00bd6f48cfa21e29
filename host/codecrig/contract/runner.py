"""Runs checks on a board and turns whatever happens into a verdict. No check can stop the others."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from codecrig.board import BenchMissing, Board, BoardError, EnvironmentProblem, open_board, stream_register
from codecrig.contract.checks import Check
from codecrig.contract.rig import Objects, Rig
from codecrig.contract.verdict import NotJudged, RuleFailed, RuleResult, RuleSkipped, Verdict
from codecrig.link import LinkError, Request
from codecrig.link import registers as regs
from codecrig.portcls import IrqlError, NtStatusError
from codecrig.twin import TwinControlError, TwinError

CHECK_LIMIT_S = 60.0
"""Wall clock after which a check counts as hung. The longest needs a few seconds on a twin."""
LONG_FACTOR = 10
"""With --long, wall clock that is added for each second of the span that a rule speaks of: a busy twin is slow."""

_PROTECTED = 0xFF ^ 1 << regs.SPDIF_GATES_ENABLE_LSB
"""Gates of S/PDIF that only protected content closes."""

OpenBoard = Callable[[Objects], Board]
"""Opens the board anew, started as the objects under test have it."""


class Hung(BaseException):
    """The check did not end. Not an Exception: nobody between here and there shall swallow it."""


class Runner:
    """Judges rules on one board, which stays open between checks as long as it is well."""

    def __init__(
        self,
        opening: OpenBoard,
        objects: Objects | None = None,
        *,
        long: bool = False,
        check_limit_s: float | None = CHECK_LIMIT_S,
    ) -> None:
        self._opening = opening
        self.objects = objects or Objects()
        self._long = long
        self._check_limit_s = check_limit_s
        self._board: Board | None = None

    @classmethod
    def by_name(
        cls,
        name: str,
        objects: Objects | None = None,
        *,
        long: bool = False,
        check_limit_s: float | None = CHECK_LIMIT_S,
    ) -> Runner:
        """A runner on the board called `name`."""

        def opening(objects: Objects) -> Board:
            return open_board(name, clock_ppm=objects.clock_ppm, defect=objects.defect)

        return cls(opening, objects, long=long, check_limit_s=check_limit_s)

    @property
    def board(self) -> Board:
        """The board, opened if it is not. Raises what opening raises."""
        if self._board is None:
            self._board = self._opening(self.objects)
        return self._board

    def close(self) -> None:
        """Close the board, stopped."""
        board, self._board = self._board, None
        if board is not None:
            board.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def judge_all(self, checks: Iterable[Check], seed: int) -> Iterator[RuleResult]:
        """Judge each, in an order that `seed` decides."""
        order = list(checks)
        random.Random(seed).shuffle(order)
        for each in order:
            yield self.judge(each)

    def judge(self, check: Check) -> RuleResult:
        """One rule's verdict. Raises nothing but KeyboardInterrupt."""
        result = RuleResult(
            check.rule.id,
            Verdict.PASSED,
            evidence_seconds=check.evidence_seconds,
            full_span=self._long or check.evidence_seconds == 0,
            method=check.method,
        )
        limit_s = self._check_limit_s
        if limit_s is not None and self._long:
            limit_s += LONG_FACTOR * check.evidence_seconds
        begin = time.perf_counter()
        try:
            rig = Rig(self.board, self.objects, long=self._long)
        except Exception as error:
            self._drop_board()
            result.verdict, result.reason = Verdict.INFRA, _one_line(error)
            result.seconds = time.perf_counter() - begin
            return result
        try:
            with _limit(limit_s):
                check.function(rig)
            if check.rule.observe != "host" and not rig.moved_bytes:
                raise NotJudged("the check gives no evidence that the engine moved data")
        except (Exception, Hung) as error:
            _take(error, result, rig, limit_s)
        self._tidy(rig, result)
        result.evidence = rig.evidence
        result.full_span = result.full_span and not rig.part_only
        result.seconds = time.perf_counter() - begin
        return result

    def _tidy(self, rig: Rig, result: RuleResult) -> None:
        """Close what the check left open and see that the board is quiet; else the next check gets a new one."""
        try:
            with _limit(self._check_limit_s):
                problems = rig.close()
                rig.board.events.acknowledge()
                board = rig.board.identity()
                addresses = [stream_register(stream, regs.STREAM_STATUS) for stream in range(board.streams)]
                masks = [3] * board.streams
                if board.peripherals:
                    addresses.append(regs.SPDIF_GATES)
                    masks.append(_PROTECTED)
                found = rig.board.transact([Request.read(address, 4) for address in addresses])
            # A stream, or rights to content, of which somebody still holds a part would meddle with the next check.
            quiet = not any(word[0] & mask for word, mask in zip(found, masks, strict=True))
            quiet = quiet and not rig.board.events.subscribed
        except (Exception, Hung) as error:
            problems, quiet = [error], False
        if problems and result.verdict is Verdict.PASSED:
            _take(problems[0], result, rig, self._check_limit_s)
            result.reason = f"while closing: {result.reason}"
        changed = self.objects.prepare or rig.board is not self._board
        if problems or not quiet or result.verdict is not Verdict.PASSED or changed:
            self._drop_board()

    def _drop_board(self) -> None:
        """Stop and close the board; the next check opens it again."""
        try:
            self.close()
        except Exception:  # noqa: S110 - it is closed all the same, and the next opening says what is wrong
            pass


def _take(error: BaseException, result: RuleResult, rig: Rig, limit_s: float | None) -> None:
    """What an exception means for the verdict."""
    result.reason = _one_line(error)
    result.verdict = Verdict.FAILED
    result.trace = rig.trace.lines()
    raised = [call.name for call in rig.trace.calls if call.error is error]
    where = f" by {raised[-1]}" if raised else ""
    if isinstance(error, RuleFailed):
        result.expected, result.found = error.expected, error.found
    elif isinstance(error, NotJudged):
        result.verdict = Verdict.NOT_JUDGED
    elif isinstance(error, RuleSkipped | BenchMissing):
        result.verdict = Verdict.SKIPPED
    elif isinstance(error, Hung):
        where = f" in {raised[-1]}" if raised else ""
        result.expected, result.found = f"an end within {limit_s:g} s", f"none{where}"
        result.reason = f"hung{where}"
    elif isinstance(error, LinkError | EnvironmentProblem | TwinError | TwinControlError):
        result.verdict = Verdict.INFRA
    else:
        expected = isinstance(error, NtStatusError | IrqlError | BoardError)
        result.expected = "the calls of the check to succeed"
        result.found = f"{_one_line(error) if expected else f'{type(error).__name__}: {_one_line(error)}'}{where}"
        result.reason = f"raised{where}: {result.found}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _limit(seconds: float | None) -> Iterator[None]:
    """Raise Hung inside the block when it takes longer; nothing outside the main thread."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hung()

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
