"""One specification to one picture."""

import numpy as np

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.anatomy import Anatomy, build_anatomy
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.confusers import (
    paint_lasting_confusers,
    paint_passing_confusers,
    paint_poor_inspiration,
)
from deepchest_cli.data.synthetic.exposure import expose
from deepchest_cli.data.synthetic.painters import PAINTERS
from deepchest_cli.data.synthetic.positioning import choose_positioning
from deepchest_cli.data.synthetic.reshaping import RESHAPERS
from deepchest_cli.data.synthetic.skeleton import paint_skeleton
from deepchest_cli.data.synthetic.soft_tissue import paint_soft_tissue
from deepchest_cli.data.synthetic.specification import (
    Lesion,
    RadiographSpec,
    Rendered,
    Stream,
    image_chance,
    patient_chance,
)
from deepchest_cli.data.synthetic.vessels import paint_vessels


def render_radiograph(spec: RadiographSpec, size: int) -> Rendered:
    """The radiograph of a specification, (size, size), with the boxes of its findings."""
    canvas = Canvas(size, _reshaped_anatomy(spec), choose_positioning(spec))
    _paint_normal(canvas, spec)
    for lesion in spec.lesions:
        PAINTERS[lesion.finding](canvas, lesion.severity, _lesion_chance(spec, lesion))
    picture = expose(canvas.compose(), spec, image_chance(spec, Stream.EXPOSURE))
    return Rendered(picture, tuple(canvas.boxes))


def _lesion_chance(spec: RadiographSpec, lesion: Lesion) -> np.random.Generator:
    """A lesion stays in its place over a patient's follow-ups."""
    return patient_chance(spec, Stream.LESION, FINDINGS.index(lesion.finding))


def _reshaped_anatomy(spec: RadiographSpec) -> Anatomy:
    anatomy = build_anatomy(spec)
    for lesion in spec.lesions:
        if lesion.finding in RESHAPERS:
            reshape = RESHAPERS[lesion.finding]
            anatomy = reshape(anatomy, lesion.severity, _lesion_chance(spec, lesion))
    return anatomy


def _paint_normal(canvas: Canvas, spec: RadiographSpec) -> None:
    passing = image_chance(spec, Stream.TEXTURE)
    paint_soft_tissue(canvas, passing)
    paint_skeleton(canvas)
    paint_vessels(canvas, patient_chance(spec, Stream.VESSELS))
    paint_lasting_confusers(canvas, patient_chance(spec, Stream.CONFUSERS))
    paint_passing_confusers(canvas, passing, portable=spec.view == "AP")
    if spec.view == "AP":
        paint_poor_inspiration(canvas, passing)
