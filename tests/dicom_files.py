"""DICOM files for tests; pydicom is imported when one is made."""

import io

import numpy as np


def dataset_of(pixels, bits, **tags):
    """Return a plain radiograph as a data set; tags override, and None leaves one out."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.dtype.itemsize
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for name, value in tags.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def saved(dataset, **settings):
    """Return the bytes of the file; without settings as part 10 says."""
    memory = io.BytesIO()
    dataset.save_as(memory, **(settings or {"enforce_file_format": True}))
    return memory.getvalue()


def dicom(pixels, bits, **tags):
    """Return the bytes of a plain radiograph."""
    return saved(dataset_of(pixels, bits, **tags))


def compressed(pixels, bits, frame, syntax, **tags):
    """Return a file whose pixel data are a compressed frame."""
    from pydicom.encaps import encapsulate

    made = dataset_of(pixels, bits, **tags)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    return saved(made)


def replaced(data, old, new):
    """Return a file with bytes replaced by as many others."""
    assert data.count(old) == 1 and len(old) == len(new)
    return data.replace(old, new)


def lookup(entries, first, depth=16):
    """Return a sequence of one lookup table."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first, depth])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return Sequence([item])
