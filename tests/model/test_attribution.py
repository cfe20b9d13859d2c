import pytest
import torch

from deepchest_cli.model.attribution import attribution_maps
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.spatial import spatial_layer


def build(backbone, head="linear", size=64):
    torch.manual_seed(0)
    return Classifier(Architecture(backbone, head, ("a", "b", "c"), size, size)).eval()


def maps_of(classifier, size=64):
    radiographs = torch.rand(2, 1, size, size)
    layer = spatial_layer(classifier)
    return radiographs, attribution_maps(classifier, radiographs, torch.tensor([2, 0]), layer)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "densenet121"])
def test_the_mean_of_a_cam_is_the_logit_without_its_bias(backbone):
    classifier = build(backbone)
    radiographs, maps = maps_of(classifier)
    with torch.inference_mode():
        logits = classifier(radiographs)[1]
    bias = classifier.task_layer.bias
    expected = torch.stack([logits[0, 2] - bias[2], logits[1, 0] - bias[0]])
    assert torch.allclose(maps.cam.mean(dim=(1, 2)), expected, atol=1e-5)


def test_grad_cam_is_the_positive_part_of_cam_under_a_linear_head():
    _, maps = maps_of(build("resnet18"))
    cells = maps.cam.shape[1] * maps.cam.shape[2]
    assert torch.allclose(maps.grad_cam * cells, maps.cam.relu(), atol=1e-5)


@pytest.mark.parametrize(("backbone", "head"), [("resnet18", "mlp"), ("small_cnn", "linear")])
def test_without_the_means_of_a_map_there_is_no_cam(backbone, head):
    _, maps = maps_of(build(backbone, head))
    assert maps.cam is None
    assert maps.grad_cam.shape[0] == 2
    assert (maps.grad_cam >= 0).all()
    assert maps.grad_cam.isfinite().all()


def test_nothing_is_left_behind():
    classifier = build("densenet121")
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    maps_of(classifier)
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert not any(module._forward_hooks for module in classifier.modules())
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_bright_spot_is_found_by_a_model_that_looks_for_it():
    """All weights of the first stage see brightness: the map is highest where the spot is."""
    classifier = build("small_cnn")
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.abs_()
    radiographs = torch.zeros(1, 1, 64, 64)
    radiographs[0, 0, 8:16, 40:48] = 1
    layer = spatial_layer(classifier)
    found = attribution_maps(classifier, radiographs, torch.tensor([0]), layer).grad_cam[0]
    row, column = divmod(int(found.argmax()), found.shape[1])
    scale = 64 / found.shape[0]
    assert abs((row + 0.5) * scale - 12) <= scale
    assert abs((column + 0.5) * scale - 44) <= scale
