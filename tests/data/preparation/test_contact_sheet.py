import numpy as np
from PIL import Image

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation import contact_sheet
from deepchest_cli.data.preparation.contact_sheet import EACH, MARGIN, TILE, draw_contact_sheet


def test_each_finding_has_a_row_of_its_own_images(shards, tmp_path):
    dataset = open_dataset(shards)
    draw_contact_sheet(shards, dataset.manifest, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image.convert("L")).astype(int)
    rows = len(dataset.findings) + 1
    step = (sheet.shape[0] - 24) // rows
    assert sheet.shape == (24 + rows * step, MARGIN + EACH * (TILE + 8))
    for column in range(len(dataset.findings)):
        chosen, count = contact_sheet._choose(dataset, column)
        assert count == (dataset.labels[:, column] == 1).sum() and len(chosen) == min(count, EACH)
        assert (dataset.labels[chosen, column] == 1).all()
        top = 24 + column * step
        drawn = sheet[top : top + TILE, MARGIN : MARGIN + TILE]
        stored = Image.fromarray(dataset.gather(chosen[:1])[0]).resize((TILE, TILE), 2)
        assert (np.abs(drawn - np.asarray(stored)) <= 1).mean() > 0.9  # but for a box


def test_a_drawing_of_the_same_data_has_the_same_bytes(shards, tmp_path):
    manifest = open_dataset(shards).manifest
    for name in ("one", "two"):
        draw_contact_sheet(shards, manifest, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_finding_that_nobody_has_is_an_empty_row(nih_folder, tmp_path):
    from deepchest_cli.config import PrepareConfig
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    (tmp_path / "t.csv").write_text(
        "Path,patient_id,Mass,Hernia\n" + "".join(f"{n:08d}_000.png,{n},1,0\n" for n in range(1, 9))
    )
    config = PrepareConfig(size="32", labels_csv=tmp_path / "t.csv", patient_column="patient_id")
    plan = plan_preparation(config, nih_folder)
    run_preparation(plan, config, tmp_path / "out", lambda *_: None)
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.height > 3 * TILE
