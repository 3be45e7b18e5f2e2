"""The FILM network: parameters under the names of ComfyUI's file, and its three parts.

Activations are ``channels_last`` where that is fast; every flow and coordinate is float32.

Source: Reda et al., "FILM: Frame Interpolation for Large Motion" (ECCV 2022), as
google-research/frame-interpolation 69f8708 and dajes/frame-interpolation-pytorch 4815c4b run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._ops.convolution import memory_format
from .._ops.padding import round_up
from .._ops.warp import Sampler
from .config import FUSED_LEVELS, LEVELS, OWN_FLOW_LEVELS, RGB, STAGES, Config

_SLOPE = 0.2
# Rows beyond its own that a strip needs: one for each of the two 3 x 3 convolutions of a fusion level.
_REACH = 2
# The most strips that a fusion level is made in, and the fewest rows that a strip should have.
_MOST_STRIPS, _LEAST_STRIP = 4, 64


def leaky(x: Tensor) -> Tensor:
    """Apply the network's activation in place."""
    return F.leaky_relu_(x, _SLOPE)


class Layer(nn.Module):
    """A convolution; checkpoints wrap it in one more name."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=1 if size == 3 else 0)  # noqa: PLR2004 - 3 x 3

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, inputs, h, w) to (N, outputs, h, w), without the activation."""
        out: Tensor = self.conv(x)
        return out


def _layers(modules: nn.Module) -> list[Layer]:
    return [cast(Layer, module) for module in modules.children()]


