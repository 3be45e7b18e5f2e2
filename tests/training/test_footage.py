"""Real clips for training: what is decoded, which triplets are truths, what a sample is made of."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from midframe.errors import BadInputError
from midframe.training import batches as batches_module
from midframe.training.atlas import make_atlas
from midframe.training.batches import Batches, Sources
from midframe.training.footage import LIST, Clip, Store, decode, differences_of, is_held_out
from midframe.training.motion import Sample
from midframe.training.plan import TrainingPlan
from midframe.training.teacher import load_teacher
from midframe.training.train import Run, Trainer, train
from midframe.training.triplets import (
    FootageSampler,
    held_out_triplets,
    relit,
    triplets_of,
    with_teacher_flow,
)
from midframe.vfi_models import architectures
from midframe.weights.synthetic import synthetic_state_dict
from PIL import Image
from safetensors.torch import save_file

SIDE = 208
PAN = 3
"""Pixels that the scene moves to the left from frame to frame."""


def panned(seed, frames):
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 256, (SIDE // 8 + 1, (SIDE + PAN * frames) // 8 + 2, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(scene).resize((SIDE + PAN * frames, SIDE), Image.Resampling.BICUBIC))
    return [scene[:, PAN * i : PAN * i + SIDE] for i in range(frames)]


def names_of(held_out, count):
    """File names that the rule holds out, or does not."""
    found = (f"clip{i}.webp" for i in range(1000) if is_held_out(f"clip{i}.webp") == held_out)
    return [next(found) for _ in range(count)]


def write(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, lossless=True, quality=0, method=0)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Unpacked wheels: two clips to train on, one held out, a copy, one too short and one too small."""
    folder = tmp_path_factory.mktemp("packages")
    first, second = names_of(False, 2)
    write(folder / "media_a" / "templates" / first, panned(1, 12))
    write(folder / "media_b" / "templates" / second, panned(2, 14))
    write(folder / "media_b" / "templates" / names_of(True, 1)[0], panned(3, 12))
    copied = folder / "media_c" / f"zz_{first}"
    copied.parent.mkdir()
    copied.write_bytes((folder / "media_a" / "templates" / first).read_bytes())
    write(folder / "media_c" / "short.webp", panned(4, 5))
    write(folder / "media_c" / "small.webp", [frame[:100, :100] for frame in panned(5, 12)])
    return folder


