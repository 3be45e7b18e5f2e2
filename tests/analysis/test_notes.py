"""Notes of pairs: what they may hold, and that their text says the same again."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midframe import interpolate
from midframe.analysis.notes import HELD, Analysis, PairNote
from midframe.errors import BadInputError
from stand_in import Blend

NOTES = st.builds(
    PairNote,
    index=st.integers(0, 10**6),
    cut=st.booleans(),
    dissolve=st.booleans(),
    flash=st.booleans(),
    held=st.sampled_from(HELD),
    still=st.floats(0, 1),
    gain=st.floats(1e-3, 1e3),
    motion=st.floats(0, 1e4),
)
PAIRS = st.lists(NOTES, unique_by=lambda note: note.index).map(
    lambda notes: tuple(sorted(notes, key=lambda note: note.index))
)


@given(PAIRS, st.booleans())
def test_the_text_says_the_same_again(pairs, loop):
    analysis = Analysis(pairs, loop)
    again = Analysis.from_json(analysis.to_json())
    assert again == analysis
    assert all(again.note(note.index) == note for note in pairs)


@given(PAIRS)
def test_a_pair_that_is_not_named_is_plain(pairs):
    past = max((note.index for note in pairs), default=-1) + 1
    assert Analysis(pairs).note(past) == PairNote(past)


def test_a_file_keeps_an_analysis_and_a_person_can_leave_pairs_out(tmp_path):
    analysis = Analysis((PairNote(0), PairNote(3, cut=True)), loop=True)
    analysis.save(tmp_path / "a.json")
    assert Analysis.load(tmp_path / "a.json") == analysis
    assert json.loads((tmp_path / "a.json").read_text())["pairs"] == [{"index": 3, "cut": True}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "the file"),
        ('{"loop": false}', '"pairs" is None'),
        ('{"pairs": [], "cuts": []}', '"cuts" in the file'),
        ('{"pairs": [], "loop": 1}', "true or false"),
        ('{"pairs": [{"index": 1, "Cut": true}]}', '"Cut" in entry 1'),
        ('{"pairs": [{"index": 1, "cut": 1}]}', "1 in entry 1"),
        ('{"pairs": [{"index": 1, "cut": true, "cut": false}]}', '"cut" twice'),
        ('{"pairs": [{"cut": true}]}', 'no "index" in entry 1'),
        ('{"pairs": [{"index": 2}, {"index": 2, "cut": true}]}', "pair 2 twice"),
        ('{"pairs": [{"index": -1}]}', "from 0"),
        ('{"pairs": [{"index": true}]}', "from 0"),
        ('{"pairs": [{"index": 0, "held": "same"}]}', "alike"),
        ('{"pairs": [{"index": 0, "still": 1.5}]}', "0 to 1"),
        ('{"pairs": [{"index": 0, "gain": 0}]}', "above 0"),
        ('{"pairs": [{"index": 0, "motion": NaN}]}', "pixels"),
    ],
)
def test_what_is_wrong_in_a_text_is_told(text, says):
    with pytest.raises(BadInputError) as error:
        Analysis.from_json(text)
    assert says in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    for name in ("picture.png", "nothing.json"):
        with pytest.raises(BadInputError, match=name):
            Analysis.load(tmp_path / name)


def test_notes_out_of_order_are_refused():
    with pytest.raises(BadInputError, match="after pair 3"):
        Analysis((PairNote(3), PairNote(1)))


@pytest.mark.parametrize(("frames", "warned"), [(43, True), (44, False)])
def test_an_analysis_of_a_longer_clip_is_said(frames, warned, caplog):
    analysis = Analysis((PairNote(3, held="equal"), PairNote(42, cut=True), PairNote(60)))
    interpolate(torch.zeros(frames, 4, 4, 3), Blend(0.0), 2, analysis=analysis)
    said = "The analysis names frames 42 and 43, and the clip has 43"
    assert any(said in record.message for record in caplog.records) == warned
