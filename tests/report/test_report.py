"""A report on a clip: which model comes nearest, what is in it, and the page that shows it."""

import html.parser
import json
import math
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from clips import pictures, write_clip
from fakes import LerpModel, RecordingHost
from midframe import NODE_CLASS_MAPPINGS, cli
from midframe.analysis.notes import Analysis, PairNote
from midframe.errors import BadInputError, CorruptWeightsError
from midframe.nodes import _host
from midframe.report.make import make
from midframe.report.measure import BLEND, candidates
from midframe.report.page import findings, page
from midframe.video.read.tensor import TensorClip


def moving(count=14, size=(48, 64)):
    """A picture that moves 2 pixels a frame: the frame half-way between two is known."""
    torch.manual_seed(1)
    scene = torch.nn.functional.avg_pool2d(torch.rand(1, 3, size[0], size[1] + 2 * count), 5, 1, 2)[0]
    return torch.stack([scene[:, :, 2 * i : 2 * i + size[1]].permute(1, 2, 0) for i in range(count)])


def opens(frames):
    return lambda: TensorClip(frames, Fraction(16))


def lends(model):
    return lambda height, width: nullcontext(model)


class Knowing(LerpModel):
    """Makes the very frame that was left out."""

    frames = moving()

    def between(self, left, right, timestep):
        batch = self.frames.permute(0, 3, 1, 2)
        index = (batch - left).flatten(1).abs().sum(1).argmin()
        return batch[index + 1][None]


def reported(frames, *models, **options):
    return make("clip", opens(frames), models, RecordingHost(), **options)


def test_the_model_that_comes_nearest_is_first():
    report = reported(moving(), ("mean", lends(LerpModel())), ("knowing", lends(Knowing())))
    assert report.scores[0].model == "knowing"
    by_name = {score.model: score for score in report.scores}
    assert by_name["knowing"].psnr == 60
    assert by_name["knowing"].ssim == pytest.approx(1, abs=1e-6)
    # Half-way the stand-in is the blend; it is measured on the same frames.
    assert by_name["mean"].over_blend == pytest.approx(0, abs=1e-3)
    assert by_name["mean"].psnr == pytest.approx(by_name[BLEND].psnr, abs=1e-3)
    assert report.advice.startswith("knowing comes nearest to this clip's own frames: 60.0 dB")


def test_a_model_that_cannot_be_loaded_or_run_costs_only_itself():
    def broken(height, width):
        raise CorruptWeightsError("These weights are damaged.", "x.pth", "Download them again.")

    report = reported(moving(), ("broken", broken), ("mean", lends(LerpModel())))
    scores = {score.model: score for score in report.scores}
    assert scores["broken"].error == "These weights are damaged. x.pth"
    assert len(scores["mean"].rebuilt) == 12
    assert "These weights are damaged." in page(report)
    assert json.loads(report.to_json())["models"][-1]["psnr"] is None


def test_frames_at_cuts_and_beside_their_equals_are_not_measured():
    notes = Analysis((PairNote(4, cut=True), PairNote(8, held="equal"), PairNote(9, dissolve=True)))
    times = [i / 10 for i in range(14)]
    assert candidates(notes, times, 100) == [1, 2, 3, 6, 7, 11, 12]
    # An uneven step: its frame does not lie half-way.
    assert candidates(Analysis(()), [0, 0.1, 0.3, 0.4, 0.5], 100) == [3]
    assert candidates(Analysis(()), times, 3) == [3, 7, 11]
    assert candidates(Analysis(()), times[:2], 3) == []


def test_two_shots_are_told_and_shown():
    shots = torch.cat((moving(10), 1 - moving(10).flip(2)))
    report = reported(shots, most=4)
    assert [note.index for note in report.analysis.pairs if note.cut] == [9]
    assert findings(report)[0].startswith(f"Cuts: {10 / 16:.2f} s.")
    assert {one.frame for one in report.scores[0].rebuilt} <= set(range(1, 19)) - {9, 10}
    assert math.prod(report.sheet.size) > 0


class Reader(html.parser.HTMLParser):
    """Every address that a page asks for."""

    def __init__(self):
        super().__init__()
        self.asked, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.asked += [value for name, value in attributes if name in ("src", "href")]


def test_the_page_holds_everything_and_names_are_no_markup():
    report = make("<b>&clip", opens(moving()), [("<i>", lends(LerpModel()))], RecordingHost(), most=3)
    text = page(report)
    reader = Reader()
    reader.feed(text)
    assert len(reader.asked) == 1 + 3 * 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.asked)
    assert "<b>&clip" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;&amp;clip" in text


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_without_a_frame_to_leave_out_is_refused(frames):
    with pytest.raises(BadInputError, match="three frames"):
        reported(moving(frames))


def test_a_clip_that_stands_says_that_nothing_could_be_measured():
    report = reported(moving(1).expand(8, -1, -1, -1), ("mean", lends(LerpModel())))
    assert report.advice.startswith("Nothing could be measured")
    assert page(report)
    assert "Frames that repeat the one before: 7 of 7." in findings(report)[1]


def test_cancel_ends_it():
    class Cancelled(Exception):
        pass

    class Cancelling(RecordingHost):
        def check_cancelled(self):
            if self.done:
                raise Cancelled

        done = 0

        def progress(self, done, total, preview):
            self.done = done

    with pytest.raises(Cancelled):
        make("clip", opens(moving()), [("mean", lends(LerpModel()))], Cancelling())


def test_the_command(tmp_path, capsys):
    clip = write_clip(tmp_path / "in.mp4", pictures(8, (64, 64)))
    words = ["report", str(clip), "--model", "default", "--frames", "2", "--quiet"]
    assert cli.main([*words, "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert "default" in said
    numbers = json.loads((tmp_path / "r.json").read_text())
    assert {score["model"] for score in numbers["models"]} == {"default", "blend"}
    assert numbers["frames"] == 8
    assert (tmp_path / "in.mp4.html").read_text().startswith("<!DOCTYPE html>")
    assert cli.main(words) == 2


def test_the_node(tmp_path, monkeypatch):
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path)
    monkeypatch.setattr(_host, "temp_folder", lambda: tmp_path)
    monkeypatch.setattr("midframe.nodes.report.on_this_computer", lambda: ["default"])
    done = NODE_CLASS_MAPPINGS["MidframeReport"]().report(2, frames=moving(6))
    sheet, summary, numbers = done["result"]
    assert sheet.shape[0] == 1
    assert sheet.shape[-1] == 3
    assert sheet.dtype == torch.float32
    assert json.loads(numbers)["advice"] in summary
    written = Path(summary.rpartition("Page: ")[2])
    assert written.parent == tmp_path
    assert (tmp_path / done["ui"]["images"][0]["filename"]).is_file()
    with pytest.raises(BadInputError, match="One clip"):
        NODE_CLASS_MAPPINGS["MidframeReport"]().report(2)
