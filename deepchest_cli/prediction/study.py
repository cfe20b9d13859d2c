"""Which examination a file is from, and which view it shows, as the file says."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepchest_cli.data.dicom import study_of
from deepchest_cli.prediction.input_checks import lateral_by_description

# the layouts of CheXpert (patient00001/study1) and MIMIC-CXR (p10000032/s50414267), and no other:
# a folder of images may be of several patients
PATIENT_FOLDER = re.compile(r"(patient|p)\d+", re.IGNORECASE)
STUDY_FOLDER = re.compile(r"(study|s)\d+", re.IGNORECASE)
LATERAL_NAME = re.compile(r"view\d+_lateral", re.IGNORECASE)  # of CheXpert's files, without suffix
BY_UID, BY_FOLDER, BY_IMAGE = "StudyInstanceUID", "folder", "image"


@dataclass(frozen=True)
class Study:
    """An examination; images are of one where all of this is equal."""

    name: str
    full_name: str  # with what tells patients apart
    source: str  # what says so


def study_of_file(path: Path, tags: Mapping[str, str]) -> Study | None:
    """Return the examination that a file is from, by its DICOM tags or else by its folders."""
    uid = study_of(tags)
    if uid:
        patient = tags.get("PatientID", "")
        return Study(uid, f"{patient}/{uid}" if patient else uid, BY_UID)
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100  (links stay, .. does not)
    if STUDY_FOLDER.fullmatch(folder.name) and PATIENT_FOLDER.fullmatch(folder.parent.name):
        return Study(f"{folder.parent.name}/{folder.name}", str(folder), BY_FOLDER)
    return None


def view_of_file(path: Path, tags: Mapping[str, str]) -> str:
    """Return the view of a file as its DICOM tags or, in CheXpert's layout, its name spell it."""
    view = tags.get("ViewPosition", "")
    lateral = lateral_by_description(tags) or LATERAL_NAME.fullmatch(path.stem)
    return view or ("LATERAL" if lateral else "")
