"""What a cell of a table says, whichever program wrote it: blanks, labels, ages, sexes, views."""

import hashlib
import re
from collections.abc import Callable
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.text import count_of

PRESENT, ABSENT, UNCERTAIN, BLANK = 1, 0, -1, -2
# a missing value as R, pandas, NumPy, Excel, SQL, SPSS, Stata and SAS write it, in small letters
BLANKS = frozenset(
    {"", "na", "n/a", "n.a.", "<na>", "nan", "-nan", "nat", "none", "null", "nil", "nul", "(null)",
     "<null>", "[null]", "\\n", "#n/a", "#n/a n/a", "#na", "#null!", "-", "--", "---", "–", "—",
     ".", "..", "*", "missing", "(blank)", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind",
     *(f".{letter}" for letter in ascii_lowercase)}
)  # fmt: skip
WORDS = {
    **dict.fromkeys(("true", "yes", "y", "positive", "present"), PRESENT),
    **dict.fromkeys(("false", "no", "n", "negative", "absent"), ABSENT),
    **dict.fromkeys(("uncertain", "?"), UNCERTAIN),
}
NUMBER = re.compile(r"[+-]?\d+([.,]0*)?")
OLDEST = 120  # years; NIH's table of 2017 holds ages up to 414
AGE = re.compile(r"(\d{1,3}(?:[.,]\d*)?) ?(?:([YMWD])[A-Z]*)?")
YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
SEXES = {"M": "M", "MALE": "M", "MAN": "M", "F": "F", "FEMALE": "F", "WOMAN": "F"}
SPLIT_NAMES = {"train": "train", "training": "train", "train_val": "train_val", "val": "validation",
               "valid": "validation", "validate": "validation", "validation": "validation",
               "test": "test", "testing": "test"}  # fmt: skip
LARGEST_ID = 2**53  # beyond it a table read as numbers loses digits
UNKNOWN_VIEWS = frozenset({"UNK", "UNKNOWN"})
LATERAL = frozenset({"L", "LL", "RL", "LAT", "LATERAL"})
SIDES = frozenset({"LEFT", "RIGHT", "R"})
# names of the frontal views, in words: also "antero-posterior", "posterior to anterior", "A.P."
FROM_BEHIND = re.compile(r"POSTER(IOR|O)[^A-Z]*(TO[^A-Z]+)?ANTERIOR|\bP[^A-Z0-9]{0,2}A\b")
FROM_FRONT = re.compile(r"ANTER(IOR|O)[^A-Z]*(TO[^A-Z]+)?POSTERIOR|\bA[^A-Z0-9]{0,2}P\b")
# words beside a view that leave it frontal: how the patient is held, with what, and of what
BESIDE_FRONTAL = frozenset(
    {"FRONTAL", "SUPINE", "ERECT", "UPRIGHT", "STANDING", "STAND", "SITTING", "SEATED", "SEMI",
     "SEMIERECT", "SEMIUPRIGHT", "SEMIRECUMBENT", "RECUMBENT", "LYING", "HORIZONTAL", "VERTICAL",
     "PORTABLE", "PORT", "MOBILE", "BED", "BEDSIDE", "INSPIRATION", "INSPIRATORY", "INSP",
     "EXPIRATION", "EXPIRATORY", "EXP", "CHEST", "THORAX", "CXR", "LUNG", "LUNGS", "VIEW",
     "PROJECTION", "GRID", "ADULT", "PEDIATRIC", "CR", "DX", "DR", "XR", "IN", "AND", "THE"}
)  # fmt: skip


def is_blank(text: str) -> bool:
    """Whether a cell says nothing."""
    return text.strip().lower() in BLANKS


def label_state(text: str) -> int | None:
    """Return PRESENT, ABSENT, UNCERTAIN or BLANK; None: this is no label."""
    cell = text.strip().lower()
    if cell in BLANKS:
        return BLANK
    if NUMBER.fullmatch(cell):
        number = float(cell.replace(",", "."))
        return int(number) if number in (PRESENT, ABSENT, UNCERTAIN) else None
    return WORDS.get(cell)


