"""One stream of the engine: the host's settings, what the host reads, and what the engine works with."""

from dataclasses import dataclass, field

from codecrig.link.registers import RevokeResult, StreamState

FIFO_BYTES = 64
"""What the FIFO of one stream holds, in the stream's own format."""
SHORTEST_INTERVAL_BYTES = 64
"""INTERVAL_BYTES below this mean none."""


@dataclass(frozen=True, slots=True)
class SnapshotModel:
    """What a snapshot latches; all fields of one tick."""

    state: StreamState = StreamState.STOP
    fault: bool = False
    ended: bool = False
    time_ticks: int = 0
    frames: int = 0
    moved_bytes: int = 0
    descriptors: int = 0
    fifo_bytes: int = 0
    index: int = 0
    frame_ticks: int = 0


@dataclass(slots=True)
class StreamModel:
    """A stream. What STOP forgets is set in `wipe`."""

    number: int

    # Settings of the host.
    control: int = 0
    config: int = 0
    ring_base: int = 0
    ring_size: int = 0
    producer: int = 0
    interval_bytes: int = 0
    revoke: int = 0

    settings_written: bool = False
    """CONFIG, RING_BASE or RING_SIZE was written since the engine looked last."""

    # Read by the host, kept over STOP.
    state: StreamState = StreamState.STOP
    fault: bool = False
    silent: bool = False
    """END_OF_STREAM was reached, and the converter has used up what was before it."""
    underruns: int = 0
    overruns: int = 0
    interval_left: int = 0
    revoke_result: RevokeResult = RevokeResult.UNUSED
    revoke_left: int = 0
    high_water: int = 0
    start_ticks: int = 0
    packet_ticks: int = 0
    snapshot: SnapshotModel = field(default_factory=SnapshotModel)
    snapshots: int = 0

    # Taken over at the first RUN behind STOP.
    started: bool = False
    capture: bool = False
    queue: bool = False
    base: int = 0
    size: int = 1
    """RING_BASE and RING_SIZE in force."""
    interval_on: bool = False
    container_bytes: int = 1
    channels: int = 1
    block_bytes: int = 1

    # At work.
    delivered: bool = False
    """A frame was converted since STOP."""
    in_gap: bool = False
    fresh: bool = False
    """In RUN, and no frame was converted since."""
    ended: bool = False
    """A descriptor with END_OF_STREAM was finished."""
    frames: int = 0
    moved_bytes: int = 0
    descriptors: int = 0
    fifo: bytes = b""
    converted_bytes: int = 0
    """Render: bytes that left the FIFO since STOP."""
    memory_side_bytes: int = 0
    """Bytes that the FIFO took from or gave to memory since STOP."""
    mark: int | None = None
    """Render: the place in the stream, in bytes, where a descriptor begins that no frame has reached."""
    index: int = 0
    address: int = 0
    remaining: int = 0
    """Bytes of the current descriptor that were not moved. 0: it has not been read."""
    tag: int = 0
    flags: int = 0

    @property
    def is_streaming(self) -> bool:
        """True while the converter is served."""
        return self.state is StreamState.RUN and not self.fault

    @property
    def queued(self) -> int:
        """Queue: descriptors that wait, as the engine counts them."""
        return (self.producer - self.descriptors) & 0xFFFF

    def wipe(self) -> None:
        """STOP: forget where the stream was."""
        self.state = StreamState.STOP
        self.fault = self.silent = self.ended = self.started = False
        self.capture = self.queue = self.delivered = self.in_gap = self.fresh = self.interval_on = False
        self.container_bytes = self.channels = self.block_bytes = 1
        self.frames = self.moved_bytes = self.descriptors = self.converted_bytes = 0
        self.memory_side_bytes = 0
        self.fifo = b""
        self.mark = None
        self.index = self.address = self.remaining = self.tag = self.flags = 0
