"""Recording a run, and running from it."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from codecrig import client
from codecrig.board import Board, EnvironmentProblem, open_board
from codecrig.board.opening import board_profile
from codecrig.link import Link, LinkError, Reply, Request, Status
from codecrig.link import registers as regs
from codecrig.link.recording import Heading, Recorder, Recording, RecordingProblem, ReplayLink
from codecrig.portcls.formats import Format

HEADING = Heading(package="codecrig 0", started="today", board="b", link="a wire", serial="S1", bench=[], profile={})


class Echo(Link):
    """Reads give the low byte of the address; a WAIT fails."""

    name = "a wire"
    serial = "S1"

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        if any(request.operation == 3 for request in requests):
            raise LinkError("the wire broke")
        return [
            Reply(Status.OK, bytes([request.address & 0xFF]) * request.length) if not request.data
            else Reply(Status.UNMAPPED)
            for request in requests
        ]  # fmt: skip

    def host_time_ns(self) -> int:
        return 12345

    def close(self) -> None:
        pass


class Knob:
    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return {"ok": True, "operation": operation, **arguments}


READ = Request.read(0x4000_0012, 4)
WRITE = Request.write(0x100, bytes(range(40)))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A recording of two exchanges, a failed one, a look at the clock and a call of the bench."""
    file = tmp_path / "run.rec"
    recorder = Recorder(file)
    recorder.heading(HEADING)
    link, control = recorder.link(Echo()), recorder.control(Knob())
    assert link.exchange([READ, WRITE]) == [Reply(Status.OK, b"\x12" * 4), Reply(Status.UNMAPPED)]
    assert control.call("cable", fault="open") == {"ok": True, "operation": "cable", "fault": "open"}
    assert link.host_time_ns() == 12345
    with pytest.raises(LinkError, match="the wire broke"):
        link.exchange([Request.wait(7)])
    link.exchange([READ])
    recorder.close()
    recorder.close()
    return file


def test_a_replay_answers_as_the_board_did(recorded: Path) -> None:
    recording = Recording(recorded)
    assert recording.complete and recording.heading == HEADING
    link = ReplayLink(recording)
    assert (link.name, link.serial) == ("replay of a wire", "S1")
    assert link.exchange([READ, WRITE]) == [Reply(Status.OK, b"\x12" * 4), Reply(Status.UNMAPPED)]
    assert link.call("cable", fault="open") == {"ok": True, "operation": "cable", "fault": "open"}
    assert link.host_time_ns() == 12345
    with pytest.raises(LinkError, match="^the wire broke$"):
        link.exchange([Request.wait(7)])
    assert link.exchange([READ])[0].data == b"\x12" * 4
    with pytest.raises(LinkError, match=r"expected the board to be closed \(line 7 of .*, exchange 3\); found a look"):
        link.host_time_ns()


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ([READ], r"expected 2 requests \(line 2 of .*, exchange 0\); found 1"),
        ([READ, Request.write(0x100, bytes(range(39)) + b"\xff")],
         r"request 1 to be WRITE of 40 bytes at 0x00000100, byte 39 on 27 .*found WRITE of .*byte 39 on ff"),
        ([Request.read(0x4000_0010, 4), WRITE], "request 0 to be READ of 4 bytes at 0x40000012 .*found .*0x40000010"),
        ([READ, Request.read(0x100, 40)], "request 1 to be WRITE .*found READ"),
    ],
)  # fmt: skip
def test_the_first_request_that_differs_is_named(recorded: Path, requests: list[Request], text: str) -> None:
    with pytest.raises(LinkError, match=text):
        ReplayLink(Recording(recorded)).exchange(requests)


def test_other_steps_that_differ_are_named(recorded: Path) -> None:
    link = ReplayLink(Recording(recorded))
    with pytest.raises(LinkError, match="expected an exchange that begins with READ .*found a call of the bench"):
        link.call("cable", fault="open")
    link.exchange([READ, WRITE])
    with pytest.raises(LinkError, match="cable {'fault': 'open'} .*found cable {'fault': 'none'}"):
        link.call("cable", fault="none")


