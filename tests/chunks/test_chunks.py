"""Long jobs: chunks joined are the whole, and whatever ended a run, the next one goes on."""

import errno
import json
import os
import shutil
from dataclasses import replace
from fractions import Fraction as Fr
from pathlib import Path

import av
import pytest
from clips import audio_packets, frames_of, pictures, times_of, write_clip
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, ModelChoice, process
from midframe.chunks.documents import read_document, write_document
from midframe.errors import BadInputError, MidframeError
from midframe.vfi_utils import Settings
from midframe.video import Coding, Plan, interpolate_video
from thin import thinned

NTSC = Fr(24000, 1001)


@pytest.fixture
def clip(tmp_path):
    options = {"qp": "8", "g": "7", "bf": "2"}
    return write_clip(tmp_path / "in.mp4", pictures(33, (64, 96)), rate=NTSC, sound="aac", options=options)


def job_of(source, name="out.mp4", plan=None, pairs=5, **more):
    folder = source.parent
    return Job(source, folder / name, folder / f"{name}.work", plan=plan or Plan(), pairs=pairs, **more)


def run(job, model=None, host=None, **more):
    return process(job, Inline(lambda: model or LerpModel()), host=host or RecordingHost(), **more)


def pixels(path):
    if path.is_dir():
        return [frames_of(file, "rgba")[0].tobytes() for file in sorted(path.iterdir())]
    return [frame.tobytes() for frame in frames_of(path)]


@pytest.mark.parametrize(
    ("name", "plan"),
    thinned(
        [
            ("out.mp4", Plan()),
            ("out.mp4", Plan(3, end="end_on_last")),
            ("out.mp4", Plan(fps=60)),
            ("out.mp4", Plan(fps=10)),
            ("out.mov", Plan(2, coding=Coding("prores"))),
            ("out.mkv", Plan(fps=60, coding=Coding("ffv1"))),
            ("out.mkv", Plan(2, coding=Coding("h265"))),
            ("out.webm", Plan(2)),
            ("out.gif", Plan(1)),
            ("out.webp", Plan(2)),
            ("out", Plan(2)),
        ],
        (0, 6, 10),
    ),
    ids=str,
)
def test_chunks_joined_are_one_run(clip, name, plan):
    job = job_of(clip, name, plan)
    written = run(job)
    single = interpolate_video(clip, clip.parent / f"single{job.target.suffix}", LerpModel(), plan)
    assert written.frames == single.frames
    if job.target.suffix == ".webp":  # which FFmpeg does not decode
        assert job.target.read_bytes() == single.path.read_bytes()
        return
    if job.target.suffix:
        assert times_of(job.target) == times_of(single.path)
    made, wanted = pixels(job.target), pixels(single.path)
    assert len(made) == len(wanted)
    if plan.coding.codec in ("ffv1", "prores") or job.target.suffix in ("", ".gif"):
        assert made == wanted
    assert sorted(p.name for p in job.workdir.iterdir()) == ["analysis.json", "done.json", "job.json", "lock"]


@pytest.mark.parametrize("name", thinned(["out.mp4", "out.mkv", "out.webm"], (0,)))
def test_the_joined_file_is_a_sound_one(clip, name):
    job = job_of(clip, name, Plan(2))
    run(job)
    single = interpolate_video(clip, clip.parent / f"single_{name}", LerpModel(), Plan(2)).path
    with av.open(str(job.target)) as a, av.open(str(single)) as b:
        of = [(c.streams.video[0], c) for c in (a, b)]
        first, second = [
            (
                s.average_rate,
                s.codec_context.name,
                s.codec_context.pix_fmt,
                c.duration,
                s.start_time,
                s.duration,
            )
            for s, c in of
        ]
        assert first == second
        packets = [p for p in a.demux(video=0) if p.size]
        decoding = [p.dts for p in packets if p.dts is not None]
        assert decoding == sorted(set(decoding))
        assert all(p.dts is None or p.dts <= p.pts for p in packets)
    assert audio_packets(job.target) == audio_packets(single)


def test_source_frames_are_read_and_encoded_once(clip):
    model = LerpModel()
    run(job_of(clip), model)
    assert model.calls["encode"] == 33
    assert model.calls["open"] == 1


