"""What shards hold of a clip that the parts have whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.shards.samples import ClipTable, EditorDataset
from model.training.config import AugmentConfig, LoaderConfig
from pipeline.dataset.shards import to_levels
from pipeline.finalize import finalize
from pipeline.job.parts import write_part
from pipeline.rules.config import Config, load_config
from stages.core.records import CROP_PX, shard_schema
from stages.core.rows import table_from_rows
from stages.depth import encode_depth
from tests.rows import kept_clip
from tests.shards import drawn

pytestmark = pytest.mark.slow

NUM_FRAMES = 75
STATES = np.random.default_rng(0).normal(3, 2, (2 * NUM_FRAMES, 40)).astype(np.float16)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A clip of every stage, finalized as by default."""
    depth = [encode_depth(np.zeros((CROP_PX, CROP_PX)))] * NUM_FRAMES
    row = kept_clip("a", 0, num_frames=NUM_FRAMES, **drawn(0, NUM_FRAMES) | {"depth": depth, "whisper": STATES})
    write_part(table_from_rows([row]), tmp_path, 1)
    finalize(tmp_path, load_config([], ["finalize.val_ratio=0", "finalize.test_ratio=0"]))
    return tmp_path


def again(out: Path, *overrides: str) -> pq.ParquetFile:
    config = load_config([], ["finalize.val_ratio=0", "finalize.test_ratio=0", *overrides])
    finalize(out, config)
    return pq.ParquetFile(out / "shards" / "train-00000.parquet")


def states(out: Path) -> np.ndarray:
    table = ClipTable(str(out / "shards"), "train", ("whisper", "whisper_step"), 1)
    return table.clip(0).whisper(np.arange(2 * NUM_FRAMES))


def test_states_are_rounded_to_steps_of_their_own(out):
    schema = pq.read_schema(out / "shards" / "train-00000.parquet")
    assert schema.names == shard_schema(52, 40).names
    assert schema.field("whisper").type.value_type == pa.binary()
    error = states(out) - STATES
    assert 0.01 < np.sqrt((error**2).mean()) / 2 < 0.06


def test_the_loader_hears_exact_states_where_they_are_kept(out):
    assert "whisper_step" not in again(out, "finalize.exact_whisper=true").schema_arrow.names
    assert np.array_equal(states(out), STATES.astype(np.float32))


def test_depth_can_be_left_out_and_put_back(out):
    def sample() -> dict[str, np.ndarray]:
        config = AugmentConfig(depth_drop_prob=0.0)
        data = EditorDataset(str(out / "shards"), "train", LoaderConfig(num_workers=0), config, seed=0)
        return {name: value.numpy() for name, value in data[0].items()}

    before, size = sample(), (out / "shards" / "train-00000.parquet").stat().st_size
    assert "depth" not in again(out, "finalize.depth=false").schema_arrow.names
    assert (out / "shards" / "train-00000.parquet").stat().st_size < size
    assert before["depth"].any() and all(np.array_equal(before[name], value) for name, value in sample().items())
    assert len(again(out).read(["depth"])["depth"][0]) == NUM_FRAMES


def test_shards_that_stand_are_not_written_again(out):
    file = out / "shards" / "train-00000.parquet"
    before = file.stat().st_mtime_ns
    again(out)
    assert file.stat().st_mtime_ns == before
    again(out, "finalize.depth=false")
    assert file.stat().st_mtime_ns > before
    assert Config().finalize.depth


def test_states_come_back_within_half_a_step() -> None:
    random = np.random.default_rng(0)
    spread = np.geomspace(0.1, 8, 40)
    states = (random.normal(size=(400, 40)) * spread + 3 * spread).astype(np.float16)
    levels, step = to_levels(states)
    assert levels.dtype == np.int8 and step.shape == (40,)
    error = np.abs(levels * step - states)
    assert (error <= step / 2 + 1e-3).all()
    assert (np.sqrt((error**2).mean(axis=0)) < 0.053 * states.std(axis=0)).all()


def test_a_single_large_value_is_kept() -> None:
    states = np.zeros((400, 3), np.float16)
    states[7, 1], states[:, 2] = -575, 0.25
    levels, step = to_levels(states)
    back = levels * step
    assert abs(back[7, 1] + 575) <= step[1] / 2 and not np.delete(back[:, 1], 7).any()
    assert not back[:, 0].any() and np.allclose(back[:, 2], 0.25, rtol=0.01)
