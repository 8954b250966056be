from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.shards.clips import Clip, ClipTable, DataError, LoaderConfig
from model.shards.samples import EditorDataset, MotionDataset, Plan, endless_loader, parts_of
from model.shards.views import (
    AugmentConfig,
    Change,
    Views,
    apply_change,
    audio_window,
    depth_view,
    lip_mask,
    reference_frame,
    widened,
)
from stages.depth import DepthConfig, DepthRenderer
from stages.face3d.camera import crop_focal_px
from tests.shards import AUDIO_LAYERS, clip_row, landmarks, whisper, write_shards

STILL = AugmentConfig(colour_jitter=0.0, grayscale_prob=0.0, min_crop_scale=1.0, depth_drop_prob=0.0, depth_shift=0.0)
LOADER = LoaderConfig(draws_per_visit=4, pool_clips=2, num_workers=0)


def whole_depth(clip: Clip, frame: int, lips: np.ndarray) -> np.ndarray:
    """The depth picture of the mouth, cut out of a depth map of the whole face."""
    renderer, only = DepthRenderer(DepthConfig()), slice(frame, frame + 1)
    focal_px = crop_focal_px(clip.matrix("crop_box_xyxy_px")[only].astype(float))
    depth_mm = renderer.render(clip.array("id_coeff"), clip.exp_coeff[only], clip.pose[only], focal_px)[0]
    return depth_view(depth_mm, lips, float(clip.pose[frame, 5]))


def steps_of(tokens: np.ndarray) -> np.ndarray:
    """(steps, layers) of step numbers and layers that the tokens name."""
    return tokens[:, 0].reshape(-1, AUDIO_LAYERS)


def test_audio_window_is_centred_on_the_frame():
    tokens = audio_window(whisper(30), 10, steps=10, layers=AUDIO_LAYERS)
    assert tokens.shape == (50, 8)
    named = steps_of(tokens)
    assert (named[:, 0] / 10).tolist() == list(range(16, 26))  # frame 10 lies over steps 20 and 21
    assert (named - named[:, :1]).tolist() == [[0, 1, 2, 3, 4]] * 10


def test_audio_window_repeats_the_ends():
    first, last = (audio_window(whisper(30), i, steps=10, layers=AUDIO_LAYERS) for i in (0, 29))
    assert (steps_of(first)[:, 0] / 10).tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert (steps_of(last)[:, 0] / 10).tolist() == [54, 55, 56, 57, 58, 59, 59, 59, 59, 59]


def test_lip_mask_is_the_drawn_mouth():
    mask = lip_mask(landmarks(1.0))
    assert mask[190, 128] and mask[212, 128] and not mask[220, 128] and not mask[:160].any()
    assert lip_mask(landmarks(0.0)).sum() < mask.sum() < widened(mask, 8).sum()


def test_depth_view_is_metric():
    mask = np.ones((256, 256), bool)
    mask[:128] = False
    depth = np.full((256, 256), 700.0, np.float32)
    depth[200], depth[210], depth[220] = 690.0, 0.0, 400.0
    view = depth_view(depth, mask, 700.0)
    assert (view[:128] == 0).all() and view[150, 0] == 128 and view[210, 0] == 0 and view[220, 0] == 255
    assert view[200, 0] == 128 + int(10 * 127 / 64)


@pytest.mark.parametrize("target", [0, 4, 15, 29])
def test_reference_is_at_least_five_frames_away(target: int):
    random = np.random.default_rng(0)
    drawn = {int(reference_frame(30, target, 5, random)) for _ in range(500)}
    assert drawn == {j for j in range(30) if abs(j - target) >= 5}


def test_no_reference_in_a_clip_too_short():
    with pytest.raises(ValueError, match="9 frames has no frame 5 away from frame 4"):
        reference_frame(9, 4, 5, np.random.default_rng(0))


def test_sample_without_augmentation_is_the_clip(shards: Path):
    dataset = EditorDataset(str(shards), "train", LOADER, STILL, seed=0)
    for number in range(20):
        sample = dataset[number]
        clip, frame = dataset.table.clip(int(sample["clip"])), int(sample["frame"])
        assert np.array_equal(sample["target"].numpy().transpose(1, 2, 0), clip.face(frame))
        assert (steps_of(sample["audio"].numpy())[4, 0] / 10) == 2 * frame
        lips = lip_mask(clip.landmarks[frame])
        assert np.array_equal(sample["depth"][0].numpy(), whole_depth(clip, frame, lips))
        assert (sample["depth"][0].numpy()[lips] > 0).mean() > 0.9


def test_a_change_moves_all_pictures_alike_and_the_depth_once_more():
    marked = np.zeros((256, 256), np.uint8)
    marked[120:140, 80:100] = 200
    colour = np.column_stack([np.eye(3) / 2, np.zeros(3)])
    change = Change(colour, left=40, top=60, side=128, shift=(6, -4))
    views = apply_change(Views(np.dstack([marked] * 3), np.dstack([marked] * 3), marked, marked), change)
    box = np.s_[122:158, 82:118]  # twice the size, from (120 - 60, 80 - 40); without the soft rim
    assert (views.target[box] == 100).all() and (views.reference == views.target).all()
    assert (views.mouth[box] == 200).all() and views.mouth.sum() == 200 * 40 * 40
    assert views.depth is not None and (np.roll(views.mouth, (-4, 6), (0, 1)) == views.depth).all()
    assert apply_change(Views(views.target, views.target, None, views.mouth), change).depth is None


