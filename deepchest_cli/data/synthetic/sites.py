"""The hospitals of the demo: one that resembles NIH, and one that differs wherever it can."""

from deepchest_cli.data.synthetic.specification import Machine, Site

FIRST = Site()
# Another machine, older and sicker patients who are more often taken in bed, and a table in other
# words. Infiltration, which many radiologists avoid, is neither drawn nor known there; masses and
# nodules are one finding; devices are one that NIH's table lacks.
SECOND = Site(
    layout="csv",
    machine=Machine(
        gamma=(1.3, 1.8), gain=0.9, fog=(0.0, 0.04), grain=(4.0, 8.0), collimated=0.4, margin=0.08,
        magnification=(0.85, 0.96),
    ),
    patients_before=50_000,
    age=62,
    bedridden=0.6,
    ill=(0.7, 0.7),
    test_fraction=0.5,
    frequency={
        "Infiltration": 0.0, "Atelectasis": 1.2, "Cardiomegaly": 1.8, "Effusion": 1.6, "Mass": 0.5,
        "Nodule": 0.5, "Pneumonia": 1.6, "Consolidation": 1.5, "Edema": 1.8, "Emphysema": 0.7,
        "Fibrosis": 0.6, "Pleural_Thickening": 0.7, "Hernia": 0.8,
    },
    columns={
        "Atelectasis": ("Atelectasis",),
        "Cardiomegaly": ("Cardiomegaly",),
        "Pleural Effusion": ("Effusion",),
        "Lung Lesion": ("Mass", "Nodule"),
        "Pneumonia": ("Pneumonia",),
        "Pneumothorax": ("Pneumothorax",),
        "Consolidation": ("Consolidation",),
        "Pulmonary Edema": ("Edema",),
        "Emphysema": ("Emphysema",),
        "Pulmonary Fibrosis": ("Fibrosis",),
        "Pleural Thickening": ("Pleural_Thickening",),
        "Hiatal Hernia": ("Hernia",),
    },
)  # fmt: skip
SITES = (FIRST, SECOND)
