"""What the miniports share: formats that fit the board and the open streams, and the converter's rate. On the model."""

from collections.abc import Iterator

import msgspec
import pytest

from codecrig.board import Board, open_board
from codecrig.link import registers as regs
from codecrig.link.registers import ConverterRate, InputSelect, StreamState
from codecrig.miniport.engine import Descriptor, EngineMiniport
from codecrig.portcls import NTSTATUS, Format, NtStatusError

RATE_LSB = regs.FPGA_CONVERTER_CONTROL_RATE_LSB


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        rates = [48000, 96000, 32000, 24000, 16000, 8000]
        opened.profile = msgspec.structs.replace(opened.profile, rates=rates)
        yield opened


@pytest.fixture
def miniport(board: Board) -> EngineMiniport:
    return EngineMiniport(board)


@pytest.mark.parametrize("rate", [48000, 96000, 32000, 24000, 16000, 8000])
def test_run_sets_the_rate_and_keeps_the_rest_of_the_converter(
    board: Board, miniport: EngineMiniport, rate: int
) -> None:
    stream = miniport.open_engine_stream(0, False, Format(rate, 2, 16))
    stream.program([Descriptor(0, 4096)], causes=0)
    before = 1 | InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, before | ConverterRate.CLOCKS_512 << RATE_LSB)
    stream.command(StreamState.RUN)
    control = board.read_register(regs.FPGA_CONVERTER_CONTROL)
    assert control & ~(7 << RATE_LSB) == before
    assert board.read_register(regs.FPGA_FRAME_CLOCKS) == 12_288_000 // rate == stream.frame_clocks
    board.sleep(0.01)
    assert stream.snapshot().frames == pytest.approx(rate // 100, abs=rate // 1000)
    stream.command(StreamState.STOP)


def test_open_streams_share_one_rate(miniport: EngineMiniport) -> None:
    render = miniport.open_engine_stream(0, False, Format(48000, 2, 16))
    with pytest.raises(NtStatusError, match="32000 Hz; pin 0 has the clock at 48000") as caught:
        miniport.open_engine_stream(1, True, Format(32000, 2, 16))
    assert caught.value.status is NTSTATUS.INVALID_PARAMETER
    miniport.check_format(0, Format(32000, 2, 16))
    render.close()
    miniport.open_engine_stream(1, True, Format(32000, 2, 16)).close()


def test_too_many_pieces_are_refused_before_anything_is_written(board: Board, miniport: EngineMiniport) -> None:
    stream = miniport.open_engine_stream(0, False, Format(48000, 2, 16))
    with pytest.raises(NtStatusError, match="expected at most 64 pieces; found 65") as caught:
        stream.program([Descriptor(0, 4)] * 65, causes=0)
    assert caught.value.status is NTSTATUS.INSUFFICIENT_RESOURCES
    assert not any(board.read_memory(stream.ring_base, 65 * 16))
