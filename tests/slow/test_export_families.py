"""Every family of backbones agrees as ONNX."""

import pytest
from small_families import SMALL, check_family


@pytest.mark.parametrize("backbone", ["small_cnn", *SMALL])
def test_every_family_agrees_as_onnx(tmp_path, backbone):
    check_family(backbone, tmp_path)
