"""The flashed firmware in the emulator: short journeys as on `twin`, and the tests of the emulator itself."""

import os
import shutil
import subprocess
from pathlib import Path

from codecrig import client
from codecrig.board import open_board
from codecrig.link import Request, Status
from codecrig.link import registers as regs
from codecrig.portcls.formats import Format
from codecrig.twin import build_emulation

EMULATOR = Path(__file__).resolve().parents[3] / "firmware" / "emulator"


def test_audio_goes_round_bit_exact() -> None:
    form = Format(48000, 2, 16)
    played = bytes((index * 37 + index // 256 * 11 + 1) & 0xFF for index in range(4800 * form.block_bytes))
    with open_board("twin-rp2040") as board:
        assert board.serial == "C0DEC00000000001"
        run = client.loopback(board, played, form, tail_frames=16)
        assert run.captured is not None and (run.underruns, run.overruns) == (0, 0)
        lead = run.captured.index(played[:64]) // form.block_bytes
        assert lead == 1
        assert run.captured[lead * form.block_bytes :][: len(played)] == played


def test_memory_requests_and_errors() -> None:
    data = bytes(index * 7 & 0xFF for index in range(20000))
    with open_board("twin-rp2040") as board:
        board.write_memory(0x123, data)
        assert board.read_memory(0x123, len(data)) == data
        replies = board.link.exchange([Request.read(0x9000_0000, 4), Request.read(regs.FPGA_ID, 4)])
        assert [reply.status for reply in replies] == [Status.UNMAPPED, Status.OK]
        assert replies[1].data == b"GIRC"


def test_same_run_twice() -> None:
    """The emulator, the RTL and the bus keep step: no time of a run depends on the machine's load."""
    times = []
    for _ in range(2):
        with open_board("twin-rp2040") as board:
            board.write_memory(0, bytes(3000))
            board.sleep(0.01)
            times.append((board.clock.now(), board.bench.statistics()["usb"]["naks"]))
    assert times[0] == times[1]


def test_repairs_of_the_emulator() -> None:
    firmware = build_emulation().firmware
    npm = shutil.which("npm")
    assert npm is not None
    environment = {**os.environ, "CODECRIG_FIRMWARE": str(firmware)}
    done = subprocess.run([npm, "test"], cwd=EMULATOR, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout
