"""Estimates of memory grow with the picture and are no less than a pass takes; no batch exceeds the budget."""

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midframe.memory.budget import Budget
from midframe.vfi_models import architectures, build, detect
from midframe.weights.synthetic import synthetic_state_dict
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FAMILIES = [
    "compact v2",
    "film narrow",
    "rife 4.0",
    "rife 4.26.heavy",
    "rife_hd hdv3",
    "rife_paper paper",
]
SIDES = st.integers(1, 4096)
MORE = st.integers(0, 2048)
BYTES = st.integers(1, 2**40)


def shapes_of(name):
    architecture, family = name.split()
    return next(a for a in architectures() if a.name == architecture).shapes(family)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    """A model whose weights take no memory: an estimate needs none."""
    shapes = shapes_of(request.param)
    return build(detect({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}))


@given(SIDES, SIDES, MORE, MORE)
def test_a_larger_picture_takes_no_less(model, height, width, below, right):
    estimate = model.activation_bytes(height, width)
    assert 0 < estimate <= model.activation_bytes(height + below, width + right)


@given(SIDES, SIDES, st.sampled_from([0.25, 0.5, 1.0]))
def test_a_lower_flow_scale_takes_no_more(model, height, width, scale):
    if "flow_scale" in model.spec.options:
        lower = model.activation_bytes(height, width, {"flow_scale": scale})
        # The picture is padded to a larger multiple where flow is computed in a smaller one.
        assert lower <= model.activation_bytes(height + 512, width + 512, {"flow_scale": 1.0})


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is entered, and their peak."""

    def __init__(self):
        super().__init__()
        self.live, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
        result = function(*args, **(kwargs or {}))
        for tensor in tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self.live:
                self.live[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.free, storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
        return result

    def free(self, key):
        self.now -= self.live.pop(key, 0)


def tensors(values):
    """Those with a storage: weights that oneDNN has packed have none."""
    leaves = (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["compact v2", "film narrow", "rife 4.0", "rife 4.26.heavy", "rife_paper paper"]
)
def test_a_pass_takes_no_more_than_its_estimate(name):
    model = build(detect(synthetic_state_dict(shapes_of(name), 0, 0.7)))
    height, width = 72, 136
    session = model.open(height, width)
    left, right = (session.encode(torch.rand(1, 3, height, width)) for _ in range(2))
    half = torch.tensor([0.5])
    session.between(left, right, half)  # prepares weights and grids, which stay
    with PeakBytes() as measured:
        session.between(left, right, half)
    output = 3 * height * width * 4
    assert output <= measured.peak <= model.activation_bytes(height, width)


@given(BYTES, BYTES, st.integers(1, 200))
def test_an_automatic_batch_never_exceeds_the_budget(each, free, timesteps):
    budget = Budget(torch.device("cuda"))
    budget.estimate(each)
    count = budget.batch(timesteps, lambda: free)
    assert 1 <= count <= timesteps
    assert count == 1 or count * each <= free
    # One more would not fit into what a batch may plan with, or is more than a batch ever is.
    assert count == budget.most(timesteps) or (count + 1) * each > int(0.8 * free)


@given(BYTES, st.integers(1, 64), st.integers(1, 200))
def test_the_users_batch_is_taken_at_its_word_and_halved_where_it_is_too_much(each, wish, timesteps):
    budget = Budget(torch.device("cuda"), wish)
    budget.estimate(each)
    count = budget.batch(timesteps, lambda: 0)
    assert count == min(wish, timesteps)
    while budget.shrink() is not None:
        smaller = budget.batch(timesteps, lambda: 0)
        assert smaller == count // 2
        count = smaller
    assert count == 1
