"""Cached memory is given back where that helps, before the allocator fails, and never where memory is ample."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
from fakes import RecordingHost
from midframe.benchmarks import clearing as simulation
from midframe.benchmarks import pressure
from midframe.benchmarks.allocator import Card
from midframe.benchmarks.clearing import POLICIES, Scenario, scenarios, simulate, sweep
from midframe.benchmarks.work import Work
from midframe.engine.host import QuietHost
from midframe.memory.budget import Clearing, Room, cached_bytes, free_bytes
from midframe.nodes._progress import NodeHost
from midframe.vfi_utils import by_fps, by_multiplier
from midframe.video.stream.pipeline import Counted, _Watched

GIB = 2**30
AMPLE, LITTLE, BESIDE = scenarios()


class Memory:
    """A driver and a cache; ``clear`` gives back all but what is stuck."""

    def __init__(self, driver, cached, stuck=0):
        self.driver, self.cached, self.stuck, self.cleared = driver, cached, stuck, []
        self.pairs = 0

    def room(self):
        return Room(self.driver, self.cached)

    def clear(self):
        self.cleared.append(self.pairs)
        given = max(0, self.cached - self.stuck)
        self.driver, self.cached = self.driver + given, self.cached - given

    def run(self, clearing, pairs, taken=lambda pair: 0):
        """``taken(pair)`` bytes go from the driver into the cache in each pair."""
        for pair in range(pairs):
            self.pairs += 1
            size = min(taken(pair), self.driver)
            self.driver, self.cached = self.driver - size, self.cached + size
            clearing.pair_done(100, lambda: self.room().cached, self.room, self.clear)
        return self.cleared


def test_with_ample_memory_it_never_clears():
    assert Memory(100, 10**6).run(Clearing(0), 50) == []
    assert simulate(AMPLE, 0).cleared == []


def test_a_clearing_that_gave_memory_back_is_repeated_when_it_is_due():
    memory = Memory(150, 0)
    assert memory.run(Clearing(0), 40, lambda pair: 20) == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39]
    memory = Memory(50, 0)  # each time the next pair takes all that it gave back
    assert memory.run(Clearing(0), 1030, lambda pair: 50) == list(range(1, 1031))


def test_one_that_gave_nothing_back_makes_the_wait_double():
    memory = Memory(0, 80, stuck=80)
    assert memory.run(Clearing(0), 40) == [1, 3, 7, 15, 31]
    memory = Memory(0, 80, stuck=78)  # not worth it
    memory.clear = lambda: memory.cleared.append(memory.pairs)
    assert memory.run(Clearing(0), 10) == [1, 3, 7]


def test_the_wait_is_never_longer_than_1024_pairs():
    cleared = Memory(0, 80, stuck=80).run(Clearing(0), 5000)
    assert cleared[-3:] == [2047, 3071, 4095]


def test_more_in_the_cache_than_it_could_not_give_back_ends_the_wait():
    memory, clearing = Memory(0, 80, stuck=80), Clearing(0)
    memory.run(clearing, 20)
    memory.driver = 60
    assert memory.run(clearing, 2, lambda pair: 30) == [1, 3, 7, 15, 21, 22]


def test_without_a_cache_there_is_nothing_to_clear():
    assert Memory(0, 0).run(Clearing(0), 20) == []
    assert Memory(0, 9).run(Clearing(0), 20) == []  # under a tenth of what a timestep takes


def test_a_fixed_interval_is_kept_whatever_memory_says():
    for memory in (Memory(10**6, 0), Memory(0, 80), Memory(0, 80, stuck=80)):
        assert memory.run(Clearing(4), 13) == [4, 8, 12]


def test_the_log_tells_what_is_cached(caplog):
    caplog.set_level("INFO")
    Memory(2 * GIB, GIB).run(Clearing(0, lines=True), 1)
    assert "pair 1: 3.00 GiB free, 1.00 of it cached" in caplog.text


# --- the simulated card


def test_a_card_cuts_joins_and_keeps():
    card = Card(GIB)
    first, second = card.allocate(100 * 2**20), card.allocate(2**20)
    assert (card.reserved, card.allocated) == (120 * 2**20, 102 * 2**20)  # small ones share 20 MiB
    card.free(first)
    third = card.allocate(60 * 2**20)
    assert card.reserved == 120 * 2**20  # cut from what was freed
    assert third.segment is not second.segment
    fourth = card.allocate(40 * 2**20)
    card.free(third)
    card.free(fourth)
    assert card.allocate(100 * 2**20).segment is third.segment  # both are one again
    assert card.refused == 0


def test_a_small_block_keeps_a_large_segment():
    card = Card(GIB)
    whole = card.allocate(600 * 2**20)
    card.free(whole)
    kept = card.allocate(30 * 2**20)
    card.empty_cache()
    assert card.reserved == 600 * 2**20
    with pytest.raises(torch.OutOfMemoryError):
        card.allocate(600 * 2**20)
    assert (card.refused, card.failed) == (1, 1)
    card.free(kept)
    card.empty_cache()
    assert card.reserved == 0
    other = Card(GIB)
    other.free(other.allocate(600 * 2**20))
    other.allocate(700 * 2**20)  # as torch does: gives back what is free, and asks again
    assert (other.refused, other.failed) == (1, 0)


def test_under_pressure_it_clears_before_the_allocator_fails():
    for scenario in (LITTLE, BESIDE):
        course = simulate(scenario, 0)
        assert course.cleared
        assert not course.failed
        assert len(course.used) == scenario.pairs
    assert simulate(LITTLE, POLICIES["every 10"]).failed
    assert simulate(LITTLE, POLICIES["never"]).failed


def test_beside_another_program_it_clears_again_and_stops_when_that_is_gone():
    course = simulate(BESIDE, 0)
    assert course.denied == 0
    assert 40 < course.cleared[0] < course.cleared[-1] < 95
    assert len(course.cleared) > 20
    assert simulate(BESIDE, POLICIES["every 10"]).denied > 0
    assert simulate(BESIDE, POLICIES["never"]).denied > 2 * GIB


def test_over_many_cards_it_fails_least():
    found = sweep((2.0, 2.2, 3.2, 3.8, 4.5, 5.5, 8.0), [by_multiplier(4), by_fps(25, 60)])
    failed = {policy: one.failed for policy, one in found.items()}
    assert failed["adaptive"] * 2 < failed["never"] <= failed["every 10"]


def test_a_card_that_is_too_small_ends_the_run():
    course = simulate(Scenario("", GIB, pairs=5, timeline=by_multiplier(2)), 0)
    assert course.failed
    assert len(course.used) < 5


def test_the_command_writes_figures_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulation, "scenarios", lambda: [replace(LITTLE, pairs=12), replace(AMPLE, pairs=2)])
    monkeypatch.setattr(simulation, "_SIZES", (8.0,))
    assert simulation.main(["--out", str(tmp_path / "new")]) == 0
    report = json.loads((tmp_path / "new" / "clearing.json").read_text())
    assert set(report["scenarios"]) == {"little memory", "ample memory"}
    assert report["scenarios"]["little memory"]["adaptive"]["cleared"]
    assert report["sweep"]["adaptive"]["runs"] == 4
    picture = ET.parse(tmp_path / "new" / "clearing.svg").getroot()
    words = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"little memory, adaptive", "ample memory, every 10"} <= set(words)
    assert "little memory, every 10: 1 cleared, 1 failed" in capsys.readouterr().out


# --- whose figures


@pytest.fixture
def card(monkeypatch):
    """A card of 10 GiB, 4 left by the driver, 5 reserved, 2 of these in use."""
    figures = {
        "mem_get_info": (4 * GIB, 10 * GIB),
        "memory_reserved": 5 * GIB,
        "memory_allocated": 2 * GIB,
        "get_per_process_memory_fraction": 1.0,
    }
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device=None, value=value: value, raising=False)


@pytest.mark.parametrize("host", [QuietHost, lambda: NodeHost(None)])
def test_a_host_tells_what_is_only_cached(card, host):
    cuda = torch.device("cuda")
    assert host().free_bytes(cuda) == free_bytes(cuda) == 7 * GIB
    assert host().cached_bytes(cuda) == cached_bytes(cuda) == 3 * GIB
    assert host().cached_bytes(torch.device("cpu")) == 0


def test_hosts_that_stand_before_others_hand_it_on():
    host = RecordingHost()
    host.cached = 12
    assert _Watched(host).cached_bytes(None) == Counted(host, 3).cached_bytes(None) == 12


@pytest.mark.parametrize(("name", "asked"), [("rife-4.25", {"graphs": False}), ("film-narrow", {})])
def test_nothing_is_recorded_where_memory_is_capped(monkeypatch, name, asked):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    work = Work(name, (64, 64), 2, 2, "float32", "cpu")
    model, opened = work.build(), []
    open_session = type(model).open

    def watched(self, height, width, options=None):
        opened.append(dict(options or {}))
        return open_session(self, height, width, options)

    monkeypatch.setattr(type(model), "open", watched)
    assert pressure._run(work, model)["pairs"] == 1
    assert opened == [asked]
