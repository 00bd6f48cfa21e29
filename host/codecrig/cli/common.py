"""What the verbs share: options, exit status, messages, progress, JSON and provenance."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import platform
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from codecrig import package_version
from codecrig.board import (
    Board,
    BoardError,
    BoardProfile,
    Connection,
    EnvironmentProblem,
    board_profile,
    connect,
)
from codecrig.board.errors import FileProblem
from codecrig.link import LinkError
from codecrig.song import SongError
from codecrig.twin import BuildError, MissingTool, TwinControlError, TwinError
from codecrig.wave import WaveError

Command = TypeVar("Command", bound=Callable[..., Any])
ProgressCallback = Callable[[int, int], None]
"""Called with what is done and the whole, in the same unit."""

log = logging.getLogger("codecrig")
log.addHandler(logging.NullHandler())  # messages go where -v and --log-file say, and nowhere else


class ExitStatus(IntEnum):
    """Exit codes that scripts may rely on."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    BUILD_FAILED = 4
    INTERRUPTED = 130

    @staticmethod
    def known(error: Exception) -> bool:
        """True for errors whose message is written for the user."""
        of_files = (WaveError, SongError, OSError)
        known = (*of_files, EnvironmentProblem, BoardError, LinkError, BuildError, TwinError, TwinControlError)
        return isinstance(error, known)

    @classmethod
    def of(cls, error: Exception) -> ExitStatus:
        """The status that an error ends with."""
        if isinstance(error, WaveError | SongError | FileProblem):
            return cls.USAGE
        if isinstance(error, BuildError) and not isinstance(error, MissingTool):
            return cls.BUILD_FAILED
        return cls.ENVIRONMENT


@dataclass
class Session:
    """One run of the program: how much it says, and where its results go."""

    arguments: list[str] = field(default_factory=list)
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 and more with -v."""
    json_path: Path | None = None
    json_written: bool = False
    _log_handlers: list[logging.Handler] = field(default_factory=list)

    @property
    def console(self) -> Console:
        """Where results go for people: standard output, or standard error when JSON takes the former."""
        return Console(
            stderr=self._json_to_stdout, quiet=self.verbosity < 0, soft_wrap=True, highlight=False, emoji=False
        )

    @property
    def _json_to_stdout(self) -> bool:
        return self.json_path == Path("-")

    @property
    def command(self) -> str:
        """The command as it was typed."""
        return shlex.join(["codecrig", *self.arguments])

    def say(self, text: str) -> None:
        """A line of results. Rich markup allowed; escape what is not yours."""
        self.console.print(text)

    def fail(self, message: str, status: ExitStatus, *, hint: str = "") -> None:
        """The one line of an error, and the JSON file if one was asked for."""
        Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(
            f"[red]error:[/] {escape(message)}"
            if status is not ExitStatus.INTERRUPTED
            else f"[yellow]{escape(message)}[/]"
        )
        if hint and self.verbosity >= 0:
            click.echo(hint, err=True)
        log.error("%s", message)
        if self.json_path is not None and not self.json_written:
            verdict = {ExitStatus.INTERRUPTED: "interrupted", ExitStatus.USAGE: "usage"}.get(status, "infra")
            try:
                self.write_json({"verdict": verdict, "error": message}, status)
            except OSError as error:
                click.echo(f"error: {self.json_path}: cannot be written: {error.strerror}", err=True)

    def write_json(self, result: dict[str, Any], status: ExitStatus, path: Path | None = None) -> None:
        """Writes `result` with command and exit status to `path`, and to --json if that was given."""
        whole = {
            "command": self.command,
            "codecrig_version": package_version(),
            "exit_status": int(status),
            "interrupted": status is ExitStatus.INTERRUPTED,
            **result,
        }
        text = json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        for target in (path, self.json_path):
            if target == Path("-"):
                click.echo(text, nl=False)
            elif target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
        self.json_written = self.json_path is not None

    @contextmanager
    def progress(self, what: str) -> Iterator[ProgressCallback]:
        """A bar on standard error while something long runs; nothing when that is no terminal, or with -q."""
        console = Console(stderr=True)
        begun = False

        def note(done: int, total: int) -> None:
            nonlocal begun
            if done > 0 and not begun:
                begun = True
                log.info("%s: under way", what)

        if self.verbosity < 0 or not console.is_terminal:
            yield note
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(what), total=None)

            def show(done: int, total: int) -> None:
                note(done, total)
                bar.update(task, completed=done, total=total or None)

            yield show

    def set_verbosity(self, level: int) -> None:
        self.verbosity = level
        logging.getLogger("codecrig").setLevel(logging.DEBUG)
        if level > 0 and not any(type(each) is logging.StreamHandler for each in self._log_handlers):
            handler = logging.StreamHandler()
            handler.setLevel(logging.DEBUG if level > 1 else logging.INFO)
            self._add_handler(handler, "%(name)s: %(message)s")

    def set_log_file(self, path: Path) -> None:
        logging.getLogger("codecrig").setLevel(logging.DEBUG)
        try:
            self._add_handler(
                logging.FileHandler(path, encoding="utf-8"), "%(asctime)s %(levelname)s %(name)s: %(message)s"
            )
        except OSError as error:
            raise click.BadParameter(f"{path}: cannot be written: {error.strerror}", param_hint="--log-file") from error
        log.info("%s", self.command)

    def _add_handler(self, handler: logging.Handler, form: str) -> None:
        handler.setFormatter(logging.Formatter(form))
        logging.getLogger("codecrig").addHandler(handler)
        self._log_handlers.append(handler)

    def close(self) -> None:
        """Lets go of log files."""
        for handler in self._log_handlers:
            logging.getLogger("codecrig").removeHandler(handler)
            handler.close()
        self._log_handlers.clear()


def pass_session(function: Command) -> Command:
    """Gives the verb its Session as first argument."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        session = click.get_current_context().find_object(Session)
        return function(session or Session(), *arguments, **options)

    return wrapper  # type: ignore[return-value]