def test_a_variable_rate_and_a_gap(tmp_path):
    times = [Fr(n, 120) for n in (0, 4, 12, 15, 35, 36, 80, 81, 82, 83, 84, 120, 124, 200)]
    source = write_clip(tmp_path / "in.mp4", pictures(14), times=times)
    for plan in (Plan(3, coding=Coding("h264", 0)), Plan(fps=30)):
        job = job_of(source, f"{plan.multiplier}.mp4", plan, pairs=1)
        run(job)
        single = interpolate_video(source, tmp_path / f"s{plan.multiplier}.mp4", LerpModel(), plan)
        assert times_of(job.target) == times_of(single.path)


def test_pictures_in_and_out_at_16_bit(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, frame in enumerate(pictures(9, channels=4, bits=16)):
        with av.open(str(folder / f"f{i}.png"), "w", format="image2", options={"update": "1"}) as file:
            stream = file.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "rgba64be"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba64le")))
            file.mux(stream.encode())
    job = job_of(folder, "out", Plan(fps=30, source_fps=Fr(24)), pairs=2)
    run(job)
    interpolate_video(folder, tmp_path / "single", LerpModel(), job.plan)
    assert pixels(job.target) == pixels(tmp_path / "single")
    with av.open(str(job.target / "00000001.png")) as file:
        assert next(file.decode(video=0)).format.name == "rgba64be"


class StopAt:
    """Fails or cancels at a step of the model."""

    def __init__(self, count, error):
        self.count, self.error = count, error

    def __call__(self, step):
        self.count -= step == "between"
        if self.count == 0:
            raise self.error


@pytest.mark.parametrize(
    "error", thinned([KeyboardInterrupt(), RuntimeError("a fault"), MidframeError("a", "b", "c")], (0,))
)
def test_a_run_that_failed_goes_on(clip, error):
    whole = job_of(clip, "whole.mkv", Plan(coding=Coding("ffv1")))
    run(whole)
    job, made = job_of(clip, "out.mkv", Plan(coding=Coding("ffv1"))), []
    with pytest.raises(type(error)):
        run(job, LerpModel(StopAt(18, error)), report=made.append)
    # Who cancels does not wait for what is still to be encoded.
    first = [r.chunk for r in made]
    assert first == [0, 1, 2][: len(first)]
    assert len(first) == 3 or isinstance(error, KeyboardInterrupt)
    assert not job.target.exists()
    assert not [p for p in job.workdir.iterdir() if "tmp" in p.name]
    model, host, again = LerpModel(), RecordingHost(), []
    run(job, model, host, report=again.append)
    assert [r.chunk for r in again] == list(range(len(first), 7))
    assert model.calls["between"] == 32 - 5 * len(first)
    assert pixels(job.target) == pixels(whole.target)
    done = [seen[0] for seen in host.seen]
    assert done[0] == 10 * len(first) + 1
    assert (done[-1], host.seen[-1][1]) == (66, 66)


def tear(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "lost"),
    thinned(
        [
            ("000006.mkv", tear, 1),
            ("000002.mkv", flip, 1),
            ("000001.mkv", os.unlink, 1),
            ("000003.json", flip, 1),
            ("000003.json", lambda path: path.write_text(""), 1),
            ("000006.json", os.unlink, 1),
            ("job.json", flip, 0),
            ("job.json", os.unlink, 0),
            ("lock", os.unlink, 0),
        ],
        (3, 5),
    ),
)
def test_damage_costs_only_what_is_damaged(clip, monkeypatch, name, damage, lost):
    whole = job_of(clip, "whole.mkv", Plan(coding=Coding("ffv1")))
    run(whole)
    job, made = job_of(clip, "out.mkv", Plan(coding=Coding("ffv1"))), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("midframe.chunks.run.join", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(job)
    damage(job.workdir / name)
    (job.workdir / ".000004.0123abcd.tmp.mkv").write_bytes(b"half")
    run(job, report=made.append)
    assert len(made) == lost
    assert pixels(job.target) == pixels(whole.target)


def test_a_damaged_job_of_pictures_goes_on(clip):
    job = job_of(clip, "out")
    run(job, keep_chunks=True)
    assert [path.name for path in sorted(job.workdir.glob("00000[01]*"))] == [
        "000000", "000000.json", "000001", "000001.json",
    ]  # fmt: skip
    shutil.rmtree(job.target)
    flip(job.workdir / "job.json")
    for record in job.workdir.glob("0*.json"):
        flip(record)
    assert run(job).frames == 66


def test_another_job_is_refused_and_the_difference_is_named(clip):
    job = job_of(clip)
    with pytest.raises(RuntimeError):
        run(job, LerpModel(StopAt(18, RuntimeError())))
    for other, match in (
        (job_of(clip, plan=Plan(3)), "multiplier was 2, is now 3"),
        (job_of(clip, pairs=6), "pairs per chunk was 5, is now 6"),
        (job_of(clip, settings=Settings(options={"flow_scale": 0.5})), "options was"),
        (job_of(clip, model=ModelChoice(dtype="float16")), "model was"),
    ):
        with pytest.raises(BadInputError, match="another job") as caught:
            run(other)
        assert match in caught.value.found
    flip(clip)
    with pytest.raises(BadInputError, match="source was"):
        run(job)
    flip(clip)
    moved = Path(shutil.copy(clip, clip.with_name("copy.mp4")))
    made = []
    run(Job(moved, job.target, job.workdir, pairs=5), report=made.append)
    assert len(made) == 4


def test_a_source_that_changes_meanwhile_is_refused(clip):
    with pytest.raises(BadInputError, match="changed while"):
        run(job_of(clip), report=lambda done: flip(clip) if done.chunk == 0 else None)
    assert not (clip.parent / "out.mp4").exists()


def test_done_is_done(clip):
    job = job_of(clip)
    frames = run(job).frames
    before = job.target.stat().st_mtime_ns
    assert run(job, LerpModel(StopAt(1, AssertionError("made again")))).frames == frames
    assert job.target.stat().st_mtime_ns == before
    with pytest.raises(BadInputError, match="there already"):
        run(job_of(clip, plan=Plan(3)))
    job.target.write_bytes(b"mine")
    with pytest.raises(BadInputError, match="there already"):
        run(job)
    job.target.unlink()
    assert run(job).frames == frames


def test_killed_between_the_two_last_steps(clip, monkeypatch):
    job = job_of(clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("midframe.chunks.store.Store.drop_segments", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(job)
    assert job.target.exists()
    assert run(job).frames == 66
    assert sorted(p.name for p in job.workdir.iterdir()) == ["analysis.json", "done.json", "job.json", "lock"]


def test_a_disk_that_fills_up_at_the_very_end(clip):
    job = job_of(clip)
    with pytest.MonkeyPatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr("midframe.chunks.store.fingerprint", lambda _: (_ for _ in ()).throw(full))
        with pytest.raises(MidframeError, match="run the same again"):
            run(job)
    assert sorted(p.name for p in clip.parent.iterdir()) == ["in.mp4", "out.mp4.work"]
    assert run(job, LerpModel(StopAt(1, AssertionError("made again")))).frames == 66


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_killed_while_joining(clip, name):
    job = job_of(clip, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("midframe.chunks.run.Target.discard", lambda _: None)
        patch.setattr("midframe.chunks.store.Store.finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(job)
    assert [path for path in clip.parent.iterdir() if ".tmp" in path.name]
    assert run(job, LerpModel(StopAt(1, AssertionError("made again")))).frames == 66
    assert sorted(p.name for p in clip.parent.iterdir()) == ["in.mp4", name, f"{name}.work"]


@pytest.mark.parametrize("name", ["letter.txt", "000001.png", "000001.mp4", "123456", "000002.json"])
def test_a_folder_of_other_things_is_left_alone(clip, tmp_path, name):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("dear")
    with pytest.raises(BadInputError, match="something else"):
        run(Job(clip, tmp_path / "out.mp4", folder))
    assert (folder / name).read_text() == "dear"


@pytest.mark.parametrize(
    ("target", "folder"),
    [("out.mp4", "in"), ("out.mp4", ""), ("out", "out"), ("out", "out/work"), ("work/out.mp4", "work")],
)
def test_chunks_do_not_mix_with_the_source_or_the_output(tmp_path, target, folder):
    source = tmp_path / "in"
    source.mkdir()
    (tmp_path / "work").mkdir()
    for number, pixels in enumerate(pictures(2, (64, 96))):
        write_clip(source / f"{number:06d}.png", [pixels], codec="png", pix_fmt="rgb24")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInputError, match="nothing but chunks"):
        run(Job(source, tmp_path / target, tmp_path / folder))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_begun_leaves_nothing_behind(clip, tmp_path):
    (tmp_path / "there.mp4").write_bytes(b"mine")
    (tmp_path / "text.mp4").write_text("no video")
    before = sorted(tmp_path.rglob("*"))
    for job, match in (
        (job_of(clip, "there.mp4"), "there already"),
        (job_of(tmp_path / "text.mp4"), "cannot be read"),
        (job_of(clip, "out.xyz"), "cannot be written"),
        (Job(clip, tmp_path / "out.mp4", tmp_path / "text.mp4"), "cannot be a work folder"),
        (Job(clip, tmp_path / "out.mp4", tmp_path / "text.mp4" / "work"), "cannot be a work folder"),
    ):
        with pytest.raises(BadInputError, match=match):
            run(job)
    assert sorted(tmp_path.rglob("*")) == before


def test_two_at_once_are_refused(clip):
    job = job_of(clip)

    class Meddler(RecordingHost):
        def check_cancelled(self):
            super().check_cancelled()
            if self.checks % 10 == 1:
                with pytest.raises(BadInputError, match="Another process"):
                    run(job)

    run(job, host=Meddler())


def test_every_record_says_what_it_must_be(clip):
    job = job_of(clip)
    run(job, keep_chunks=True)
    records = [json.loads(path.read_text()) for path in sorted(job.workdir.glob("0*.json"))]
    assert [r["chunk"] for r in records] == list(range(7))
    assert [len(r["times"]) for r in records] == [10] * 6 + [6]
    assert [r["ended"] for r in records] == [False] * 6 + [True]
    for record in records:
        assert (job.workdir / record["file"]).stat().st_size == record["bytes"]


def no_model():
    raise AssertionError("a chunk was begun")


def test_what_cannot_be_carried_is_said_before_the_first_chunk(tmp_path, caplog):
    source = write_clip(tmp_path / "in.mkv", pictures(3, (64, 64)), sound="aac")
    with pytest.raises(AssertionError, match="a chunk was begun"):
        process(job_of(source, "out.gif"), Inline(no_model), host=RecordingHost())
    assert caplog.text.count("Left out of in.mkv") == 1


def test_an_output_that_cannot_be_opened_is_found_before_the_first_chunk(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pictures(3, (64, 64)), sound="aac")
    job = job_of(source, "out.mp4", Plan(coding=Coding(preset="nonsense")))
    with pytest.raises(MidframeError, match="cannot be written"):
        process(job, Inline(no_model), host=RecordingHost())
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".mp4"] == []


def test_the_account_of_chunks_is_said_once(tmp_path, caplog):
    source = write_clip(tmp_path / "in.mkv", pictures(12, (64, 64)), sound="aac")
    run(job_of(source, "out.gif", pairs=3))
    assert caplog.text.count("Left out of in.mkv") == 1


def test_the_folder_of_a_finished_job_is_small_and_says_why_it_stays(clip, caplog):
    caplog.set_level("INFO")
    job = job_of(clip)
    run(job)
    done = json.loads((job.workdir / "done.json").read_text())
    assert "can be removed at any time" in done["why this stays"]
    assert str(job.workdir) in caplog.text
    assert sum(path.stat().st_size for path in job.workdir.iterdir()) < 8192
    again = LerpModel(StopAt(1, AssertionError("made again")))
    assert run(job, again).frames == 66
    # As earlier versions wrote it.
    content = read_document(job.workdir / "done.json")
    del content["why this stays"]
    write_document(job.workdir / "done.json", content)
    assert run(job, again).frames == 66
    shutil.rmtree(job.workdir)
    with pytest.raises(BadInputError, match="there already"):
        run(job, again)
    job.target.unlink()
    assert run(job).frames == 66


def test_chunks_that_are_kept_give_a_second_output(clip):
    job = job_of(clip)
    run(job, keep_chunks=True)
    kept = sorted(path.name for path in job.workdir.iterdir())
    assert "000000.json" in kept
    second = replace(job, target=job.target.with_name("second.mp4"))
    assert run(second, LerpModel(StopAt(1, AssertionError("made again"))), keep_chunks=True).frames == 66
    assert second.target.read_bytes() == job.target.read_bytes()
    assert sorted(path.name for path in job.workdir.iterdir()) == kept
