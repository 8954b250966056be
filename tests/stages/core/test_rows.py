"""Rows through Arrow and back: types are declared, never guessed."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.records import PAYLOAD, ROW, shard_schema
from stages.core.rows import rows_from_table, table_from_rows


def test_arrays_come_back_with_shape_type_and_values():
    rng = np.random.default_rng(0)
    row = {
        "source_id": "a",
        "landmarks": rng.normal(size=(3, 1434)).astype(np.float16),
        "crop_box_xyxy_px": np.zeros((3, 4), np.float32),
        "exp_coeff": rng.normal(size=(3, 52)).astype(np.float32),
        "audio_pcm16": np.arange(1920, dtype=np.int16),
        "audio_fingerprint": np.array([1, 2**32 - 1], np.uint32),
        "face_jpeg": [b"x", b"", b"z"],
        "tags": ["news", "studio"],
    }
    (back,) = rows_from_table(table_from_rows([row]))
    assert back.keys() == row.keys()
    for key, value in row.items():
        if isinstance(value, np.ndarray):
            assert back[key].dtype == value.dtype and back[key].shape == value.shape
            np.testing.assert_array_equal(back[key], value)
        else:
            assert back[key] == value


def test_a_row_without_payload_has_the_same_schema():
    full = table_from_rows([{"source_id": "a", "pts_s": np.zeros(2)}])
    bare = table_from_rows([{"source_id": "b"}])
    assert full.schema == bare.schema == ROW
    assert rows_from_table(bare) == [{"source_id": "b"}]


def test_slices_of_a_table_give_their_own_arrays():
    rows = [{"source_id": str(n), "whisper": np.full((n + 1, 8), n, np.float16)} for n in range(4)]
    back = rows_from_table(table_from_rows(rows).slice(2, 1))
    assert back[0]["whisper"].shape == (3, 8) and (back[0]["whisper"] == 2).all()


def test_an_undeclared_column_is_refused_by_name():
    with pytest.raises(KeyError, match="sharpness"):
        table_from_rows([{"source_id": "a", "sharpness": 1.0}])


def test_a_wrong_width_is_refused_by_name():
    with pytest.raises(TypeError, match="landmarks"):
        table_from_rows([{"source_id": "a", "landmarks": np.zeros((2, 468 * 3))}])


def test_every_column_says_what_it_is():
    for field in PAYLOAD:
        assert field.metadata[b"description"]


def test_a_shard_has_fixed_widths_and_no_working_columns():
    schema = shard_schema(exp_dim=52, whisper_dim=2560)
    exact = shard_schema(exp_dim=52, whisper_dim=2560, exact_whisper=True)
    assert exact.field("whisper").type.value_type.list_size == 2560
    assert not {"media_path", "verdict", "fault_reason"} & set(schema.names)
