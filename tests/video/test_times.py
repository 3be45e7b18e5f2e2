"""The repair of times, over anything that a file may say."""

from fractions import Fraction as Fr
from io import BytesIO
from itertools import accumulate, pairwise
from types import SimpleNamespace

import av
from hypothesis import given
from hypothesis import strategies as st
from midframe.video.read.times import Joins, Rising, squeeze

STEP = Fr(1, 24)
TIMES = st.lists(st.one_of(st.none(), st.fractions(-5, 50, max_denominator=90000)), max_size=60)


@given(TIMES)
def test_repaired_times_rise_and_none_is_lost(times):
    out = list(squeeze(enumerate(times), STEP))
    assert [index for index, _ in out] == list(range(len(times)))
    assert all(a < b for (_, a), (_, b) in pairwise(out))


# Less than a millisecond apart is a repeated time.
@given(
    st.lists(st.fractions(Fr(1, 900), 3, max_denominator=90000), max_size=40).map(lambda x: [*accumulate(x)])
)
def test_times_that_rise_are_left_alone(times):
    assert [time for _, time in squeeze(enumerate(times), STEP)] == times


@given(st.data())
def test_damaged_times_come_back_within_half_a_frame(data):
    """Up to three frames in a row repeat the time before them or have none; later times stay."""
    count = data.draw(st.integers(2, 60))
    true = [k * STEP for k in range(count)]
    said, run = list(true), 0
    for k in range(1, count - 1):
        damaged = run < 3 and data.draw(st.booleans())
        run = run + 1 if damaged else 0
        if damaged:
            said[k] = data.draw(st.sampled_from([None, true[k - run]]))
    out = [time for _, time in squeeze(enumerate(said), STEP)]
    assert all(abs(a - b) <= STEP / 2 for a, b in zip(out, true, strict=True))


def test_a_single_time_that_is_too_large_moves_no_other():
    times = [Fr(k, 24) for k in range(8)]
    said = [*times[:3], Fr(99), *times[4:]]
    assert [time for _, time in squeeze(enumerate(said), STEP)][:3] == times[:3]
    assert [time for _, time in squeeze(enumerate(said), STEP)][4:] == times[4:]


def packet(index, dts, duration):
    return SimpleNamespace(
        stream=SimpleNamespace(index=index, type="audio", rate=48000),
        dts=dts,
        pts=dts,
        duration=duration,
        time_base=Fr(1, 1000),
        size=1,
    )


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), max_size=50))
def test_packets_of_any_times_rise(times):
    rising, out = Rising(), []
    for time in times:
        one = packet(1, time, 20)
        rising(one)
        assert one.pts >= one.dts
        out.append(one.dts * one.time_base)
    assert all(a < b for a, b in pairwise(out))


@given(st.integers(1, 5), st.integers(5, 40), st.integers(0, 9000), st.booleans())
def test_joined_clocks_keep_sound_beside_the_picture(parts, frames, start, sound_first):
    """Every part begins at the same time; picture at 40 ms, sound at 20 ms a packet."""
    joins = Joins(SimpleNamespace(format=SimpleNamespace(name="mpegts")), 0)
    out = {0: [], 1: []}
    for _ in range(parts):
        for k in range(frames):
            picture, *sound = (
                packet(i, start + 40 * k + d, 40 - 20 * i) for i, d in ((0, 0), (1, 0), (1, 20))
            )
            for one in (*sound, picture) if sound_first else (picture, *sound):
                joins(one)
                out[one.stream.index].append(one.dts)
    assert out[0] == [start + 40 * k for k in range(parts * frames)]
    assert all(abs(a - b) <= 20 for a, b in zip(out[0], out[1][::2], strict=True))


def test_sound_with_repeated_times_is_as_long_as_it_was():
    # TrueHD in Matroska: 1200 packets a second, counted in milliseconds.
    with av.open(BytesIO(), "w", format="matroska") as out:
        stream, rising, times = out.add_stream("flac", rate=48000), Rising(), []
        for k in range(1200):
            packet = av.Packet(b"x")
            packet.stream, packet.time_base = stream, Fr(1, 1000)
            packet.pts = packet.dts = k * 1000 // 1200
            rising(packet)
            times.append(packet.dts * packet.time_base)
    assert all(a < b for a, b in pairwise(times))
    assert all(abs(time - Fr(k, 1200)) <= Fr(1, 900) for k, time in enumerate(times))


def test_a_time_that_is_a_tick_later_is_a_repeated_one():
    found = [Fr(k, 24) for k in range(10)]
    found[4:7] = [found[3] + Fr(k, 12288) for k in (1, 2, 3)]
    times = [time for _, time in squeeze([(k, time) for k, time in enumerate(found)], Fr(1, 24))]
    assert times == [Fr(k, 24) for k in range(10)]
