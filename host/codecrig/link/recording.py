"""A run written down, and played back as a board.

`Recorder` stands between a board and its link and writes each exchange as it happens; `ReplayLink` answers from such a
file. A replay checks that the host asks for the same things in the same order, and names the first request that
differs. So a run at a bench can be sent to somebody else, and be repeated where there is no board.

The file is compressed JSON, one value a line. The first holds what the run was made with (`Heading`); then come

    ["x", us, [[operation, address, length, data], ...], [[status, data], ...]]   an exchange, begun at `us` of the run
    ["e", us, [[operation, address, length, data], ...], text]                    an exchange that failed
    ["t", ns]                                                                     the host's clock was read
    ["b", operation, arguments, answer]                                           the bench was asked for something
    ["l"]                                                                         it was sent into its boot loader
    ["end"]                                                                       the board was closed

with data in base64. A file without its end comes from a run that was cut off; it can be replayed as far as it goes.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from codecrig.link import Control, Link, LinkError, Reply, Request
from codecrig.link.registers import Operation, Status

FORMAT = 1
_FLUSH_LINES = 32
"""A run that dies loses at most as many lines."""


class RecordingProblem(LinkError):
    """A recording that cannot be written or read. The message says what was expected, what was found, what to do."""


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a recording: what the run was made with."""

    codecrig_recording: int = FORMAT
    package: str
    started: str
    """Date and time, UTC."""
    board: str
    link: str
    serial: str
    bench: list[str]
    """Capabilities of the bench."""
    profile: dict[str, Any]
    """The board's profile, as in its board.toml."""


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _requests(requests: Sequence[Request]) -> list[list[Any]]:
    return [[int(each.operation), each.address, each.length, _encoded(each.data)] for each in requests]


def _described(request: list[Any], first: int = 0) -> str:
    """In words, with 8 bytes of its data from byte `first` on."""
    operation, address, length, data = request
    text = f"{Operation(operation).name} of {length} bytes at 0x{address:08X}"
    if not data:
        return text
    return f"{text}, byte {first} on {base64.b64decode(data)[first : first + 8].hex(' ')}"


def _first_difference(one: list[Any], other: list[Any]) -> int:
    """Where the data of two requests part; 0 if they differ in anything else."""
    if one[:3] != other[:3]:
        return 0
    pairs = zip(base64.b64decode(one[3]), base64.b64decode(other[3]), strict=True)
    return next(index for index, (left, right) in enumerate(pairs) if left != right)