@pytest.mark.parametrize("by_px", [1, 8])
def test_a_mask_is_widened_by_so_many_pixels(by_px: int):
    mask = np.zeros((256, 256), bool)
    mask[0, 100] = mask[200, 30] = True
    wide = widened(mask, by_px)
    rows, columns = np.indices(mask.shape)
    far = np.minimum(np.hypot(rows, columns - 100), np.hypot(rows - 200, columns - 30))
    assert wide[far <= by_px - 0.5].all() and not wide[far > by_px + 0.5].any()
    assert not widened(np.zeros((256, 256), bool), by_px).any()


@pytest.mark.parametrize(("share", "of_ten"), [(0.0, 0), (0.1, 1), (0.5, 5), (0.7, 7), (1.0, 10)])
def test_every_batch_has_as_many_samples_without_depth_as_asked(shards: Path, share: float, of_ten: int):
    dataset = EditorDataset(str(shards), "train", LOADER, AugmentConfig(depth_drop_prob=share), seed=0)
    batches = endless_loader(dataset, 10, 7, 0)
    for batch in (next(batches), next(batches)):
        assert len(batch["target"]) == 10
        if of_ten == 10:
            assert "depth" not in batch and "depth_of" not in batch
        else:
            assert batch["depth"].shape == (10 - of_ten, 1, 256, 256) and (batch["depth"].amax((1, 2, 3)) > 0).all()
            assert len(set(batch["depth_of"].tolist())) == 10 - of_ten


def test_a_batch_names_the_samples_that_its_depths_are_of(shards: Path):
    dataset = EditorDataset(str(shards), "train", LOADER, AugmentConfig(), seed=0)
    batch = next(endless_loader(dataset, 6, 0, 0))
    for place, depth in zip(batch["depth_of"].tolist(), batch["depth"], strict=True):
        assert torch.equal(dataset[place]["depth"], depth)


@pytest.mark.parametrize(
    ("number", "most", "sizes"), [(128, 32, [32] * 4), (16, 6, [6, 5, 5]), (4, 9, [4]), (5, None, [5]), (3, 1, [1] * 3)]
)
def test_parts_are_few_and_alike(number: int, most: int | None, sizes: list[int]):
    assert parts_of(number, most) == sizes


def test_parts_are_the_batch_in_order(shards: Path):
    dataset = EditorDataset(str(shards), "train", LOADER, AugmentConfig(), seed=0)
    whole, parts = endless_loader(dataset, 5, 2, 0), endless_loader(dataset, 5, 2, 0, micro_batch=2)
    for _ in range(2):
        joined = torch.cat([next(parts)["target"] for _ in range(3)])
        assert torch.equal(joined, next(whole)["target"])


def test_samples_depend_on_seed_and_number_only(shards: Path):
    once, again, other = (EditorDataset(str(shards), "train", LOADER, AugmentConfig(), seed=s) for s in (3, 3, 4))
    ahead = {n: again[n] for n in (40, 7, 21)}
    for number, sample in ahead.items():
        assert all(torch.equal(sample[k], v) for k, v in once[number].items())
        assert not torch.equal(sample["target"], other[number]["target"])


def test_ranks_and_resume_share_one_order(shards: Path):
    dataset = EditorDataset(str(shards), "train", LOADER, AugmentConfig(), seed=0)
    alone = endless_loader(dataset, 4, 0, 0)
    whole = [next(alone)["frame"] for _ in range(4)]
    ranks = [endless_loader(dataset, 4, 1, 0, None, rank, 2) for rank in (0, 1)]  # both, from the second batch on
    halves = torch.cat([next(ranks[0])["frame"], next(ranks[1])["frame"]])
    assert torch.equal(halves, whole[1])


def test_workers_do_not_change_the_order(shards: Path):
    dataset = EditorDataset(str(shards), "train", LOADER, AugmentConfig(), seed=0)
    here, there = endless_loader(dataset, 4, 0, 0), endless_loader(dataset, 4, 0, 1)
    for _ in range(3):
        mine, theirs = next(here), next(there)
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_an_epoch_visits_clips_by_their_length():
    plan = Plan([32, 16, 4], draws=8, pool=2, seed=1)
    for epoch in (0, 1):
        clips = [plan.clip_of(epoch * plan.samples_per_epoch + i) for i in range(plan.samples_per_epoch)]
        assert np.bincount(clips).tolist() == [32, 16, 8]
    order = [plan.clip_of(i) for i in range(2 * plan.samples_per_epoch)]
    assert order[: plan.samples_per_epoch] != order[plan.samples_per_epoch :]


def test_short_clips_are_left_out_and_counted(tmp_path: Path):
    table = ClipTable(str(write_shards(tmp_path, (30, 8, 12))), "train", ("num_frames",), min_frames=10)
    assert [c.num_frames for c in table.clips] == [30, 12]
    assert table.num_too_short == 1


def test_missing_shards_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=f"no val-.*parquet in {tmp_path}"):
        ClipTable(str(tmp_path), "val", ("num_frames",), 1)


def test_layers_must_divide_the_features(shards: Path):
    with pytest.raises(DataError, match="counting gives 40 numbers a step, not a multiple of loader"):
        EditorDataset(str(shards), "train", LoaderConfig(audio_layers=3), STILL, 0)


def test_motion_sample_is_aligned(shards: Path):
    dataset = MotionDataset(str(shards), "train", LoaderConfig(window_frames=12), seed=0)
    truth = [clip_row(i, n)["exp_coeff"] for i, n in enumerate((30, 30, 24))]
    for number in range(10):
        sample = dataset[number]
        first = int(sample["whisper"][0, 0]) // 20
        assert sample["whisper"].shape == (24, 40) and sample["exp"].shape == (12, 52)
        assert any(np.allclose(sample["exp"], t[first : first + 12]) for t in truth if len(t) >= first + 12)
