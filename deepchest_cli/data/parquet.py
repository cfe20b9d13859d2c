"""Parquet files: their columns as text, as CSV tables are read, and the images inside them."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.findings import NO_FINDING
from deepchest_cli.data.image_checks import LFS_POINTER
from deepchest_cli.data.images import Embedded
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.extras import install_hint

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq")
MAGIC = b"PAR1"  # how a Parquet file begins and ends
AGAIN = "The file is damaged. Download it again."
BATCH = 16  # rows whose images are unpacked at a time
UNLABELED = -1  # a class number that `datasets` writes where none is known
INDEX = "__index_level_"  # how pandas names an index without a name


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name or by how it begins."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_parquet(path: Path) -> "pq.ParquetFile":
    """Return a file of which only the footer is read.

    Raises `UsageError` without pyarrow and for what is no whole Parquet file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        needed = f"Reading {path.name} needs pyarrow."
        raise UsageError(needed, install_hint("parquet")) from error
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}.", "Check the path, or download the file again.")
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if not head:
        raise UsageError(f"{path} is empty.", "Check the path, or download the file again.")
    if head == LFS_POINTER:
        raise UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UsageError:
    """Return the error for a file that is not as it was written."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return UsageError(f"{path} is no Parquet file.", "Check the path and its suffix.")
        file.seek(-len(MAGIC), 2)
        if file.read() != MAGIC:
            return UsageError(f"{path} is cut short: the footer is missing.", AGAIN)
    said = str(error).partition("\n")[0].rstrip(".")
    return UsageError(f"{path} is damaged: {said}.", AGAIN)


def text_columns(
    path: Path, file: "pq.ParquetFile | None" = None, only: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return the columns of a file as text, but for those that hold bytes or structures.

    Numbers are exact: `float` of the text is the number that is stored. A null is an empty text,
    class numbers are written as their names (those that Hugging Face's `datasets` keeps in the
    file), a list as `A|B` and one without elements as `No Finding`. An index that pandas wrote
    without a name comes first. Raises `UsageError` as `open_parquet`.

    only: the columns to read, of those that are there; None: all.
    """
    file = file or open_parquet(path)
    import pyarrow as pa

    schema = file.schema_arrow
    repeated = [name for name in schema.names if schema.names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Rename one of them.")
    wanted = [field.name for field in schema if _is_plain(field.type)]
    wanted = [name for name in wanted if only is None or name in only]
    classes = class_names(schema)
    try:
        table = file.read(columns=wanted)
        found = {name: _texts(table[name], name, classes.get(name), path) for name in wanted}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    unnamed = [name for name in wanted if name.startswith(INDEX)]
    return {name: found[name] for name in (*unnamed, *(n for n in wanted if n not in unnamed))}


def _is_plain(kind: "pa.DataType") -> bool:
    """Whether a column's values are text, numbers, truth values, times, or lists of these."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type) and not types.is_nested(kind.value_type)
    binary = types.is_binary(kind) or types.is_large_binary(kind)
    return not (binary or types.is_fixed_size_binary(kind) or types.is_nested(kind))


def _texts(
    column: "pa.ChunkedArray", name: str, classes: list[str] | None, path: Path
) -> list[str]:
    import pyarrow as pa

    if pa.types.is_floating(column.type):  # of 64 bits Python writes all that is needed
        column = column.cast(pa.float64())

    def text(value: Any) -> str:
        if value is None or (classes is not None and value == UNLABELED):
            return ""
        if classes is not None and isinstance(value, int):
            if not 0 <= value < len(classes):
                said = f"has class {value}, and names for {len(classes)} classes"
                raise UsageError(f"{path}: column {name!r} {said}.", AGAIN)
            return classes[value]
        return repr(value) if isinstance(value, float) else str(value).strip()

    values = column.to_pylist()
    if not any(isinstance(value, list) for value in values):
        return [text(value) for value in values]
    lists = (None if cells is None else "|".join(map(text, cells)) for cells in values)
    return ["" if cells is None else cells or NO_FINDING for cells in lists]


def class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """Return the names of the classes of each column that has class numbers, by the column.

    Hugging Face's `datasets` writes them to the metadata of the schema, under `huggingface`.
    """
    return {
        name: names
        for name, feature in features(schema).items()
        if (names := _names_in(feature)) is not None
    }


def features(schema: "pa.Schema") -> dict[str, Any]:
    """Return what Hugging Face's `datasets` says of the columns; nothing where it did not write."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        found = json.loads(text or "{}")["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _names_in(feature: Any) -> list[str] | None:
    """Return the names of `ClassLabel`, or of a list of these in any version's notation."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            (feature,) = feature
        elif isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
        else:
            break
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


@dataclass(frozen=True)
class ImageColumn:
    """The column of a file that holds images: their bytes, and their names where it has them."""

    bytes_leaf: str  # as Parquet names what lies in a structure: `image.bytes`
    path_leaf: str | None


def image_column(file: "pq.ParquetFile") -> ImageColumn | None:
    """Return the column of images: as `datasets` names it, else of structures or of bytes."""
    from pyarrow import types

    schema = file.schema_arrow
    said = [
        name
        for name, feature in features(schema).items()
        if isinstance(feature, dict) and feature.get("_type") == "Image"
    ]
    for name in (*said, *sorted(schema.names, key=lambda name: name != "image")):
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        inside = {field.name for field in kind} if types.is_struct(kind) else set()
        if "bytes" in inside:
            return ImageColumn(f"{name}.bytes", f"{name}.path" if "path" in inside else None)
        if types.is_binary(kind) or types.is_large_binary(kind):
            return ImageColumn(name, None)
    return None


def leaf_texts(path: Path, file: "pq.ParquetFile", leaf: str) -> list[str]:
    """Return what lies in structures of a column as text; a null is an empty text."""
    import pyarrow as pa

    name, _, inner = leaf.partition(".")
    try:
        values = file.read(columns=[leaf])[name].to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    return [str((value or {}).get(inner) or "") for value in values]


def stream_images(
    path: Path, names: Sequence[str], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Embedded | None, bool]]:
    """Yield name, image (None where not wanted) and acceptance of each row, in stored order.

    Row groups without a wanted image are passed over. Memory holds the images of one row group, up
    to three times where they lie in one page. Raises `DeepChestError` where the file is damaged.

    names: of the images of all rows (N,).
    """
    import pyarrow as pa

    file = open_parquet(path)
    column = image_column(file)
    assert column is not None  # the table was read
    name, _, inner = column.bytes_leaf.partition(".")
    start = 0
    for group in range(file.num_row_groups):
        here = names[start : start + file.metadata.row_group(group).num_rows]
        start += len(here)
        chosen = {one for one in here if wanted(one)}
        if not chosen:
            yield from ((one, None, True) for one in here)
            continue
        rest = iter(here)
        try:
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=[column.bytes_leaf]):
                cells = batch.column(name)
                for cell, one in zip(cells.field(inner) if inner else cells, rest, strict=False):
                    yield one, Embedded(path, cell.as_py()) if one in chosen else None, True
        except (pa.ArrowException, OSError) as error:
            raise DeepChestError(damaged(path, error).message, AGAIN) from error


def footer_hash(path: Path) -> str:
    """Return the SHA-256 of a file's footer, in hexadecimal digits.

    The footer has the schema and, of each column in each row group, place, length and statistics.
    It stands for a file whose images take gigabytes; what is read of the other columns is hashed
    with the rows.
    """
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return sha256(file.read(length)).hexdigest()
