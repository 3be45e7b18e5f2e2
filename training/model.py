"""The RIFE paper's ``Model``: its networks with their optimiser, for inference and for training.

Source: Huang et al., ECCV 2022; the class ``Model`` of hzwer/ECCV2022-RIFE, which other projects carry along.
The calls are those of that class. What its code did against its own words is not repeated: a list of scales
is never written to, a file that was saved can be loaded, and the middle of a step's timestep is not fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import BadInputError, UnsupportedWeightsError
from ..vfi_models.rife_paper import padded_size
from ..vfi_models.rife_paper.net import DIVISORS, PaperNet
from ..vfi_models.rife_paper.session import frames_between
from ..weights.checkpoint import read_checkpoint
from ..weights.loading import default_device
from .paper_losses import distillation_loss, laplacian_loss

_log = logging.getLogger(__name__)

_FILE = "flownet.pkl"
_TEACHER = "block_tea."
# As published. The rate is the one before the first update, which brings its own.
_RATE, _DECAY = 1e-6, 1e-3
_DISTILLATION_WEIGHT = 0.01
_RGB = 3


class Model:
    """IFNet, IFNet_m or IFNet_2R, the teacher among its blocks, and AdamW.

    Args:
        local_rank: -1 without torch.distributed; otherwise the number of this process on its machine, which
            is that of its GPU where there are some. The process group must be initialised.
        arbitrary: IFNet_m, which reads the timestep. Otherwise the frame in the middle is made.
        two_r: IFNet_2R, which has the parameters of IFNet and works at twice the size.
        device: where it runs; the best there is where it is left out.

    Raises:
        BadInputError: both ``arbitrary`` and ``two_r``: there is no such network.
    """

    def __init__(
        self,
        local_rank: int = -1,
        arbitrary: bool = False,
        *,
        two_r: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if arbitrary and two_r:
            raise BadInputError(
                "IFNet_2R does not read the timestep.", "arbitrary and two_r", "Choose one of them."
            )
        self._two_r = two_r
        self._where = torch.device(device) if device is not None else _device_of(local_rank)
        self.flownet = PaperNet(any_timestep=arbitrary, teacher=True).to(self._where)
        self.optimG = torch.optim.AdamW(self.flownet.parameters(), lr=_RATE, weight_decay=_DECAY)
        # Not a child of the network's name: the state dict of `flownet` stays without "module." in it.
        self._run: nn.Module = _Pass(self.flownet, two_r=two_r)
        if local_rank != -1:
            ids = [self._where.index] if self._where.type == "cuda" else None
            self._run = DistributedDataParallel(self._run, device_ids=ids)

    def train(self) -> None:
        """Switch the network to training."""
        self.flownet.train()

    def eval(self) -> None:
        """Switch the network to inference."""
        self.flownet.eval()

    def device(self, device: torch.device | str | None = None) -> None:
        """Move the network, to the best device there is where none is named.

        Before the first update: an optimiser that has run keeps its averages where they were made.
        """
        self._where = torch.device(device) if device is not None else default_device()
        self.flownet.to(self._where)

    def load_model(self, path: str | Path, rank: int = 0) -> None:
        """Load ``flownet.pkl`` of a folder, or a file; names may begin with ``module.``.

        A file without the teacher, as published ones for inference are, leaves the teacher as it is.

        Args:
            path: a folder or a file.
            rank: of this process; only 0 and -1 load, for DDP hands parameters on.

        Raises:
            UnsupportedWeightsError: other names or shapes than the network's.
        """
        if rank > 0:
            return
        path = Path(path)
        weights = read_checkpoint(path / _FILE if path.is_dir() else path)
        state = {name.removeprefix("module."): value for name, value in weights.items()}
        own = self.flownet.state_dict()
        if not any(name.startswith(_TEACHER) for name in state):
            _log.warning("This file has no teacher (block_tea): the one in training stays as it is.")
            state |= {name: value for name, value in own.items() if name.startswith(_TEACHER)}
        _require_same(own, state)
        self.flownet.load_state_dict(state)

    def save_model(self, path: str | Path, rank: int = 0) -> None:
        """Write ``flownet.pkl`` into a folder, which is made: plain names, as :meth:`load_model` reads them.

        Args:
            path: the folder.
            rank: of this process; only 0 and -1 write.
        """
        if rank > 0:
            return
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{_FILE}.partial"
        torch.save({name: value.cpu() for name, value in self.flownet.state_dict().items()}, partial)
        # Renamed when it is whole, so that a run that is killed here leaves the file before.
        partial.replace(folder / _FILE)

    @torch.no_grad()
    def inference(
        self,
        img0: Tensor,
        img1: Tensor,
        scale: float = 1.0,
        scale_list: Sequence[float] = DIVISORS,
        TTA: bool = False,  # noqa: N803 - the published name
        timestep: float | Tensor = 0.5,
    ) -> Tensor:
        """Make the frame between two.

        Args:
            img0, img1: (N, 3, H, W), 0..1, of any size: padded by zeros, and cropped.
            scale: flow scale; every divisor is divided by it.
            scale_list: how far each block reduces its input. Read, never written to.
            TTA: average with a second pass on both pictures turned by 180 degrees.
            timestep: a number, or one for each pair; only read by IFNet_m.

        Returns:
            (N, 3, H, W) float32, 0..1.
        """
        height, width = img0.shape[-2:]
        divisors = tuple(divisor / scale for divisor in scale_list)
        rows, columns = padded_size(height, width, DIVISORS[0] / max(divisors))
        left, right = (
            F.pad(side.to(self._where, torch.float32), (0, columns - width, 0, rows - height))
            for side in (img0, img1)
        )
        times = _timesteps(timestep, len(left), self._where)
        frames = frames_between(self.flownet, (left, right), times, divisors, two_r=self._two_r, tta=TTA)
        return frames[..., :height, :width]

    def update(  # noqa: PLR0913 - the published call
        self,
        imgs: Tensor,
        gt: Tensor,
        learning_rate: float = 0.0,
        mul: float = 1.0,
        training: bool = True,
        flow_gt: Tensor | None = None,
        *,
        timestep: float | Tensor = 0.5,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a step of training, or only compute its losses.

        Args:
            imgs: (N, 6, H, W), both frames, 0..1; sides are multiples of 32, 64 and up.
            gt: (N, 3, H, W), the true frame.
            learning_rate: of this step.
            mul, flow_gt: read by nothing, as published.
            training: False: no step is taken and no gradient computed.
            timestep: of the true frame, a number or one for each pair; only read by IFNet_m.

        Returns:
            The frame made (N, 3, H, W), and ``merged_tea``, ``mask`` and ``mask_tea`` (0..1), ``flow`` (new
            frame to left), ``flow_tea`` (the teacher's; the network's own where nothing is trained, as
            published), ``loss_l1`` and ``loss_tea`` (Laplacian), ``loss_distill``.
        """
        for group in self.optimG.param_groups:
            group["lr"] = learning_rate
        self.flownet.train(training)
        imgs, gt = (x.to(self._where, torch.float32) for x in (imgs, gt))
        times = _timesteps(timestep, len(imgs), self._where)
        with torch.enable_grad() if training else torch.no_grad():
            frames, seen = self._run(imgs[:, :_RGB], imgs[:, _RGB:], gt, times)
            losses = {
                "loss_l1": laplacian_loss(frames, gt),
                "loss_tea": laplacian_loss(seen["merged_tea"], gt),
                "loss_distill": seen.pop("loss_distill"),
            }
        if training:
            loss = losses["loss_l1"] + losses["loss_tea"] + losses["loss_distill"] * _DISTILLATION_WEIGHT
            self.optimG.zero_grad()
            loss.backward()
            self.optimG.step()
        else:
            seen["flow_tea"] = seen["flow"]
        seen["flow"] = seen["flow"][:, :2]
        return frames, seen | losses


