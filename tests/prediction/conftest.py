import pytest
from PIL import Image
from prediction_models import chest_like, make_model

from deepchest_cli import load_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model with operating points, calibration and reference; not to be changed."""
    return make_model(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="session")
def model(model_folder):
    return load_model(model_folder, device="cpu")


@pytest.fixture
def write(tmp_path):
    """Write pixels (or the first of the chest-like pictures) as an image file."""

    def written(name="image.png", pixels=None, **settings):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        gray = chest_like(1, 48, seed=5)[0] if pixels is None else pixels
        Image.fromarray(gray).save(path, **settings)
        return path

    return written