def test_a_run_that_was_cut_off_replays_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "cut.rec"
    recorder = Recorder(file)
    recorder.heading(HEADING)
    link = recorder.link(Echo())
    for number in range(100):
        link.exchange([Request.read(number, 4)])
    recording = Recording(file)  # the process died here
    kept = len(recording.lines)
    assert not recording.complete and 68 <= kept <= 100
    replay = ReplayLink(recording)
    for number in range(kept):
        assert replay.exchange([Request.read(number, 4)])[0].data == bytes([number]) * 4
    with pytest.raises(LinkError, match="expected nothing more, the recording was cut off here"):
        replay.exchange([Request.read(kept, 4)])


def _packed(*lines: Any) -> bytes:
    compress = zlib.compressobj(6, zlib.DEFLATED, 31)
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return compress.compress(text) + compress.flush()


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (b"RIFF", "found a file that is not compressed"),
        (b"", "found other contents"),
        (_packed(["x"]), "found other contents"),
        (_packed({"package": "p"}), "found other contents .*missing required field"),
        (_packed({"codecrig_recording": 2, "package": "codecrig 9", "started": "", "board": "", "link": "",
                  "serial": "", "bench": [], "profile": {}}), "found one of format 2, made by codecrig 9"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused(tmp_path: Path, contents: bytes, text: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(contents)
    with pytest.raises(RecordingProblem, match=text):
        Recording(file)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="found No such file or directory"):
        open_board(f"replay:{tmp_path}/none")
    with pytest.raises(EnvironmentProblem, match="expected to write the recording .*No such file"):
        open_board("model", record=tmp_path / "no" / "file")


def test_a_full_disk_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    recorder = Recorder(Path("/dev/full"))
    recorder.heading(HEADING)
    link = recorder.link(Echo())
    with pytest.raises(RecordingProblem, match="No space left on device; next step: make room"):
        for _ in range(100):
            link.exchange([READ])


def _loopback(board: Board) -> tuple[bytes | None, int]:
    played = bytes(value & 0xFF for value in range(48 * 20 * 4))
    run = client.loopback(board, played, Format(48000, 2, 16))
    return run.captured, board.clock.now()


def test_a_board_that_replays_gives_the_same_run(tmp_path: Path) -> None:
    file = tmp_path / "run.rec"
    with open_board("model", record=file) as board:
        first = _loopback(board)
        board.bench.cable("open")
    assert board_profile(f"replay:{file}") == board_profile("model")
    with open_board(f"replay:{file}") as board:
        assert board.identity().streams == 4 and board.profile.name == "model"
        assert _loopback(board) == first
        board.bench.cable("open")
    with pytest.raises(LinkError, match="expected request 0 .*found READ"), open_board(f"replay:{file}") as board:
        board.read_register(regs.FPGA_SCRATCH)


def test_a_replay_takes_no_settings(tmp_path: Path) -> None:
    file = tmp_path / "run.rec"
    open_board("model", record=file).close()
    with pytest.raises(EnvironmentProblem, match="a replay takes no clock_ppm"):
        open_board(f"replay:{file}", clock_ppm=3.0)


def test_requests_sent_ahead_are_recorded_and_replayed(tmp_path: Path) -> None:
    other = Request.read(0x21, 2)
    recorder = Recorder(tmp_path / "run.rec")
    recorder.heading(HEADING)
    links: list[Link] = [recorder.link(Echo())]
    for turn in range(2):
        link = links[turn]
        link.send([READ])
        link.send([other])
        assert link.receive() == [Reply(Status.OK, b"\x12" * 4)]
        link.send([Request.wait(7)])
        assert link.receive() == [Reply(Status.OK, b"\x21" * 2)]
        with pytest.raises(LinkError, match="the wire broke"):
            link.receive()
        link.close()
        if turn == 0:
            recorder.close()
            links.append(ReplayLink(Recording(tmp_path / "run.rec")))


def test_a_failure_drops_what_else_was_sent_ahead(tmp_path: Path) -> None:
    other = Request.read(0x21, 2)
    recorder = Recorder(tmp_path / "run.rec")
    recorder.heading(HEADING)
    links: list[Link] = [recorder.link(Echo())]
    for turn in range(2):
        link = links[turn]
        link.send([Request.wait(7)])
        link.send([READ])
        with pytest.raises(LinkError, match="the wire broke"):
            link.receive()
        link.send([other])
        assert link.receive() == [Reply(Status.OK, b"\x21" * 2)]
        link.close()
        if turn == 0:
            recorder.close()
            links.append(ReplayLink(Recording(tmp_path / "run.rec")))