class _Pass(nn.Module):
    """The forward pass of training as one module, so that DDP sees everything that is computed."""

    def __init__(self, net: PaperNet, *, two_r: bool) -> None:
        super().__init__()
        self.net = net
        self._two_r = two_r

    def forward(
        self, left: Tensor, right: Tensor, truth: Tensor, timestep: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the frame, and what :meth:`Model.update` tells of it besides."""
        pictures = left, right
        levels = self.net.estimate(pictures, timestep, two_r=self._two_r)
        last = levels[-1]
        taught = self.net.teach(pictures, truth, timestep, last, two_r=self._two_r)
        frames = (last.blend + self.net.residual(pictures, last, two_r=self._two_r)).clamp(0.0, 1.0)
        distilled = distillation_loss(
            [level.flow for level in levels],
            [level.blend for level in levels],
            (taught.flow, taught.blend),
            truth,
        )
        return frames, {
            "merged_tea": taught.blend,
            "mask": last.mask.sigmoid(),
            "mask_tea": taught.mask.sigmoid(),
            "flow": last.flow,
            "flow_tea": taught.flow,
            "loss_distill": distilled,
        }


def _device_of(local_rank: int) -> torch.device:
    if local_rank >= 0 and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    return default_device() if local_rank < 0 else torch.device("cpu")


def _timesteps(timestep: float | Tensor, count: int, device: torch.device) -> Tensor:
    """Return one timestep a pair, (count,) float32."""
    times = torch.as_tensor(timestep, dtype=torch.float32, device=device).reshape(-1)
    if len(times) not in (1, count):
        raise BadInputError(
            "There is not one timestep for each pair.", f"{len(times)} for {count} pairs", "Give one, or all."
        )
    return times.expand(count)


def _require_same(own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    misshapen = sorted(n for n in own.keys() & given.keys() if own[n].shape != given[n].shape)
    if missing or unexpected or misshapen:
        raise UnsupportedWeightsError(
            "These weights do not fit this network of the RIFE paper.",
            f"missing {missing[:3]}, left over {unexpected[:3]}, of another shape {misshapen[:3]}",
            "IFNet_m is Model(arbitrary=True); IFNet and IFNet_2R are not.",
            missing=missing,
            unexpected=unexpected,
        )
