"""Names with lists in lines as wide as the terminal: images and the findings flagged in them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deepchest_cli.data.text import printable
from deepchest_cli.terminal import GAP

if TYPE_CHECKING:
    from deepchest_cli.prediction.image_prediction import ImagePrediction
    from deepchest_cli.prediction.studies import StudyPrediction

LONGEST = 40  # columns of a name beside a list


def titles_of(predictions: "Sequence[ImagePrediction | StudyPrediction]") -> list[str]:
    """Return a name for each image or study, all different unless their paths are the same.

    That is the file's name, or its path where several have the name; long ones are shortened in
    the middle where that leaves them different.
    """
    from deepchest_cli.prediction.image_prediction import ImagePrediction

    names = Counter(one.title for one in predictions)
    whole = [
        printable(one.path if isinstance(one, ImagePrediction) and names[one.title] > 1
                  else one.title)
        for one in predictions
    ]  # fmt: skip
    short = [_shortened(name) for name in whole]
    times = Counter(short)
    return [brief if times[brief] == 1 else name for brief, name in zip(short, whole, strict=True)]


def named_lists(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> Iterator[str]:
    """Yield lines of at most `width` columns: each name, and beside it the words of its list.

    A list that is longer goes on in its column below. A long name stands alone above its list, and
    so does every name where the terminal is too narrow for both.
    """
    from rich.cells import cell_len

    wide = max([cell_len(name) for name, _ in rows if cell_len(name) <= LONGEST], default=0)
    longest = max(cell_len(word) + 1 for _, words in rows for word in words)
    beside = wide + GAP + longest <= width
    at = wide + GAP if beside else GAP
    for name, words in rows:
        lines = list(_filled(words, max(width - at, 1)))
        if beside and cell_len(name) <= wide:
            yield f"{name}{' ' * (at - cell_len(name))}{lines[0]}"
        else:
            yield name
            yield f"{' ' * at}{lines[0]}"
        for line in lines[1:]:
            yield f"{' ' * at}{line}"


def _filled(words: Sequence[str], width: int) -> Iterator[str]:
    """Yield words in lines, with commas between them; none is parted."""
    from rich.cells import cell_len

    line = ""
    for place, word in enumerate(words):
        whole = f"{word}," if place < len(words) - 1 else word
        if line and cell_len(line) + 1 + cell_len(whole) > width:
            yield line
            line = whole
        else:
            line = f"{line} {whole}".lstrip()
    yield line


def _shortened(name: str) -> str:
    """Return a name of at most `LONGEST` columns, its beginning and its end."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    end, at = "", len(name)
    while at and cell_len(name[at - 1 :]) <= LONGEST - 1 - half:
        at -= 1
        end = name[at:]
    return f"{set_cell_size(name, half).rstrip()}…{end}"
