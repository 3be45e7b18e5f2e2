"""Meta Batch without VideoHelperSuite: a manager with its attributes, which change when the suite's do."""

import gc
import weakref
from itertools import count, product

import pytest
import torch
from fakes import QUICK
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes import _host, _models
from midframe.vfi_models.film import shapes as film_shapes
from midframe.vfi_models.tlbvfi import shapes as tlbvfi_shapes
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file
from thin import thinned

RIFE = NODE_CLASS_MAPPINGS["MidframeRIFE"]


@pytest.fixture(autouse=True)
def _clear():
    yield
    MODELS.clear()


class Manager:
    """Like the suite's: one object, begun anew in place."""

    def __init__(self, frames_per_batch=4):
        self.frames_per_batch = frames_per_batch
        self.inputs, self.outputs = {}, {}
        self.unique_id = None
        self.has_closed_inputs = False
        self.total_frames = float("inf")

    def runs(self, frames, unique_id="5"):
        """The batches of a clip, each with the prompt that it is run in."""
        self.__init__(self.frames_per_batch)
        self.unique_id = unique_id
        batches = frames.split(self.frames_per_batch)
        for i, batch in enumerate(batches):
            self.has_closed_inputs = i == len(batches) - 1
            yield (
                batch.clone(),
                {
                    unique_id: {
                        "inputs": {"frames_per_batch": self.frames_per_batch, **({"requeue": i} if i else {})}
                    }
                },
            )
        self.__init__(self.frames_per_batch)


def clip(frames=6, height=24, width=40):
    return torch.rand(frames, height, width, 3)


def in_batches(node, manager, frames, model="default", **widgets):
    made = []
    for batch, prompt in manager.runs(frames):
        out, fps, count, _ = node.interpolate(
            batch, model, meta_batch=manager, prompt=prompt, node_id="9", **widgets
        )
        assert count == len(out) > 0
        made.append((out, fps))
    assert len({fps for _, fps in made}) == 1
    return torch.cat([out for out, _ in made]), made[0][1]


@pytest.fixture(scope="module")
def single_run():
    """The frames and the rate of the whole clip with some widgets, made once."""
    kept = {}

    def run(frames, widgets):
        key = repr(widgets)
        if key not in kept:
            kept[key] = frames, *RIFE().interpolate(frames, "default", **widgets)[:2]
        same, wanted, fps = kept[key]
        assert torch.equal(same, frames)
        return wanted, fps

    return run


WIDGETS = [
    {},
    {"multiplier": 3, "last_frame": "hold_last", "source_fps": 24.0},
    {"source_fps": 23.976, "target_fps": 60.0},
    {"multiplier": [2, 1, 4], "storage": "disk"},
]


# By turns: every batch with one set of widgets, and every set.
@pytest.mark.parametrize(("batch", "widgets"), thinned([*product([1, 3, 4, 6, 7], WIDGETS)], range(0, 20, 5)))
def test_batches_together_are_the_single_run(batch, widgets, single_run):
    frames = clip()
    made, fps = in_batches(RIFE(), Manager(batch), frames, **widgets)
    wanted, wanted_fps = single_run(frames, widgets)
    assert torch.equal(made, wanted)
    if isinstance(each := widgets.get("multiplier"), list):
        # The first batch cannot know how many pairs will follow: all say the mean of the list.
        assert fps == 24 * sum(each) / len(each)
        assert wanted_fps == 24 * (sum(each) + 2 * (5 - len(each))) / 5
    else:
        assert fps == wanted_fps


@pytest.mark.parametrize(
    ("name", "shapes"),
    thinned([("MidframeFILM", film_shapes("narrow")), ("MidframeTLBVFI", tlbvfi_shapes("small"))], (0,)),
)
def test_the_other_nodes_too(name, shapes, tmp_path, monkeypatch):
    save_file(synthetic_state_dict(shapes, 0, 0.7), tmp_path / "weights.safetensors")
    monkeypatch.setattr(_host, "model_folders", lambda: (tmp_path,))
    frames, node = clip(3, 64, 64), NODE_CLASS_MAPPINGS[name]
    quick = QUICK["tlbvfi"] if name == "MidframeTLBVFI" else {}
    made, _ = in_batches(node(), Manager(2), frames, "weights.safetensors", **quick)
    assert torch.equal(made, node().interpolate(frames, "weights.safetensors", **quick)[0])