@pytest.fixture(scope="module")
def store(packages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    decode(packages, folder)
    return Store(folder)


def clip_of(frames):
    return Clip("x.webp", "p", False, 0, len(frames), *frames[0].shape[:2], differences_of(frames))


def test_decoded_frames_are_the_pictures(store):
    assert [clip.frames for clip in store.clips] == [12, 14, 12]
    assert [clip.held_out for clip in store.clips] == [is_held_out(clip.name) for clip in store.clips]
    by_name = {clip.name: clip for clip in store.clips}
    second = by_name[names_of(False, 2)[1]]
    for number in (0, 7, 13):
        assert np.array_equal(store.frame(second, number), panned(2, 14)[number])


def test_stills_cuts_and_repeated_frames_are_no_truth():
    pan = panned(1, 24)
    whole = triplets_of(clip_of(pan), 0, 2)[0]
    assert [t.left for t in whole] == list(range(22))
    repeated = [*pan[:8], pan[7], *pan[8:16]]
    lefts = {t.left for t in triplets_of(clip_of(repeated), 0, 2)[0]}
    assert lefts == set(range(15)) - {6, 7}
    assert triplets_of(clip_of([pan[0]] * 12), 0, 2)[0] == []
    cut = pan[:8] + [255 - frame for frame in pan[8:16]]
    assert not {t.left for t in triplets_of(clip_of(cut), 0, 2)[0]} & {6, 7}


def test_longer_spans_have_other_timesteps():
    triplets = triplets_of(clip_of(panned(1, 12)), 0, 4)[0]
    assert {t.timestep for t in triplets} == {0.25, 0.5, 0.75}
    assert {t.right - t.left for t in triplets} == {4}


def test_a_sample_depends_on_seed_and_index_alone(store):
    first, again = (FootageSampler(store, frozenset(), seed=1, size=64) for _ in range(2))
    first.sample(0)
    kept, same = first.sample(7), again.sample(7)
    assert torch.equal(kept.left, same.left)
    assert torch.equal(kept.middle, same.middle)
    assert not torch.equal(kept.left, again.sample(8).left)
    other = FootageSampler(store, frozenset(), seed=2, size=64).sample(7)
    assert not torch.equal(kept.left, other.left)
    assert kept.left.shape == kept.middle.shape == (3, 64, 64)
    assert {round(float(first.sample(i).timestep), 3) for i in range(40)} == {0.25, 0.333, 0.5, 0.667, 0.75}


def test_what_is_held_out_or_left_out_is_never_shown(store):
    left_out = frozenset({store.clips[1].name})
    sampler = FootageSampler(store, left_out, seed=1, size=64)
    only = FootageSampler(store, frozenset(), seed=1, size=64)
    one = sum(len(triplets_of(store.clips[0], 0, span)[0]) for span in (2, 3, 4))
    assert not store.clips[0].held_out
    assert len(sampler) == one < len(only)
    assert {store.clips[t.clip].held_out for t in held_out_triplets(store, frozenset())} == {True}


def test_flow_is_trusted_where_it_leads_to_the_truth():
    frames = [torch.from_numpy(f[:64, :64].copy()).permute(2, 0, 1).float() / 255 for f in panned(1, 3)]
    nothing = torch.zeros(4, 64, 64), torch.zeros(2, 64, 64)
    sample = Sample(frames[0], frames[2], frames[1], torch.tensor(0.5), *nothing)

    def teacher_of(left, right):
        flow = torch.tensor([left, 0.0, right, 0.0]).view(1, 4, 1, 1)
        return lambda a, b, t: flow.expand(len(a), 4, *a.shape[-2:])

    right = with_teacher_flow([sample], teacher_of(float(PAN), -float(PAN)))[0]
    inside = right.visible[:, 8:-8, 8:-8]
    assert inside.min() > 0.99
    half = with_teacher_flow([sample], teacher_of(float(PAN), float(PAN)))[0]
    assert half.visible[0, 8:-8, 8:-8].min() > 0.99
    assert half.visible[1].mean() < 0.3
    assert float(right.flow[0].mean()) == PAN


def test_the_middle_has_the_light_between(store):
    sample = FootageSampler(store, frozenset(), seed=1, size=64).sample(3)
    assert relit(sample, 0.0, 0, 0) is sample
    grey = torch.full_like(sample.left, 0.5)
    grey = replace(sample, left=grey, right=grey, middle=grey, timestep=torch.tensor(0.25))
    changed = [relit(grey, 1.0, 0, index) for index in range(8)]
    for one in changed:
        left, right, middle = (float(x.mean()) for x in (one.left, one.right, one.middle))
        assert middle == pytest.approx(0.75 * left + 0.25 * right, abs=1e-5)
    assert len({float(one.left.mean()) for one in changed}) == 8


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "flownet.safetensors"
    rife = next(a for a in architectures() if a.name == "rife")
    save_file(synthetic_state_dict(rife.shapes("4.25"), 0, 0.7), path)
    return path


def test_two_batches_in_three_are_of_clips(packages, tmp_path, teacher_file, monkeypatch):
    atlas = make_atlas(0, textures=4, shapes=3)
    monkeypatch.setattr(batches_module, "make_atlas", lambda seed: atlas)
    decode(packages, tmp_path)
    plan = TrainingPlan(steps=6, batch=1, size=64, clips=2)
    batches = Batches(plan, Sources(tmp_path, teacher_file))
    shares = [float(batches[step]["hidden_share"]) for step in range(4)]
    assert shares == [0.0, 0.0, 0.25, 0.0]
    assert float(Batches(replace(plan, clips=0))[0]["hidden_share"]) == 0.25
    again = Batches(plan, Sources(tmp_path, teacher_file))
    for name, value in batches[3].items():
        assert torch.equal(value, again[3][name]), name


def test_clips_are_asked_for(tmp_path):
    with pytest.raises(BadInputError, match="real clips"):
        train(Trainer(TrainingPlan(steps=1, clips=2)), Run(tmp_path / "net.safetensors"))


def test_only_rife_teaches(root):
    with pytest.raises(BadInputError, match="teacher"):
        load_teacher(root / "ckpts" / "default.safetensors")


def test_the_committed_list_keeps_the_rule():
    listed = json.loads(LIST.read_text(encoding="utf-8"))
    used, held_out, left_out = (set(listed[key]) for key in ("used", "held_out", "left_out"))
    assert not used & held_out
    assert not used & left_out
    assert all(is_held_out(name) for name in held_out)
    assert not any(is_held_out(name) for name in used)
    assert all(listed["left_out"].values())
    assert len(used) > 150
    assert len(listed["packages"]) == 4
