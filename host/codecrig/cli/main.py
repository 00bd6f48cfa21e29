"""The entry point: the group of verbs, and how errors end."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any

import click

from codecrig import package_version
from codecrig.cli import bench, boards, bringup, building, check, demo, doctor, loading, streams
from codecrig.cli.common import ExitStatus, Session, verbosity_options


class _Group(click.Group):
    """Lists its verbs in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_version(), prog_name="codecrig")
@verbosity_options
def group() -> None:
    """Can this audio board keep the promises of a PortCls driver?

    Plays and records through Windows' WaveRT objects on a simulated board or a real one.

    \b
    Start here:
      codecrig demo                    all of it on the simulated board, with a report
      codecrig loopback speech.wav     your own recording, out and back, compared

    Exit codes: 0 passed, 1 a comparison failed, 2 usage, 3 environment, 4 build failed, 130 interrupted.
    """


for _command in (
    demo.demo,
    streams.loopback,
    streams.play,
    streams.record,
    check.check,
    boards.list_,
    boards.info,
    doctor.doctor,
    building.build,
    loading.load,
    bringup.selftest,
    bringup.safe,
    bench.bench,
):
    group.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status. Errors end as one line, or with -v as a traceback too."""
    session = Session(arguments=list(sys.argv[1:] if arguments is None else arguments))
    # Only the main thread may set handlers; elsewhere the program around us decides what SIGTERM does.
    in_charge = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _interrupt) if in_charge else None
    try:
        result: Any = group.main(args=arguments, prog_name="codecrig", standalone_mode=False, obj=session)
        status = result if isinstance(result, int) else ExitStatus.PASSED
    except (KeyboardInterrupt, click.Abort):
        status = ExitStatus.INTERRUPTED
        session.fail("interrupted", status)
    except click.ClickException as error:
        status = ExitStatus.USAGE
        session.fail(error.format_message(), status, hint=_usage(error))
    except Exception as error:
        status = ExitStatus.of(error)
        session.fail(_one_line(error), status)
        if session.verbosity > 0:
            traceback.print_exc()
    finally:
        if in_charge:
            signal.signal(signal.SIGTERM, previous)
        session.close()
    return int(status)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends like Ctrl-C: streams stopped, files written. A run under way has its own way with Ctrl-C."""
    if callable(signal.getsignal(signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)
    else:  # started in the background of a shell, where Ctrl-C is ignored
        raise KeyboardInterrupt


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"try: {context.command_path} --help" if context is not None else ""


def _one_line(error: Exception) -> str:
    if ExitStatus.known(error):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error}; run again with -v and report it with the traceback"
    return " ".join(part.strip() for part in text.splitlines() if part.strip())