class Extractor(nn.Module):
    """Computes the features of a frame: the same stages, started at every level of its image pyramid."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [RGB, *(config.filters << stage for stage in range(STAGES))]
        stages = [nn.Sequential(Layer(i, o, 3), Layer(o, o, 3)) for i, o in pairwise(widths)]
        self.extract_sublevels = nn.ModuleDict({"convs": nn.ModuleList(stages)})

    def forward(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """Compute the features of an image pyramid.

        Args:
            pictures: (N, 3, h, w) of each level, in the dtype of the parameters.

        Returns:
            Features of each level, (N, ``config.features(level)``, h, w): those of every stage that
            ends at its size, stage 0 first.
        """
        stages = [_layers(stage) for stage in self.extract_sublevels["convs"].children()]
        arrived: list[list[Tensor]] = [[] for _ in pictures]
        features = []
        for start, picture in enumerate(pictures):
            x = picture
            # Nothing reads the stages past the coarsest level; the published code runs them all the same.
            for stage in range(min(STAGES, LEVELS - start)):
                if stage:
                    x = F.avg_pool2d(x, 2)
                for layer in stages[stage]:
                    x = leaky(layer(x))
                # Stages that started at finer levels are there already; in front of them, stage 0 comes
                # first.
                arrived[start + stage].insert(0, x)
            features.append(_cat(arrived[start], 1))
            arrived[start].clear()
        return features


def _cat(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


class Predictor(nn.Module):
    """Predicts the residual flow of a level, from one frame's features and the other's, warped.

    The first layer is linear in both. Its part that reads the frame that is not warped depends on nothing
    else, so it is computed once with the features and serves both pairs of the frame.
    """

    def __init__(self, features: int, filters: int) -> None:
        super().__init__()
        self.features = features
        widths = [2 * features, filters, filters, filters]
        layers = [Layer(i, o, 3) for i, o in pairwise(widths)]
        layers += [Layer(filters, filters // 2, 1), Layer(filters // 2, 2, 1)]
        self._convs = nn.ModuleList(layers)

    def own(self, features: Tensor) -> Tensor:
        """Compute the first layer's part of the frame that is not warped, (N, filters, h, w)."""
        conv = _layers(self._convs)[0].conv
        return F.conv2d(features, conv.weight[:, : self.features], conv.bias, padding=1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Predict the residual flow.

        Args:
            own: from :meth:`own`. Never written to.
            other: features of the other frame, warped, (K, features, h, w).

        Returns:
            (K, 2, h, w) float32, in pixels of the level.
        """
        first, *inner, last = _layers(self._convs)
        x = leaky(own + F.conv2d(other, first.conv.weight[:, self.features :], padding=1))
        for layer in inner:
            x = leaky(layer(x))
        out: Tensor = last(x)
        return out.float()


class FlowEstimator(nn.Module):
    """Estimates the flow from one frame to another, coarse to fine."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._predictor = Predictor(config.features(LEVELS - 1), config.flow_width(LEVELS - 1))
        fine = [Predictor(config.features(k), config.flow_width(k)) for k in range(OWN_FLOW_LEVELS)]
        # Numbered from coarse to fine in the checkpoints: 0 is for level 2.
        self._predictors = nn.ModuleList(reversed(fine))

    def predictor(self, level: int) -> Predictor:
        """Return the predictor of a level."""
        if level >= OWN_FLOW_LEVELS:
            return self._predictor
        return cast(Predictor, self._predictors[OWN_FLOW_LEVELS - 1 - level])

    def own(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute what every level of :meth:`forward` needs of the frame that the flow starts from."""
        return [self.predictor(level).own(x) for level, x in enumerate(features)]

    def forward(self, own: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
        """Estimate the flow of one direction.

        Args:
            own: from :meth:`own` of the frame that the flow starts from.
            other: features of the frame that it leads to.

        Returns:
            (K, 2, h, w) float32 of levels 0 to 4: where each pixel of the first frame is found in the
            second, in pixels of the level.
        """
        flow = self.predictor(LEVELS - 1)(own[-1], other[-1])
        flows = [flow]
        for level in reversed(range(LEVELS - 1)):
            # Always times two, as published, also where an odd size grows by a little more than that.
            flow = 2 * F.interpolate(flow, size=own[level].shape[-2:], mode="bilinear")
            flow += self.predictor(level)(own[level], Sampler(flow)(other[level]))
            flows.append(flow)
        # They were found from level 6 to 0: the last five, backwards.
        return flows[: -FUSED_LEVELS - 1 : -1]

    def both(
        self,
        own_left: Sequence[Tensor],
        own_right: Sequence[Tensor],
        left: Sequence[Tensor],
        right: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Estimate the flow from the left frame to the right one, and from the right one to the left.

        Off a CPU both run as one batch, which halves the launches.
        """
        if own_left[0].device.type == "cpu":
            return self(own_left, right), self(own_right, left)
        # Both directions are the same network on exchanged frames.
        own, other = (
            [torch.cat(pair) for pair in zip(*sides, strict=True)]
            for sides in ((own_left, own_right), (right, left))
        )
        halves = [flow.chunk(2) for flow in self(own, other)]
        return [to_right for to_right, _ in halves], [to_left for _, to_left in halves]


@dataclass(frozen=True)
class Side:
    """One of the two frames as input of the fusion: levels 0 to 4, N of 1 or K."""

    pictures: Sequence[Tensor]
    """(N, 3, h, w) float32."""
    features: Sequence[Tensor]
    """(N, c, h, w) in the dtype of the parameters."""
    flows: Sequence[Tensor]
    """(N, 2, h, w) float32 pixels: from the other frame into this one."""
    share: Tensor
    """(K, 1, 1, 1) float32: the time from this frame to the new one, in parts of the time to the other."""

    def at(self, level: int) -> Plane:
        """Return one level, its flow scaled to the time of the new frame."""
        flow, features = self.share * self.flows[level], self.features[level]
        # Sampling on a CPU is in float32; converted once here and not for each strip.
        return Plane(
            self.pictures[level], features.float() if features.device.type == "cpu" else features, flow
        )


@dataclass(frozen=True)
class Plane:
    """One level of a side, ready to be warped."""

    picture: Tensor
    """(N, 3, h, w) float32."""
    features: Tensor
    """(N, c, h, w) as they are sampled: float32 on a CPU, elsewhere in the dtype of the parameters."""
    flow: Tensor
    """(K, 2, h, w) float32 pixels, from the new frame into this one."""


Planes = tuple[Plane, Plane]


class Fusion(nn.Module):
    """Makes the new frame from both frames' pictures and features, warped to its time."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        # From level 3 to 0, as the checkpoints number them; level 4 is only warped.
        self.convs = nn.ModuleList(self._level(level) for level in reversed(range(FUSED_LEVELS - 1)))
        self.output_conv = nn.Conv2d(config.filters, RGB, 1)

    def _level(self, level: int) -> nn.ModuleList:
        config = self.config
        coarser, width = config.fused(level + 1), config.fused(level)
        return nn.ModuleList(
            [Layer(coarser, width, 2), Layer(config.aligned(level) + width, width, 3), Layer(width, width, 3)]
        )

    def forward(self, left: Side, right: Side, *, in_strips: bool = True) -> Tensor:
        """Fuse both frames, coarse to fine.

        Args:
            left, right: the two frames.
            in_strips: make each level in strips, in less memory.

        Returns:
            (K, 3, H, W) float32, not clamped.
        """
        coarsest = FUSED_LEVELS - 1
        planes = left.at(coarsest), right.at(coarsest)
        net = self._aligned(planes, slice(0, planes[0].flow.shape[-2]), self.config.aligned(coarsest))
        for modules, level in zip(self.convs, reversed(range(coarsest)), strict=True):
            planes = left.at(level), right.at(level)
            height = planes[0].flow.shape[-2]
            parts = strips(height) if in_strips else [(0, height)]
            net = self._finer(net, _layers(modules), level, planes, parts)
        return net.float()

    def _finer(
        self,
        net: Tensor,
        layers: Sequence[Layer],
        level: int,
        planes: Planes,
        parts: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Refine the coarser level's ``net`` by a level; at level 0 to the picture.

        In strips, for the input of a level is several times as large as its output. A strip is computed with
        the rows about it that the two convolutions reach; at the borders of the picture zeros follow, as in
        one piece.
        """
        enlarging, joining, last = layers
        width, height = self.config.fused(level), planes[0].flow.shape[-2]
        finished = []
        for top, bottom in parts:
            rows = slice(max(top - _REACH, 0), min(bottom + _REACH, height))
            x = self._aligned(planes, rows, self.config.aligned(level) + width)
            # Straight into its channels of the joined tensor, which saves a copy of the largest input.
            double(net, enlarging.conv, x[:, -width:], rows, height)
            x = leaky(last(leaky(joining(x))))
            # To RGB strip by strip: of level 0 the joined strips are the picture and not its 64 channels.
            x = x if level else self.output_conv(x)
            finished.append(x[..., top - rows.start : bottom - rows.start, :])
        return _cat(finished, -2).contiguous(memory_format=memory_format(net.device, on_cuda=True))

    def _aligned(self, planes: Planes, rows: slice, channels: int) -> Tensor:
        """Return some rows of a level's input to the fusion: both frames warped.

        Args:
            planes: the level of both frames.
            rows: of the level.
            channels: of the tensor; those past the warped ones are for the caller to fill.
        """
        flows = [plane.flow[..., rows, :] for plane in planes]
        count, _, height, width = flows[0].shape
        weight = self.output_conv.weight
        out = torch.empty(
            (count, channels, height, width),
            dtype=weight.dtype,
            device=weight.device,
            memory_format=memory_format(weight.device, on_cuda=True),
        )
        # In the order that the fusion was trained on: picture and features of the left frame, then of the
        # right one, flow to the left, flow to the right.
        first = 0
        for plane in planes:
            # One sampler for the picture and its features: weights of the positions are computed once.
            warp = Sampler(plane.flow[..., rows, :], rows, plane.flow.shape[-2])
            for image in (plane.picture, plane.features):
                warp(image, out[:, first : first + image.shape[1]])
                first += image.shape[1]
        for flow in flows:
            out[:, first : first + flow.shape[1]] = flow
            first += flow.shape[1]
        return out


def strips(height: int) -> list[tuple[int, int]]:
    """Return first row and end of each strip of ``height`` rows; strips begin at even rows."""
    count = min(max(height // _LEAST_STRIP, 1), _MOST_STRIPS)
    step = round_up(-(-height // count), 2)
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def double(x: Tensor, conv: nn.Conv2d, out: Tensor, rows: slice, height: int) -> None:
    """Enlarge ``x`` by repeating pixels, convolve by ``conv``, 2 x 2, and write some rows of that into
    ``out``.

    The convolution reads each pixel of ``x`` up to four times. Where the size exactly doubles, its taps are
    added up before: one convolution at the small size for each of the four pixels that a small one
    becomes, with 9 products instead of 16 and nothing enlarged.

    Args:
        x: (N, C, h, w).
        conv: zeros stand right of and below the picture.
        out: (N, conv.out_channels, H, W), written to.
        rows: which rows of the enlarged picture ``out`` holds; they begin at an even one.
        height: of the enlarged picture.
    """
    width = out.shape[-1]
    if (2 * x.shape[-2], 2 * x.shape[-1]) != (height, width):
        below = _repeated(x.shape[-2], height, x.device)[rows.start : rows.stop + 1]
        large = x.index_select(-2, below).index_select(-1, _repeated(x.shape[-1], width, x.device))
        out.copy_(F.conv2d(large, conv.weight, conv.bias, padding=1)[..., 1 : out.shape[-2] + 1, 1:])
        return
    # One row more than that: odd rows of the result read the next row of ``x``.
    x = x[..., rows.start // 2 : rows.stop // 2 + 1, :]
    # Added in float32, and rounded to the dtype of the network once.
    weight = conv.weight.float()
    # An even row of the result reads one row of x with both rows of taps, which are summed; an odd row reads
    # that row and the next. So do columns.
    for row, whole in enumerate((weight[..., :1, :] + weight[..., 1:, :], weight)):
        for column, taps in enumerate((whole[..., :1] + whole[..., 1:], whole)):
            convolved = F.conv2d(x, taps.to(x.dtype), conv.bias, padding=(row, column))
            # conv2d pads on both sides; what is left and above of the picture is cut off here.
            target = out[..., row::2, column::2]
            target.copy_(convolved[..., row : row + target.shape[-2], column:])


def _repeated(size: int, larger: int, device: torch.device) -> Tensor:
    """Return the source index of each of ``larger`` positions, as torch's ``nearest`` takes it."""
    # By resizing the indices themselves: floor(i * size / larger), as torch rounds it. TensorFlow, which FILM
    # comes from, takes half-pixel centres, which are others at odd sizes.
    indices = torch.arange(size, dtype=torch.float32, device=device).view(1, 1, -1)
    return F.interpolate(indices, size=larger, mode="nearest").view(-1).long()


class FilmNet(nn.Module):
    """The whole network; the session calls its parts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.extract = Extractor(config)
        self.predict_flow = FlowEstimator(config)
        self.fuse = Fusion(config)
