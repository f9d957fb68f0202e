"""Results as DataFrames and arrays, where Arrow's own conversion would change numbers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pandas
    import pyarrow


def to_pandas(table: pyarrow.Table) -> pandas.DataFrame:
    """A table as a DataFrame. Whole numbers and truths beside missing values stay what they are, in nullable columns.

    Without that pandas would make floats of whole numbers, and round those beyond 2**53.
    """
    import pandas
    import pyarrow

    nullable = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.bool_(): pandas.BooleanDtype()}
    frame = table.to_pandas()
    for at, column in enumerate(table.columns):
        if column.null_count and column.type in nullable:
            frame.isetitem(at, column.to_pandas(types_mapper=nullable.get))
    return frame


def to_numpy(table: pyarrow.Table) -> dict[str, Any]:
    """The columns of a table as arrays. Whole numbers and truths beside missing values are masked arrays."""
    import numpy
    import pyarrow

    arrays: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if array.null_count and pyarrow.types.is_primitive(array.type) and not pyarrow.types.is_floating(array.type):
            mask = array.is_null().to_numpy(zero_copy_only=False)
            zero = pyarrow.scalar(0).cast(array.type)
            arrays[name] = numpy.ma.MaskedArray(array.fill_null(zero).to_numpy(zero_copy_only=False), mask=mask)
        else:
            arrays[name] = array.to_numpy(zero_copy_only=False)
    return arrays
