"""OpenI, the chest X-ray collection of Indiana University: a report in XML for each study.

Demner-Fushman et al., Journal of the American Medical Informatics Association 2016. Each report
names its images and the terms (MeSH and RadLex) that two coders gave it: `Opacity/lung/base/left`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import pandas as pd

from deepchest_cli.data.archives import stream_tar
from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.tabular.labels import read_terms
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

ARCHIVE, FOLDER = "NLMCXR_reports.tgz", "ecgen-radiology"  # as downloaded, and unpacked
OWN = f"Download {ARCHIVE} again: https://openi.nlm.nih.gov/imgs/collections/{ARCHIVE}"
VIEWS = (
    "OpenI's reports do not say which images are frontal: lateral ones are among those taken. "
    "--split-scheme FILE with a row for each frontal image leaves the others out."
)


@dataclass(frozen=True)
class Report:
    """What a report says: its name, its images and its terms, in small letters."""

    name: str
    images: tuple[str, ...]
    terms: tuple[str, ...]


def find_openi(folder: Path) -> Path | None:
    """Return the folder of the reports or their archive."""
    unpacked = (*folder.glob(FOLDER), *sorted(folder.glob(f"*/{FOLDER}")))
    return next(iter((*unpacked, *folder.glob(ARCHIVE))), None)


def openi(folder: Path) -> CsvTable:
    """Return the images that the reports name, with the terms of their reports.

    A report counts as a patient: no two of them are of one, by the headers of the DICOM images.
    Raises `UsageError` naming the report that is no XML of this form, or that stands there twice.
    """
    place = refuse_absent(find_openi(folder), f"{ARCHIVE} or folder {FOLDER}", folder)
    reports = [read_report(data, name) for name, data in _files(place)]
    if not reports:
        raise UsageError(f"{place} holds no report (*.xml).", OWN)
    rows = [(image, one.name, "|".join(one.terms)) for one in reports for image in one.images]
    raw = pd.DataFrame(rows, columns=["image", "report", "terms"])
    for names, what in ((pd.Series([one.name for one in reports]), "report"),
                        (raw["image"], "image")):  # fmt: skip
        if names.duplicated().any():
            twice = names[names.duplicated()].iloc[0]
            raise UsageError(f"{place}: {what} {twice!r} is there twice.", "Remove one of the two.")
    raw["patient"] = raw["report"].str.removeprefix("CXR")
    without = sum(not one.images for one in reports)
    note = f"{count_of(without, 'report names', 'reports name')} no image."
    return CsvTable(
        "openi", "OpenI", raw, place, (place,), folder,
        names="image", paths="image", patients="patient", studies="report",
        terms=read_terms(raw["terms"], _with_qualifier),
        notes=(note,) * bool(without), warnings=(VIEWS,),
    )  # fmt: skip


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each report."""
    if place.is_dir():
        for path in sorted(place.glob("*.xml")):
            yield str(path), path.read_bytes()
        return
    for name, data, _ in stream_tar(place, lambda _: True, _is_report):
        if data is not None:
            yield f"{place}: {name}", data


def _is_report(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".xml" and not path.name.startswith("._")


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, the only place where a file may declare entities."""

    def doctype(self, *_: object) -> None:
        """Raise: reports have none."""
        raise ValueError("it declares a document type")


def read_report(data: bytes, name: str) -> Report:
    """Return what a report says; raises `UsageError` with its `name` where it is none of OpenI's.

    data: an XML document. Terms that stand in it as `major` are those of the coders; `automatic`
    ones were taken from the text by a program, and are not read.
    """
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{name} is no readable XML: {error}.", OWN) from error
    uid = root.find("uId")
    if uid is None or not uid.get("id"):
        raise UsageError(f"{name} is no report of OpenI: it has no <uId id=...>.", OWN)
    images = tuple(image.get("id", "") for image in root.iter("parentImage"))
    if "" in images:
        raise UsageError(f"{name}: a <parentImage> has no id.", OWN)
    terms = (" ".join((one.text or "").lower().split()) for one in root.findall("MeSH/major"))
    return Report(str(uid.get("id")), images, tuple(filter(None, terms)))


def _with_qualifier(text: str) -> frozenset[str]:
    """Return each term of a report alone and with its first qualifier: `mass`, `mass/lung`."""
    parts = [re.split(r" */ *", term) for term in text.split("|") if term]
    return frozenset("/".join(term[:size]) for term in parts for size in (1, 2))
