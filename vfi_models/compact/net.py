"""The built-in network: small, any timestep, a pyramid of features that is wide where it is coarse.

Every frame is encoded once, at 1/4, 1/8, 1/16 and so on of its size; from 1/32 on one stage is applied again
and again, so that any number of levels may follow. Coarse to fine, the keys of both frames are warped by the
flows so far and matched symmetrically where the new frame is; a decoder refines flow and mask, and may set
the flow to zero where keys match as well in place. A last part at half size takes one step of Lucas-Kanade,
sees both warped frames, and returns flow and mask at full size.

Flows follow the convention of ``_ops.warp`` and point from the new frame to a source frame, in pixels of
the level they belong to. Flow, grids and matching are float32 in every dtype of the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.cached import cached_rows
from .._ops.constants import constant
from .._ops.convolution import LeakyConv2d, memory_format
from .._ops.fused import kernel
from .._ops.warp import Sampler, backward_warp, halved
from .flow import FlowState, blend, doubled, lucas_kanade_step, no_motion, sharpened, sharply_warped
from .matching import expected_displacement, symmetric_correlation, units

STRIDE = 4
"""Picture pixels to one feature, along a side, at the finest level."""
Encoded = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Pictures and features of a frame, see :meth:`PyramidNet.encode`."""

_SLOPE = 0.1
_STEM = 24
# Features at 1/4, at 1/8, at 1/16 and coarser.
_WIDTHS = (48, 80, 128)
# Channels that are matched.
_KEYS = (24, 32, 32)
# Largest displacement that is matched, in pixels of the level.
_REACHES = (2, 3, 3)
_DECODERS = (48, 80, 128)
_HIDDEN = 24
_FINE = 24
# Flow in pixels is divided by this where a convolution reads it.
_FLOW_UNIT = 8.0
# Scale of last layers before training: first guesses are those of the correlation alone, and residuals are
# small beside the features that they are added to.
_GENTLE = 0.1
# Added to the logit of the flow's gate: before training every flow counts nearly in full.
_MOVES = 4.0


