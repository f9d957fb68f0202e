"""`wandb.Table`: rows and named columns, held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from runlake.as_wandb.media import Media

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Table(Media):
    """Rows and named columns.

    Args:
        columns: the names of the columns.
        data: the rows, an array of two dimensions, or a pandas DataFrame.
        rows: another word for `data`.
        dataframe: another word for `data`.
        dtype: the types of the columns; taken, and not checked.
        optional: whether a value may be missing; taken, and not checked.
        allow_mixed_types: whether values of a column may have several types; they always may.
        log_mode: `IMMUTABLE`, `MUTABLE` or `INCREMENTAL`.

    >>> from runlake.as_wandb.table import Table
    >>> table = Table(columns=["a", "b"], data=[[1, 2]])
    >>> table.add_data(3, 4)
    >>> table.get_column("b")
    [2, 4]
    """

    MAX_ROWS = 10000
    MAX_ARTIFACT_ROWS = 200000

    columns: list[Any]

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | list[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        super().__init__()
        given = next((each for each in (data, rows, dataframe) if each is not None), None)
        if columns is not None and not isinstance(columns, list):
            raise TypeError(f"Table: columns must be a list, not {type(columns).__name__}")
        if given is not None and hasattr(given, "columns") and hasattr(given, "to_numpy"):
            columns = [str(name) for name in given.columns] if columns is None else columns
            given = given.to_numpy().tolist()
        elif given is not None and hasattr(given, "tolist"):
            given = given.tolist()
        self.columns = list(columns) if columns is not None else ["Input", "Output", "Expected"]
        self.data = []
        self.log_mode = log_mode
        self._primary_key: Any = None
        for row in given if given is not None else ():
            self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """Adds a row: a value for each column."""
        if len(data) != len(self.columns):
            raise ValueError(f"Table: the row has {len(data)} values, and there are {len(self.columns)} columns")
        self.data.append(list(data))

    def add_row(self, *row: Any) -> None:
        """Another word for `add_data`."""
        self.add_data(*row)

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Adds a column: a value for each row."""
        values = data.tolist() if hasattr(data, "tolist") else list(data)
        if self.data and len(values) != len(self.data):
            raise ValueError(f"Table: column {name!r} has {len(values)} values, and there are {len(self.data)} rows")
        if not self.data:
            self.data = [[] for _ in values]
        self.columns.append(name)
        for row, value in zip(self.data, values, strict=True):
            row.append(value)

    def add_computed_columns(self, fn: Callable[[int, dict[Any, Any]], dict[str, Any]]) -> None:
        """Adds the columns that `fn` makes of the number and the values of each row."""
        made: dict[str, list[Any]] = {}
        for index, row in self.iterrows():
            for name, value in fn(index, dict(zip(self.columns, row, strict=True))).items():
                made.setdefault(name, []).append(value)
        for name, values in made.items():
            self.add_column(name, values)

    def get_column(self, name: Any, convert_to: str | None = None) -> Any:
        """The values of a column, as a list or with `convert_to="numpy"` as an array."""
        if name not in self.columns:
            raise KeyError(f"Table: no column {name!r}; there is {', '.join(map(str, self.columns))}")
        index = self.columns.index(name)
        values = [row[index] for row in self.data]
        if convert_to == "numpy":
            import numpy

            return numpy.array(values)
        return values

    def get_dataframe(self) -> Any:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.data, columns=self.columns)

    def get_index(self) -> list[int]:
        """The numbers of the rows."""
        return list(range(len(self.data)))

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers."""
        return iter(enumerate(self.data))

    def cast(self, col_name: Any, dtype: Any, optional: bool = False) -> Any:
        """Takes a type for a column; values are not changed."""
        self.get_column(col_name)
        return dtype

    def set_pk(self, col_name: Any) -> None:
        """Says which column names the rows."""
        self.get_column(col_name)
        self._primary_key = col_name

    def set_fk(self, col_name: Any, table: Table, table_col: Any) -> None:
        """Says that a column names rows of another table."""
        self.get_column(col_name)
        table.get_column(table_col)

    def to_data_array(self) -> list[Any]:
        """The rows."""
        return list(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and (self.columns, self.data) == (other.columns, other.data)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return True


class EvalTable(Table):
    """A table of what a model was asked, what it answered, and how that was judged."""

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | list[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
        *,
        input_columns: Iterable[str] | None = None,
        output_columns: Iterable[str] | None = None,
        score_columns: Iterable[str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(columns, data, rows, dataframe, dtype, optional, allow_mixed_types, log_mode)
        self.input_columns = list(input_columns or ())
        self.output_columns = list(output_columns or ())
        self.score_columns = list(score_columns or ())


class JoinedTable(Media):
    """Two tables side by side, where a column has the same value."""

    def __init__(self, table1: Any, table2: Any, join_key: Any) -> None:
        super().__init__((table1, table2))
        self.join_key = join_key