@pytest.mark.parametrize("frames", [3, 9])
def test_video_combine_may_come_first(frames):
    """It counts the batches up in the prompt that is being run, and resets the manager after the last."""
    clips, node, manager, made = clip(frames), RIFE(), Manager(), []
    for batch, prompt in manager.runs(clips):
        inputs = prompt["5"]["inputs"]
        if manager.has_closed_inputs:
            manager.__init__()
        else:
            inputs["requeue"] = inputs.get("requeue", 0) + 1
        made.append(node.interpolate(batch, "default", meta_batch=manager, prompt=prompt)[0])
    assert torch.equal(torch.cat(made), RIFE().interpolate(clips, "default")[0])
    assert not node._batches._jobs


def test_a_run_that_was_left_in_the_middle_does_not_reach_into_the_next():
    node, manager, frames = RIFE(), Manager(), clip()
    for batch, prompt in manager.runs(clip()):
        node.interpolate(batch, "default", meta_batch=manager, prompt=prompt)
        break
    assert torch.equal(in_batches(node, manager, frames)[0], RIFE().interpolate(frames, "default")[0])


@pytest.mark.parametrize("then", ["fails", "is left out"])
def test_a_batch_without_the_one_before_it_is_refused(then):
    node, manager = RIFE(), Manager(4)
    for i, (batch, prompt) in enumerate(manager.runs(clip(9))):
        given = {"meta_batch": manager, "prompt": prompt}
        if i == 0:
            node.interpolate(batch, "default", **given)
        elif i == 1 and then == "fails":
            with pytest.raises(BadInputError):
                node.interpolate(batch[:, :10], "default", **given)
        elif i == 2:
            with pytest.raises(BadInputError, match="do not follow one another"):
                node.interpolate(batch, "default", **given)


def test_a_lower_frame_rate_is_refused_before_the_first_batch():
    manager, loads = Manager(), MODELS.loads
    with pytest.raises(BadInputError, match="force_rate"):
        in_batches(RIFE(), manager, clip(), source_fps=30.0, target_fps=24.0)
    assert MODELS.loads == loads


@pytest.mark.parametrize("how", thinned(["host", "clear node", "offload to CPU", "unload"], (0, 2)))
def test_models_that_are_unloaded_between_batches_change_nothing(how):
    frames, node, manager, networks = clip(), RIFE(), Manager(), []
    after = {"after_run": how} if how in _models.AFTER_RUN else {}
    made = []
    for batch, prompt in manager.runs(frames):
        made.append(node.interpolate(batch, "default", meta_batch=manager, prompt=prompt, **after)[0])
        for loaded in MODELS.models():
            networks.append(weakref.ref(loaded.shell.network))
            if how == "host":
                loaded.shell.release()
            del loaded
        if how == "clear node":
            _models.clear()
        if how in ("host", "clear node"):
            assert networks[-1]() is None  # what is carried does not keep the weights
    assert torch.equal(torch.cat(made), RIFE().interpolate(frames, "default")[0])


def test_what_is_carried_goes_with_the_manager_the_node_and_the_end():
    gc.collect()
    gc.disable()  # nothing may wait for the collector
    try:
        for what, ends in zip(("manager", "node", "end"), count(), strict=False):
            node, manager = RIFE(), Manager()
            made = node._batches._jobs
            for i, (batch, prompt) in enumerate(manager.runs(clip())):
                node.interpolate(batch, "default", meta_batch=manager, prompt=prompt)
                assert len(made) == (i == 0)
                if what != "end":
                    loop = weakref.ref(made[manager].loop)
                    break
            if what == "manager":
                del manager
            elif what == "node":
                del node, made
            assert what == "end" or loop() is None, ends
    finally:
        gc.enable()