def _convolution(inputs: int, outputs: int, size: int = 3) -> LeakyConv2d:
    return LeakyConv2d(inputs, outputs, size, padding=size // 2, slope=_SLOPE)


def _halving(inputs: int, outputs: int) -> LeakyConv2d:
    """Return a convolution of stride 2; each feature sits in the middle of the four that it is made of."""
    return LeakyConv2d(inputs, outputs, 2, stride=2, padding=0, slope=_SLOPE)


class Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = LeakyConv2d(width, width, slope=_SLOPE)
        self.second = LeakyConv2d(width, width, slope=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (N, C, H, W) to the same shape."""
        out: Tensor = self.second(self.first(x), x)
        return out


class Stage(nn.Module):
    """Turns features (N, C, 2H, 2W) into features (N, C', H, W) and keys (N, K, H, W) of any length."""

    def __init__(self, inputs: int, outputs: int, keys: int) -> None:
        super().__init__()
        self.shrink = _halving(inputs, outputs)
        # At 1/4, where most of the time goes, one convolution has to do.
        self.body = _convolution(outputs, outputs) if inputs == _STEM else Residual(outputs)
        self.key = LeakyConv2d(outputs, keys, 1, padding=0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features and keys, both in the dtype of ``x``."""
        features = self.body(self.shrink(x))
        return features, self.key(features)


class Encoder(nn.Module):
    """Computes a picture's features and keys at every level."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = LeakyConv2d(3, _STEM, 4, stride=2, slope=_SLOPE)
        inputs = (_STEM, *_WIDTHS)
        widths, keys = (*_WIDTHS, _WIDTHS[-1]), (*_KEYS, _KEYS[-1])
        self.stages = nn.ModuleList(map(Stage, inputs, widths, keys))

    def forward(self, picture: Tensor, levels: int) -> tuple[Tensor, ...]:
        """Return keys and features, joined, at each level: (N, K + C, H / 4, W / 4) and coarser."""
        x = self.stem(picture - 0.5)
        features, keys = [], []
        for level in range(levels):
            x, key = self.stages[min(level, len(self.stages) - 1)](_even(x))
            features.append(x)
            keys.append(key)
        return tuple(_joined(both, picture.dtype) for both in zip(units(keys), features, strict=True))


def _even(x: Tensor) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) where their number is odd.

    Features are padded, level by level, so that a picture need not be, at full cost, to a multiple of what
    the coarsest level halves it to.
    """
    height, width = x.shape[-2:]
    return F.pad(x, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else x


class Decoder(nn.Module):
    """Refines a level's flow and mask from the features of both frames, warped by the flow."""

    def __init__(self, kind: int) -> None:
        super().__init__()
        self._keys, self._reach = _KEYS[kind], _REACHES[kind]
        window, width = (2 * self._reach + 1) ** 2, _DECODERS[kind]
        # A logarithm, so that the factor on the costs (-1..1) stays positive; before training it is about 20.
        self.sharpness = nn.Parameter(torch.tensor(3.0, dtype=torch.float32, device="cpu"))
        # Features of both frames, costs, cost in place, displacement, flow, mask, hidden state, timestep.
        inputs = 2 * _WIDTHS[kind] + window + 1 + 2 + 4 + 1 + _HIDDEN + 1
        self.enter = _convolution(inputs, width, 1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        # Flow, mask, gate of the flow, hidden state.
        self.leave = LeakyConv2d(width, 4 + 1 + 1 + _HIDDEN, 1, padding=0)

    def forward(
        self, left: Tensor, right: Tensor, motion: FlowState, timestep: Tensor, shares: Tensor
    ) -> FlowState:
        """Warp, match and refine a level.

        Args:
            left, right: (K, C, H, W) keys and features of a level, not yet warped.
            motion: at this level's size, from the coarser one.
            timestep: (K, 1, 1, 1) float32.
            shares: of the timestep; see :func:`_shares`.
        """
        keys = self._keys
        # Before the warp: how well both frames match where nothing moves, which the gate of the flow decides
        # by.
        in_place = symmetric_correlation(left[:, :keys], right[:, :keys], 0)
        left, right = _moved(motion.flow[:, :2], left), _moved(motion.flow[:, 2:], right)
        cost = symmetric_correlation(left[:, :keys], right[:, :keys], self._reach)
        step = expected_displacement(cost, self._factor(cost.device))
        flow = _stepped(motion.flow, step, shares)
        plane = timestep.expand(-1, 1, *flow.shape[-2:])
        matched = (cost, in_place, step, flow / _FLOW_UNIT, motion.mask, motion.hidden, plane)
        inputs = _joined((left[:, keys:], right[:, keys:], *matched), left.dtype)
        out = self.leave(self.body(self.enter(inputs)))
        gate = kernel("gate", out, _gate_difference) or _gate
        flow_and_mask = gate(flow, motion.mask, out, _MOVES)
        return FlowState(flow_and_mask[:, :4], flow_and_mask[:, 4:], out[:, 6:])

    def _factor(self, device: torch.device) -> Tensor:
        """Return the factor on the costs, (), float32."""
        # By the device too: a host may move what lies in a parameter.
        return constant(("factor", self.sharpness, device), lambda: self.sharpness.float().exp())


def _gate(flow: Tensor, mask: Tensor, out: Tensor, moves: float) -> Tensor:
    """Return a level's flow and mask after what its decoder says of them, side by side, (K, 5, H, W) float32.

    Args:
        flow: (K, 4, H, W) float32.
        mask: (K, 1, H, W) float32 logit.
        out: (K, 6 or more, H, W) in any dtype: update of flow and mask, then the logit of the flow's gate.
        moves: added to that logit.
    """
    maps = out[:, : 4 + 1 + 1].float()
    # The gate comes before the update: a pixel that is held in place can still be corrected.
    flow = torch.addcmul(maps[:, :4], flow, torch.sigmoid(maps[:, 5:] + moves))
    return torch.cat((flow, mask + maps[:, 4:5]), 1)


def _gate_difference(gate: Callable[..., Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the largest difference of the kernel from plain operations; see :data:`~.._ops.fused.Check`."""
    # Computed, not drawn: the caller's random numbers must not change.
    values = torch.arange(2 * 12 * 9 * 17, dtype=torch.float32, device=device).mul(0.7).sin()
    values = values.view(2, 12, 9, 17)
    flow, mask, out = values[:, :4], values[:, 4:5], values[:, 5:].to(dtype)
    return (gate(flow, mask, out, _MOVES) - _gate(flow, mask, out, _MOVES)).abs().amax()


def _stepped(flow: Tensor, step: Tensor, shares: Tensor) -> Tensor:
    """Return the flow (K, 4, H, W) after a displacement (K, 2, H, W) between the frames, in one pass."""
    count, _, *size = flow.shape
    # Flow as (K, frame, x or y, H, W).
    return torch.addcmul(flow.view(count, 2, 2, *size), step.unsqueeze(1), shares).view_as(flow)


def _shares(timestep: Tensor) -> Tensor:
    """Return (K, 2, 1, 1, 1): the shares -t and 1 - t of a displacement that lead to either frame."""
    device = timestep.device
    ends = constant(("ends", device), lambda: torch.arange(2, dtype=torch.float32, device=device))
    return ends.view(1, 2, 1, 1, 1) - timestep.unsqueeze(1)


def _joined(parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """Return (N, c, H, W) parts side by side in a dtype, stored as convolutions want it."""
    if torch.is_grad_enabled():
        return torch.cat([part.to(dtype) for part in parts], 1)
    if parts[0].device.type == "cpu":  # there a conversion on the way takes longer than one before
        parts = tuple(part.to(dtype) for part in parts)
    count, _, *size = parts[0].shape
    channels, device = sum(part.shape[1] for part in parts), parts[0].device
    out = torch.empty(count, channels, *size, dtype=dtype, device=device, memory_format=memory_format(device))
    return torch.cat(parts, 1, out=out)


def _moved(flow: Tensor, x: Tensor) -> Tensor:
    """Warp (K, C, H, W) features to the new frame by the flow (K, 2, H, W)."""
    if torch.is_grad_enabled():
        return backward_warp(x, flow)
    return Sampler(flow)(x)


class Fine(nn.Module):
    """The last refinement: from both frames warped at half size, with context at 1/4, to full size."""

    def __init__(self) -> None:
        super().__init__()
        width = _DECODERS[0]
        # Both warped pictures, their difference warped and in place, flow, mask; the step that the flow has
        # taken by least squares, and the difference before it.
        self.enter = _convolution(3 + 3 + 1 + 1 + 4 + 1 + 2 + 1, _FINE)
        self.carry = LeakyConv2d(_HIDDEN, width, 1, padding=0)
        self.shrink = _halving(_FINE, width)
        self.body = Residual(width)
        self.grow = LeakyConv2d(width, 4 * _FINE, 1, padding=0)
        self.join = _convolution(_FINE, _FINE)
        # The gate of the flow; then flow and mask of the 2 x 2 pixels that each of these becomes.
        self.leave = LeakyConv2d(_FINE, 1 + 4 * (4 + 1))

    def forward(self, left: Tensor, right: Tensor, motion: FlowState, timestep: Tensor) -> FlowState:
        """Refine the motion at 1/4 to full size.

        Args:
            left, right: (K, 3, 2H, 2W) pictures at half size.
            motion: at 1/4, (K, ., H, W).
            timestep: (K, 1, 1, 1) float32.

        Returns:
            The motion at full size, 4H x 4W.
        """
        flow, mask = doubled(2.0 * motion.flow), doubled(motion.mask)
        # Convolutions find the last fraction of a pixel only after very long training. A step of least
        # squares has it at once, and they learn where to trust it.
        warped_left, warped_right = sharply_warped(flow, left, right)
        before = _difference(warped_left, warped_right)
        step = lucas_kanade_step(warped_left, warped_right, mask, timestep)
        flow = _stepped(flow, step, _shares(timestep))
        warped_left, warped_right = sharply_warped(flow, left, right)
        moved, still = _difference(warped_left, warped_right), _difference(left, right)
        pictures = (warped_left - 0.5, warped_right - 0.5)
        inputs = (*pictures, moved, still, flow / _FLOW_UNIT, mask, step, before)
        near = self.enter(_joined(inputs, motion.hidden.dtype))
        wide = self.body(self.shrink(near, self.carry(motion.hidden)))
        near = self.join(F.pixel_shuffle(self.grow(wide), 2), near)
        out = self.leave(near)
        flow = 2.0 * flow * torch.sigmoid(out[:, :1].float() + _MOVES)
        flow_and_mask = _detailed(torch.cat((flow, mask), 1), out[:, 1:])
        return FlowState(flow_and_mask[:, :4], flow_and_mask[:, 4:], motion.hidden)


def _detailed(x: Tensor, details: Tensor) -> Tensor:
    """Return ``x`` (K, C, H, W) float32 at twice the resolution, with details added.

    Args:
        details: (K, 4 C, H, W) in any dtype: four pixels of each channel, as ``F.pixel_shuffle`` has them.
    """
    out = doubled(x)
    if torch.is_grad_enabled():
        return out + F.pixel_shuffle(details, 2)
    # In place: at full size new memory takes as long as the sum.
    for rows in cached_rows(x, channels=2 * details.shape[1]):
        here, finer = details[..., rows, :], out[..., 2 * rows.start : 2 * rows.stop, :]
        for place in range(4):
            finer[..., place // 2 :: 2, place % 2 :: 2] += here[:, place::4]
    return out


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference over the channels, (N, 1, H, W)."""
    return (a - b).abs().mean(1, keepdim=True)


class PyramidNet(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoders = nn.ModuleList(map(Decoder, range(len(_WIDTHS))))
        self.fine = Fine()

    def initialise(self) -> None:
        """Give the parameters their values before training, channels last: so they train faster on a CPU."""
        for name, module in self.named_modules():
            if isinstance(module, LeakyConv2d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
                nn.init.zeros_(module.get_parameter("bias"))
                scale = _GENTLE if name.endswith(("leave", "second")) else 1.0
                module.weight.data = (scale * module.weight.data).to(memory_format=torch.channels_last)

    @property
    def dtype(self) -> torch.dtype:
        """Return what the convolutions run in."""
        return self.fine.leave.weight.dtype

    def encode(self, picture: Tensor, levels: int) -> Encoded:
        """Compute the pictures, keys and features of a frame, once for both its pairs.

        Args:
            picture: (N, 3, H, W) float32; H and W multiples of 4.

        Returns:
            The picture and the picture at half size; keys and features at 1/4 and, each half the one
            before and rounded up, ``levels`` of them in all.
        """
        return (picture, halved(picture)), self.encoder(picture.to(self.dtype), levels)

    def match(self, left: Encoded, right: Encoded, timestep: Tensor) -> list[FlowState]:
        """Find the motion at every level, coarse to fine, the last at 1/4.

        Args:
            left, right: as :meth:`encode` returns them.
            timestep: (K, 1, 1, 1) float32.
        """
        motions: list[FlowState] = []
        shares = _shares(timestep)
        for level in range(len(left[1]) - 1, -1, -1):
            left_features, right_features = left[1][level], right[1][level]
            if motions:
                motion = motions[-1].doubled(*left_features.shape[-2:])
            else:
                motion = no_motion(left_features, len(timestep), _HIDDEN)
            decoder = self.decoders[min(level, len(self.decoders) - 1)]
            motions.append(decoder(left_features, right_features, motion, timestep, shares))
        return motions

    def find(self, left: Encoded, right: Encoded, timestep: Tensor) -> FlowState:
        """Find the motion at full size; see :meth:`match`."""
        at_quarter = self.match(left, right, timestep)[-1]
        motion: FlowState = self.fine(left[0][1], right[0][1], at_quarter, timestep)
        return motion


def draw(motion: FlowState, left: Tensor, right: Tensor) -> Tensor:
    """Warp and mix frames (K, C, H, W) by a motion of their size, and sharpen RGB.

    Other channels stay as they are mixed: a mask must not leave its range.
    """
    frames = blend(motion, left, right)
    colours = sharpened(frames[:, :3], motion)
    return colours if frames.shape[1] == colours.shape[1] else torch.cat((colours, frames[:, 3:]), 1)
