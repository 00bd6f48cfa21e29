"""The tests of stream_engine that hdl/mutate runs: at its ports, with 8 streams of up to 8 channels."""

# Left out: tests that reach inside the module, and those that want 4 streams or 2 channels, or pass with 4 only.
# ruff: noqa: F401
from features import (
    all_removed,
    eight_bit,
    end_of_stream,
    high_water_and_live_words,
    intervals,
    last_flag_is_in_the_event,
    preload_and_wrap,
    queue_goes_round_the_ring,
    queue_grows_and_starves,
    refused_revocations,
    removed_descriptors_are_skipped,
    times_of_starts,
    too_much,
)
from ports import (
    bad_settings_of_all_streams,
    budget_to_the_clock,
    frame_ticks_in_snapshots,
    intervals_without_events_of_descriptors,
    long_visits,
    revocation_at_some_moments,
    revocation_in_all_streams,
    settings_in_run,
    settings_of_all_streams,
)
from test_stream_engine import (
    capture_holds_nothing_back,
    capture_waits_for_its_ack,
    edges_of_memory,
    every_format,
    faults,
    fifo_bytes_of_capture,
    four_streams,
    largest_ring,
    lengths_and_offsets,
    memory_too_slow,
    no_underrun_before_the_first_frame,
    pause_and_resume,
    reset_in_flight,
    ring_beyond_memory,
    snapshot_time_across_a_carry,
    snapshots,
    state_1_is_stop,
    stop_at_any_time,
    whole_memory_as_one_descriptor,
)