def _session(context: click.Context) -> Session:
    return context.ensure_object(Session)


def _on_verbose(context: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        _session(context).set_verbosity(value)


def _on_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _session(context).set_verbosity(-1)


def _on_log_file(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        _session(context).set_log_file(value)


def _on_json(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    _session(context).json_path = value


FILE = click.Path(path_type=Path)


def verbosity_options(function: Command) -> Command:
    """-v, -q and --log-file."""
    for option in (
        click.option(
            "--log-file", type=FILE, metavar="FILE", expose_value=False, is_eager=True, callback=_on_log_file,
            help="Write a detailed log.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, is_eager=True, callback=_on_quiet,
            help="Say errors only.",
        ),
        click.option(
            "-v", "--verbose", count=True, expose_value=False, is_eager=True, callback=_on_verbose,
            help="Say more, with tracebacks; -vv: everything.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def json_option(function: Command) -> Command:
    """--json FILE."""
    return click.option(
        "--json", type=FILE, metavar="FILE", expose_value=False, is_eager=True, callback=_on_json,
        help="Write the result as JSON; - for standard output.",
    )(function)  # fmt: skip


@dataclass(frozen=True)
class BoardChoice:
    """Which board, and how it is started."""

    name: str
    serial: str | None
    profile: Path | None
    clock_ppm: float | None
    pace: str
    trace: Path | None
    record: Path | None
    defect: str | None = None

    def board_profile(self) -> BoardProfile:
        """The board's promises, before it is opened. Raises EnvironmentProblem."""
        return board_profile(self.name, self.profile)

    def open(self, session: Session) -> Board:
        """The board, open; a twin is built first if need be."""
        return self.connect(session).board()

    def connect(self, session: Session) -> Connection:
        """The way to the board, which may not be ready for use; a twin is built first if need be."""
        log.info("opening board %s", self.name)
        if ":" not in self.name:  # a board of ours, which may have to be built first
            profile = self.board_profile()
            if profile.kind == "twin":
                self._build_twin(session, emulated=profile.microcontroller == "rp2040")
        with session.progress(f"starting {self.name}"):
            connection = connect(
                self.name,
                serial=self.serial,
                profile=self.profile,
                clock_ppm=self.clock_ppm,
                pace="real" if self.pace == "real" else "virtual",
                trace=self.trace,
                record=self.record,
                defect=self.defect,
            )
        log.info("board %s, serial %s, is there", connection.profile.name, connection.link.serial)
        return connection

    def _build_twin(self, session: Session, emulated: bool) -> None:
        """Builds on first use, and says so: it takes a minute or two."""
        from codecrig import twin

        console = Console(stderr=True, quiet=session.verbosity < 0, highlight=False)
        shown = console.status("twin") if console.is_terminal else nullcontext()
        with shown as status:

            def say(text: str) -> None:
                log.info("%s", text)
                if status is not None:
                    status.update(escape(text))
                else:
                    console.print(escape(text), soft_wrap=True)

            twin.build(say, trace=self.trace is not None, defects=self.defect is not None)
            if emulated:
                twin.build_emulation(say)


def board_options(function: Command) -> Command:
    """--board and what belongs to it; the verb gets one `choice: BoardChoice`."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        names = ("serial", "profile", "clock_ppm", "pace", "trace", "record")
        choice = BoardChoice(options.pop("board"), *(options.pop(name) for name in names))
        return function(*arguments, choice=choice, **options)

    result: Any = wrapper
    for option in (
        click.option(
            "--record", type=FILE, metavar="FILE",
            help="Write down all that passes between host and board; --board replay:FILE runs from it.",
        ),
        click.option("--trace", type=FILE, metavar="FILE", help="Twin: write all signals as FST (slow)."),
        click.option(
            "--pace", type=click.Choice(["virtual", "real"]), default="virtual", show_default=True,
            help="Twin: as fast as it goes, or tied to the wall clock.",
        ),
        click.option(
            "--clock-ppm", type=float, metavar="PPM", help="Simulated boards: how fast the board's clock runs."
        ),
        click.option("--profile", type=FILE, metavar="FILE", help="Another board.toml for this board."),
        click.option("--serial", metavar="TEXT", help="The board with this serial number, of several alike."),
        click.option(
            "--board", default="twin", show_default=True, metavar="NAME", help="Board: see `codecrig list`."
        ),
    ):  # fmt: skip
        result = option(result)
    return result


def provenance(session: Session, board: Board, choice: BoardChoice) -> dict[str, str]:
    """What a result was made with, in words."""
    identity = board.identity()
    bridge = "none (no bridge on this link)"
    if identity.bridge_version is not None:
        bridge = f"{identity.bridge_version}, build {identity.bridge_build or 0:08X}"
    return {
        "Board": f"{board.profile.name}: {board.profile.description}",
        "Serial": board.serial or "none",
        "Firmware": bridge,
        "Bitstream": f"{identity.fpga_version}, build {identity.fpga_build:08X}",
        "Simulated clock": _simulated_clock(board, choice),
        "Package": f"codecrig {package_version()}, Python {platform.python_version()}",
        "Machine": f"{platform.system()} {platform.machine()}",
        "Command": session.command,
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def _simulated_clock(board: Board, choice: BoardChoice) -> str:
    if board.profile.kind == "usb":
        return "no, a physical board"
    if choice.clock_ppm is not None:
        return f"{choice.clock_ppm:+g} ppm, by --clock-ppm"
    return f"{board.profile.clock_ppm:+g} ppm, by the profile"


def sha256_of(path: Path) -> str:
    """Hash of a file, as `sha256sum` says it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain(value: Any) -> Any:
    """`value` for JSON: numpy numbers become Python's, infinities and NaN become null."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def make_folder(path: Path, *names: str, keep: Path | None = None) -> None:
    """Creates an output folder, or says in one line why not.

    Files `names` of an earlier run are removed: nobody shall take them for this one's, should it fail. `keep` must
    not be among them.
    """
    if keep is not None and any((path / name).resolve() == keep.resolve() for name in names):
        raise click.BadParameter(f"{keep} would be overwritten; choose another folder", param_hint="--out")
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in names:
            (path / name).unlink(missing_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{path}: cannot be written: {error.strerror}", param_hint="--out") from error