def read_ages(column: "pd.Series[str]") -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return ages in years (N,), NaN where unknown or impossible, and what was noticed."""
    ages = each_text(column, _years).to_numpy(dtype=np.float64)
    given = ~each_text(column, is_blank).to_numpy(dtype=bool)
    wrong = column[np.isnan(ages) & given]
    if not len(wrong):
        return ages, ()
    number = count_of(len(wrong), "impossible age is", "impossible ages are")
    return ages, (f"{number} taken as unknown (the first is {wrong.iloc[0]!r}); the images stay.",)


def _years(text: str) -> float:
    """Return an age such as `58`, `060Y`, `013M`, `4 days` or `0,5` in years; NaN: impossible."""
    match = AGE.fullmatch(text.strip().upper())
    if match is None:
        return np.nan
    years = float(match[1].replace(",", ".")) * YEARS[match[2] or ""]
    return years if years <= OLDEST else np.nan


def read_sexes(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return `M`, `F` or an empty text."""
    return each_text(column, lambda text: SEXES.get(text.strip().upper(), ""))


def read_views(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return `PA`, `AP`, `L` for lateral ones, an empty text where unknown, else the cell's own."""
    return each_text(column, view_of)


def view_of(text: str) -> str:
    """Return the view that a cell names in any of the spellings of PACS and of data sets.

    `AP SUPINE`, `Portable AP`, `ANTEROPOSTERIOR` and `AP_horizontal` are AP. Oblique views, views
    of ribs, decubitus and lordotic ones keep their names.
    """
    upper = text.strip().upper()
    if is_blank(upper) or upper in UNKNOWN_VIEWS or not upper.isascii():
        return ""
    named = FROM_FRONT.sub(" AP ", FROM_BEHIND.sub(" PA ", upper.replace("_", " ")))
    words = set(re.split(r"[^A-Z]+", named)) - {""}
    frontal = words & {"PA", "AP"}
    others = words - frontal - BESIDE_FRONTAL
    if words and not others:
        return frontal.pop() if len(frontal) == 1 else ""
    sideways = others - SIDES
    return "L" if sideways and sideways <= LATERAL and not frontal else upper


def each_text(column: "pd.Series[str]", change: Callable[[str], Any]) -> "pd.Series[Any]":
    """Return a column whose texts, few of them distinct, are each changed once."""
    codes, texts = pd.factorize(column)
    changed = pd.Series(
        [change(text) for text in texts.tolist()], dtype=None if len(texts) else str
    )
    return pd.Series(changed.to_numpy()[codes], index=column.index, name=column.name)


def read_splits(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return train, train_val, validation, test, an empty text, or what is none of these."""
    return each_text(column, _split_of)


def _split_of(text: str) -> str:
    name = text.strip().lower()
    return "" if is_blank(name) else SPLIT_NAMES.get(name, name)


def is_number(cell: str) -> bool:
    """Whether a cell is a number, finite or not."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def patient_numbers(column: "pd.Series[str]") -> NDArray[np.int64]:
    """Return a number for each patient's name: its digits, or a hash where they are no number.

    The same name gives the same number in every table, and the number of a name gives itself.
    """
    digits = {text: int(text) for text in column.unique() if text.isdecimal()}
    if len(digits) == column.nunique() and all(number < 2**63 for number in digits.values()):
        return column.map(digits).to_numpy(dtype=np.int64)
    numbers = pd.to_numeric(column, errors="coerce")
    if bool((numbers.between(0, LARGEST_ID) & (numbers % 1 == 0)).all()):
        return numbers.to_numpy(dtype=np.int64)
    return each_text(column, _hashed).to_numpy(dtype=np.int64)


def _hashed(name: str) -> int:
    name = name.lstrip("0") if name.isdigit() else name  # 007 is 7
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1
