"""Rows as Arrow tables and back, without ever letting a library guess a type.

Numeric list columns become NumPy arrays of shape (T,) or (T, width); everything else becomes plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from stages.core.records import ROW, Row

TIMES = ("duration_s", "shot_start_s", "shot_end_s", "start_s", "end_s")
"""Columns from which the length of a row's video follows."""


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)


def _numeric_depth(kind: pa.DataType) -> int:
    """0: not a numeric array, 1: (T,), 2: (T, width)."""
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth if pa.types.is_primitive(kind) else 0


def _to_numpy(scalar: pa.Scalar, depth: int) -> np.ndarray | None:
    values = scalar.values
    if values is None:
        return None
    if depth == 1:
        return values.to_numpy(zero_copy_only=False)
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)


def _list_array(value: np.ndarray | None, kind: pa.DataType, depth: int) -> pa.Array:
    if value is None:
        return pa.nulls(1, kind)
    array = np.asarray(value)
    if array.ndim != depth:
        raise ValueError(f"an array of {depth} dimensions is declared, got shape {array.shape}")
    if depth == 1:
        items = pa.array(np.ascontiguousarray(array, dtype=kind.value_type.to_pandas_dtype()), kind.value_type)
    else:
        inner = kind.value_type
        flat = np.ascontiguousarray(array, dtype=inner.value_type.to_pandas_dtype()).reshape(-1)
        if pa.types.is_fixed_size_list(inner):
            if array.shape[1] != inner.list_size:
                raise ValueError(f"rows of {inner.list_size} numbers are declared, got shape {array.shape}")
            items = pa.FixedSizeListArray.from_arrays(pa.array(flat, inner.value_type), type=inner)
        else:
            offsets = np.arange(len(array) + 1, dtype=np.int32) * array.shape[1]
            items = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, inner.value_type), type=inner)
    return pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items, type=kind)


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    depth = _numeric_depth(field.type)
    try:
        if depth == 0:
            return pa.array(values, field.type)
        arrays = [_list_array(value, field.type, depth) for value in values]
        return pa.concat_arrays(arrays) if arrays else pa.array([], field.type)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise TypeError(f"column {field.name!r}: {error}") from error


def table_from_rows(rows: Iterable[Row], schema: pa.Schema = ROW) -> pa.Table:
    """Cast rows to a table of exactly this schema; columns a row lacks are null.

    Raises:
        KeyError: a row has a column that the schema does not declare.
        TypeError: a value does not fit its column, which is named.
    """
    rows = list(rows)
    for row in rows:
        unknown = row.keys() - set(schema.names)
        if unknown:
            raise KeyError(f"columns that no schema declares: {sorted(unknown)}")
    return pa.Table.from_arrays([_column([row.get(f.name) for row in rows], f) for f in schema], schema=schema)


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Exactly the columns of a schema; null where a table of an older version lacks them."""
    for field in (field for field in schema if field.name not in table.column_names):
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


def rows_from_table(table: pa.Table) -> list[Row]:
    """Rows of a table; null columns are left out."""
    rows: list[Row] = [{} for _ in range(table.num_rows)]
    for field, column in zip(table.schema, table.columns, strict=True):
        depth = _numeric_depth(field.type)
        for row, scalar in zip(rows, column, strict=True):
            if not scalar.is_valid:
                continue
            row[field.name] = _to_numpy(scalar, depth) if depth else scalar.as_py()
    return rows


def length_s(row: Row) -> float:
    """Length of a row's video: its clip, else its shot, else its source.

    0 if nothing was measured.
    """
    for start, end in (("start_s", "end_s"), ("shot_start_s", "shot_end_s")):
        if end in row:
            return row[end] - row[start]
    return row.get("duration_s", 0.0)


def lengths_s(frame: Any) -> Any:
    """Series of the lengths of all rows of a pandas table with `TIMES`; NaN where no column declares one."""
    shot_s = frame["shot_end_s"] - frame["shot_start_s"]
    return (frame["end_s"] - frame["start_s"]).fillna(shot_s).fillna(frame["duration_s"]).fillna(0.0)