class Recorder:
    """Writes what passes through the link and the control channel that it wraps."""

    def __init__(self, file: Path) -> None:
        """Raises RecordingProblem if `file` cannot be written."""
        self._path = file
        try:
            self._file: IO[bytes] | None = file.open("wb")
        except OSError as error:
            raise RecordingProblem(
                f"expected to write the recording {file}; found: {error.strerror}; next step: name another file"
            ) from error
        self._compress = zlib.compressobj(6, zlib.DEFLATED, 31)
        self._lines = 0
        self._start = time.monotonic_ns()

    def heading(self, heading: Heading) -> None:
        """The first line. To be written before anything else."""
        self._put(msgspec.to_builtins(heading))

    def link(self, link: Link) -> Link:
        """A link that does what `link` does, and is written down."""
        return _RecordedLink(link, self)

    def control(self, control: Control) -> Control:
        """The same for the control channel of a bench."""
        return _RecordedControl(control, self)

    def close(self) -> None:
        """The end of the run. Closing twice is harmless."""
        if self._file is not None:
            self._put(["end"])
            try:
                self._file.write(self._compress.flush())
                self._file.close()
            except OSError as error:
                self._fail(error)
            self._file = None

    def since_start_us(self) -> int:
        """Wall-clock time of this run so far; a replay does not look at it."""
        return (time.monotonic_ns() - self._start) // 1000

    def _put(self, line: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write(self._compress.compress(json.dumps(line, separators=(",", ":")).encode() + b"\n"))
            self._lines += 1
            if self._lines % _FLUSH_LINES == 0:
                self._file.write(self._compress.flush(zlib.Z_SYNC_FLUSH))
                self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        self._file = None
        raise RecordingProblem(
            f"expected to write the recording {self._path}; found: {error.strerror}; next step: make room, run again"
        ) from error


class _RecordedLink(Link):
    def __init__(self, link: Link, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder
        self.name = link.name
        self.serial = link.serial

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        return self._noted(requests, lambda: self._link.exchange(requests))

    def send(self, requests: Sequence[Request]) -> None:
        with self._failure_noted(requests):
            self._link.send(requests)
        self._ahead.append(requests)

    def receive(self) -> list[Reply]:
        return self._noted(self._ahead.popleft(), self._link.receive)

    def _noted(self, requests: Sequence[Request], ask: Callable[[], list[Reply]]) -> list[Reply]:
        began = self._recorder.since_start_us()
        with self._failure_noted(requests):
            replies = ask()
        answers = [[int(reply.status), _encoded(reply.data)] for reply in replies]
        self._recorder._put(["x", began, _requests(requests), answers])
        return replies

    @contextmanager
    def _failure_noted(self, requests: Sequence[Request]) -> Iterator[None]:
        began = self._recorder.since_start_us()
        try:
            yield
        except LinkError as error:
            self._ahead.clear()
            self._recorder._put(["e", began, _requests(requests), str(error)])
            raise

    def host_time_ns(self) -> int:
        now = self._link.host_time_ns()
        self._recorder._put(["t", now])
        return now

    def enter_boot_loader(self) -> None:
        self._link.enter_boot_loader()
        self._recorder._put(["l"])

    def close(self) -> None:
        self._link.close()


class _RecordedControl:
    def __init__(self, control: Control, recorder: Recorder) -> None:
        self._control = control
        self._recorder = recorder

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        answer = self._control.call(operation, **arguments)
        self._recorder._put(["b", operation, arguments, answer])
        return answer


class Recording:
    """A recording, read line by line."""

    def __init__(self, file: Path) -> None:
        """Raises RecordingProblem if `file` is not a recording of this format."""
        self.path = file
        try:
            text, self.complete = _inflate(file.read_bytes())
        except OSError as error:
            self._refuse(error.strerror or str(error))
        except zlib.error as error:
            self._refuse(f"a file that is not compressed as a recording is ({error})")
        lines = text.split(b"\n")
        lines.pop()  # empty, or cut off in the middle
        try:
            self.heading = msgspec.json.decode(lines[0] if lines else b"", type=Heading)
            self.lines: list[list[Any]] = [json.loads(line) for line in lines[1:]]
        except (msgspec.DecodeError, ValueError) as error:
            self._refuse(f"other contents ({error})")
        if self.heading.codecrig_recording != FORMAT:
            self._refuse(f"one of format {self.heading.codecrig_recording}, made by {self.heading.package}")

    def _refuse(self, found: str) -> NoReturn:
        raise RecordingProblem(
            f"expected {self.path} to be a recording of format {FORMAT}; found {found}; "
            f"next step: name a file written by --record"
        )


def _inflate(data: bytes) -> tuple[bytes, bool]:
    """The text, and whether the file is whole."""
    decompress = zlib.decompressobj(31)
    return decompress.decompress(data), decompress.eof


class ReplayLink(Link):
    """The board of a recording. Each step must be the next one of the file, else LinkError names it."""

    def __init__(self, recording: Recording) -> None:
        self._path = recording.path
        self._lines = recording.lines
        self._next = 0
        self._exchanges = 0
        self.name = f"replay of {recording.heading.link}"
        self.serial = recording.heading.serial

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        asked = _requests(requests)
        _, _, recorded, answer = self._take(("x", "e"), f"an exchange that begins with {_described(asked[0])}")
        for number, (expected, found) in enumerate(zip(recorded, asked, strict=False)):
            if expected != found:
                first = _first_difference(expected, found)
                self._differ(f"request {number} to be {_described(expected, first)}", _described(found, first), back=1)
        if len(recorded) != len(asked):
            self._differ(f"{len(recorded)} requests", f"{len(asked)}", back=1)
        self._exchanges += 1
        if isinstance(answer, str):
            raise LinkError(answer)
        return [Reply(Status(status), base64.b64decode(data)) for status, data in answer]

    def host_time_ns(self) -> int:
        return int(self._take(("t",), "a look at the host's clock")[1])

    def enter_boot_loader(self) -> None:
        self._take(("l",), "the order to enter the boot loader")

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The bench's answer in the recording."""
        _, expected, expected_arguments, answer = self._take(("b",), f"a call of the bench, {operation}")
        if (expected, expected_arguments) != (operation, json.loads(json.dumps(arguments))):
            self._differ(f"a call of the bench, {expected} {expected_arguments}", f"{operation} {arguments}", back=1)
        return dict(answer)

    def close(self) -> None:
        pass

    def _take(self, kinds: tuple[str, ...], wanted: str) -> list[Any]:
        if self._next >= len(self._lines):
            self._differ("nothing more, the recording was cut off here", wanted)
        line = self._lines[self._next]
        if line[0] not in kinds:
            self._differ(self._what(line), wanted)
        self._next += 1
        return line

    @staticmethod
    def _what(line: list[Any]) -> str:
        if line[0] in ("x", "e"):
            return f"an exchange that begins with {_described(line[2][0])}"
        words = {"t": "a look at the host's clock", "l": "the boot loader's start", "end": "the board to be closed"}
        return words.get(line[0]) or f"a call of the bench, {line[1]}"

    def _differ(self, expected: str, found: str, back: int = 0) -> NoReturn:
        """The line is the next one, or, with `back`, the one just taken."""
        raise LinkError.of(
            f"{expected} (line {self._next + 2 - back} of {self._path}, exchange {self._exchanges})",
            found,
            "replay with the command and the version that made the recording",
        )
