"""Torchxrayvision's models as they are: the package's own numbers, and what is said of them."""

import builtins
import json
import re
import warnings
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from deepchest_cli.data.findings import match_findings
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model import published
from deepchest_cli.model.attribution import attribution_maps
from deepchest_cli.model.backbones import xrv_models
from deepchest_cli.model.backbones.registry import describe_backbone, resolve_backbone
from deepchest_cli.model.checkpoint import copy_with_fit, load_model
from deepchest_cli.model.heads import OperatingPointLinear
from deepchest_cli.model.pretrained import choose_weights
from deepchest_cli.model.spatial import spatial_layer
from deepchest_cli.model.trunk import build_trunk

with warnings.catch_warnings():  # importing it silences all warnings
    xrv = pytest.importorskip("torchxrayvision.models")

CPU = torch.device("cpu")
NIH, ALL, RESNET = "densenet121-res224-nih", "densenet121-res224-all", "resnet50-res512-all"
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder in which the package keeps weights, and no network."""
    monkeypatch.setattr(xrv.utils, "get_cache_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(published, "unreachable", lambda url: "no network")

    def no_download(url, filename):
        raise AssertionError(url)

    monkeypatch.setattr(xrv.utils, "download", no_download)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def settled(network, classifier, name):
    """Return a network whose probabilities differ between images, around its operating points."""
    pixels = (images(64, 8)[:, None] / 255 * 2 - 1) * 1024
    with torch.no_grad():
        for _ in range(3):
            network.train()(pixels)
        classifier.weight /= 2 * network.eval()(pixels).std(dim=0)[:, None]
        points = torch.tensor(xrv.model_urls[name]["op_threshs"]).nan_to_num(0.5)
        classifier.bias += points.logit() - network.eval()(pixels).mean(dim=0)
    return network


def densenet(name):
    return deepcopy(_made(name))


def resnet():
    return deepcopy(_made(RESNET))


@lru_cache
def _made(name):
    """Return a network that is not to be changed: settling one takes longer than a copy."""
    torch.manual_seed(0)
    if name != RESNET:
        network = xrv.DenseNet(num_classes=len(xrv.model_urls[name]["labels"]))
        return settled(network, network.classifier, name)
    network = torchvision.models.resnet50(num_classes=len(xrv.model_urls[RESNET]["labels"]))
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return settled(network, network.fc, RESNET)


def publish(cache, name, thing, **how) -> Path:
    """Save weights where the package would have fetched them to."""
    file = cache / xrv.model_urls[name]["weights_url"].rpartition("/")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(thing, file, **how)
    return file


def images(size, count=3):
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(count, 1, 8, 8, generator=generator) * 255
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth[:, 0].to(torch.uint8)


@torch.no_grad()
def both(name, **settings):
    """Return the package's probabilities and ours for the same images, by the same findings."""
    theirs = xrv.get_model(name, **settings)
    ours = load_model(Path(f"xrv/{name}"), CPU).classifier
    pixels = images(xrv.model_urls[name]["input_resolution"])
    wanted = theirs((2 * (pixels.float() / 255) - 1)[:, None] * 1024)
    logits = ours(ours.architecture.radiographs(pixels))[1]
    outputs = list(theirs.pathologies)
    columns = [outputs.index(finding) for finding in ours.architecture.findings]
    wanted, found = wanted[:, columns], logits.sigmoid()
    assert wanted.logit(eps=1e-6).std(dim=0).min() > 1e-4  # images are told apart
    assert torch.allclose(found, wanted, rtol=1e-3, atol=0)  # of small probabilities too
    return wanted, found, ours


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("name", [NIH, ALL, "densenet121-res224-rsna"])
def test_a_densenet_has_the_packages_own_probabilities(cache, name, new):
    publish(cache, name, densenet(name), _use_new_zipfile_serialization=new)
    wanted, found, ours = both(name)
    assert torch.allclose(found, wanted, rtol=0, atol=TOLERANCE)
    assert isinstance(ours.head, OperatingPointLinear)


def test_a_resnet_of_a_state_dict_has_the_packages_own_probabilities(cache):
    publish(cache, RESNET, resnet().state_dict())
    wanted, found, ours = both(RESNET)
    assert torch.allclose(found, wanted, rtol=0, atol=TOLERANCE)
    # of these two the package answers 0.5 whatever the image
    assert not {"Lung Lesion", "Enlarged Cardiomediastinum"} & set(ours.architecture.findings)


@pytest.mark.parametrize("name", [NIH, ALL])
def test_without_operating_points_they_are_the_packages_sigmoid(cache, name, monkeypatch):
    publish(cache, name, densenet(name))
    entry = {k: v for k, v in xrv.model_urls[name].items() if k != "op_threshs"}
    monkeypatch.setitem(xrv.model_urls, name, entry)
    wanted, found, ours = both(name, apply_sigmoid=True)
    assert torch.allclose(found, wanted, rtol=0, atol=TOLERANCE)
    assert type(ours.head) is nn.Linear
    assert load_model(Path(f"xrv/{name}"), CPU).validation_fit is None


def test_operating_point_logits_are_those_of_op_norm_and_have_gradients():
    torch.manual_seed(0)
    head = OperatingPointLinear(1, 5)
    points = torch.tensor([4e-4, 0.01, 0.3, 0.5, 0.9])
    head.op_threshs.copy_(points)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    logits = torch.linspace(-60, 60, 481)[:, None].requires_grad_()
    found = head(logits)
    wanted = xrv.op_norm(logits.detach().sigmoid().expand(-1, 5), points)
    assert torch.allclose(found.sigmoid(), wanted, rtol=1e-4, atol=1e-6)
    assert (found.diff(dim=0) > 0).all()  # the ranking stays
    found.sum().backward()
    assert torch.isfinite(logits.grad).all() and (logits.grad > 0).all()
    assert head(torch.full((1, 1), 500.0)).isfinite().all()


def test_what_is_known_of_it_is_said(cache):
    file = publish(cache, NIH, densenet(NIH))
    model = load_model(Path(f"xrv/{NIH}"), CPU)
    architecture = model.classifier.architecture
    assert (architecture.image_size, architecture.stored_size) == (224, 224)
    assert architecture.findings == tuple(filter(None, xrv.model_urls[NIH]["labels"]))
    assert model.identity["epoch"] is model.identity["weighter"] is None
    assert model.identity["split_scheme"] is model.identity["label_version"] is None
    assert "split at random" in model.origin["published"] and file.name in model.origin["published"]
    assert model.training_images is None
    assert len(model.sha256) == 64
    kinds = {name: xrv_models.xrv_model(name).trained_on for name in (ALL, RESNET)}
    assert kinds[ALL] == ("chexpert", "mimic-cxr", "nih", "openi", "padchest", "rsna")
    assert kinds[RESNET] == ("nih", "padchest", "rsna", "siim", "vindr")


def test_every_model_of_the_package_has_a_source_and_findings_of_their_own():
    for key in xrv.model_urls:
        found = xrv_models.xrv_model(f"xrv/{key}")
        assert found.trained_on, key
        named = [one for one in found.outputs if one]
        assert not match_findings(named, named).only_first, key
        assert resolve_backbone(f"xrv/{key}") == found.name


def test_a_file_by_hand_is_read(cache, tmp_path):
    saved = publish(cache, NIH, densenet(NIH)).rename(tmp_path / "weights.pt")
    with pytest.raises(DeepChestError):
        load_model(Path(f"xrv/{NIH}"), CPU)
    model = load_model(Path(f"xrv/{NIH}={saved}"), CPU)
    assert str(model.path) == f"xrv/{NIH}={saved}"
    with pytest.raises(UsageError, match="no file"):
        load_model(Path(f"xrv/{NIH}={saved}x"), CPU)


def test_the_file_of_another_model_is_refused_by_its_name(cache):
    other = "densenet121-res224-all"
    saved = publish(cache, NIH, densenet(NIH))
    with pytest.raises(UsageError, match=f"is the file of xrv/{NIH}") as error:
        load_model(Path(f"xrv/{other}={saved}"), CPU)
    assert f"xrv/{NIH}={saved}" in error.value.hint


def test_without_network_the_error_says_what_goes_where(cache):
    with pytest.raises(DeepChestError, match="no network") as caught:
        load_model(Path(f"xrv/{NIH}"), CPU)
    url = xrv.model_urls[NIH]["weights_url"]
    assert url in caught.value.hint and str(cache / url.rpartition("/")[2]) in caught.value.hint


def test_the_package_fetches_what_is_not_here(cache, monkeypatch, capsys):
    network, asked = densenet(NIH), []

    def download(url, filename):
        asked.append(url)
        print("progress")
        torch.save(network, filename)

    monkeypatch.setattr(published, "unreachable", lambda url: "")
    monkeypatch.setattr(xrv.utils, "download", download)
    assert load_model(Path(f"xrv/{NIH}"), CPU).sha256
    assert load_model(Path(f"xrv/{NIH}"), CPU).sha256
    assert asked == [xrv.model_urls[NIH]["weights_url"]]
    assert capsys.readouterr().out == ""  # results go there


def test_a_failed_download_says_what_goes_where(monkeypatch):
    def download(url, filename):
        raise ConnectionError("reset by peer\nand more")

    monkeypatch.setattr(published, "unreachable", lambda url: "")
    monkeypatch.setattr(xrv.utils, "download", download)
    with pytest.raises(DeepChestError, match="reset by peer") as caught:
        load_model(Path(f"xrv/{NIH}"), CPU)
    assert "and more" not in caught.value.message


def test_weights_of_another_network_are_refused(cache):
    publish(cache, NIH, resnet().state_dict())
    with pytest.raises(DeepChestError, match="not those of xrv/densenet121-res224-nih"):
        load_model(Path(f"xrv/{NIH}"), CPU)
    publish(cache, NIH, [1, 2])
    with pytest.raises(DeepChestError, match="holds no tensors"):
        load_model(Path(f"xrv/{NIH}"), CPU)


def test_a_malicious_file_does_not_run(cache, tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    network = densenet(NIH)
    network.features.conv0.extra = Evil()
    publish(cache, NIH, network)
    with pytest.raises(DeepChestError, match="eval"):
        load_model(Path(f"xrv/{NIH}"), CPU)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'xrv/densenet121-res224-nih'"):
        load_model(Path("xrv/densenet121-res224-nhi"), CPU)
    with pytest.raises(UsageError, match="Did you mean 'xrv/densenet121-res224-nih'"):
        describe_backbone("xrv/densenet121-res224-nhi", 224)


@pytest.mark.parametrize(
    ("missing", "command"),
    [("torchxrayvision", r"'\.\[xrv\]'|force-reinstall"), ("skimage", "pip install scikit-image")],
)
def test_a_missing_package_is_named_with_its_command(monkeypatch, missing, command):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "torchxrayvision":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=missing) as caught:
        load_model(Path(f"xrv/{NIH}"), CPU)
    assert re.search(command, caught.value.hint)


def test_a_copy_needs_neither_the_package_nor_its_weights(cache, tmp_path, monkeypatch):
    file = publish(cache, NIH, densenet(NIH))
    model = load_model(Path(f"xrv/{NIH}"), CPU)
    copy_with_fit(model, model.validation_fit, tmp_path / "copy.pt")
    file.unlink()
    monkeypatch.setattr(xrv_models, "_package", lambda name: pytest.fail("imported"))
    copy = load_model(tmp_path / "copy.pt", CPU)
    pixels = copy.classifier.architecture.radiographs(images(224))
    with torch.no_grad():
        assert torch.equal(copy.classifier(pixels)[1], model.classifier(pixels)[1])
    assert copy.origin == model.origin


def test_it_has_class_activation_maps(cache):
    publish(cache, NIH, densenet(NIH))
    classifier = load_model(Path(f"xrv/{NIH}"), CPU).classifier
    pixels = classifier.architecture.radiographs(images(224))
    layer = spatial_layer(classifier)
    found = attribution_maps(classifier, pixels, torch.tensor([0, 5, 13]), layer)
    assert found.cam is not None and found.cam.shape == (3, 7, 7)
    assert found.grad_cam.isfinite().all()


@pytest.mark.parametrize("name", [NIH, RESNET])
def test_as_a_backbone_it_begins_from_the_packages_features(cache, name):
    network = densenet(NIH) if name == NIH else resnet()
    publish(cache, name, network if name == NIH else network.state_dict())
    spec = describe_backbone(f"xrv/{name}", 64)
    assert (spec.channels, spec.mean, spec.std) == (1, 0.5, 1 / 2048)
    chosen = choose_weights(spec, "auto")
    assert (chosen.name, chosen.warning) == ("pretrained", "")
    trunk, features = build_trunk(spec, chosen.weights)
    assert features == (1024 if name == NIH else 2048)
    gray = images(64).float()[:, None] / 255
    theirs = (2 * gray - 1) * 1024
    network.op_threshs = None
    with torch.no_grad():
        found = trunk.eval()((gray - spec.mean) / spec.std)
        classifier = network.classifier if name == NIH else network.fc
        assert torch.allclose(classifier(found), network(theirs), rtol=1e-4, atol=1e-4)


def test_without_network_auto_begins_from_none_with_a_warning(monkeypatch):
    monkeypatch.setattr("deepchest_cli.model.pretrained.unreachable", lambda url: "no network")
    spec = describe_backbone(f"xrv/{NIH}", 224)
    chosen = choose_weights(spec, "auto")
    assert chosen.name == "none" and xrv.model_urls[NIH]["weights_url"] in chosen.warning


def test_a_pickled_module_is_a_file_of_weights_for_any_command(cache, tmp_path):
    network = densenet(NIH)
    file = publish(cache, NIH, network).rename(tmp_path / "mine.pt")
    spec = describe_backbone(f"xrv/{NIH}", 64)
    trunk, _ = build_trunk(spec, choose_weights(spec, str(file)).weights)
    stem = network.features.conv0.weight
    assert torch.equal(trunk.state_dict()["features.conv0.weight"], stem)


def test_commands_take_it(cache, tmp_path, deepchest, shards):
    publish(cache, NIH, densenet(NIH))
    path = tmp_path / "image.png"
    Image.fromarray(np.asarray(images(224)[0])).save(path)
    outcome = deepchest("predict", path, "--model", f"xrv/{NIH}", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    (image,) = json.loads(outcome.out)["images"]
    assert set(image["operating_point"]["thresholds"].values()) == {0.5}
    assert "torchxrayvision's authors" in image["operating_point"]["source"]
    with torch.no_grad():
        wanted = xrv.get_model(NIH)((images(224)[:1, None].float() / 255 * 2 - 1) * 1024)
    found = [image["probabilities"][name] for name in xrv.DenseNet.targets[:14]]
    assert np.allclose(found, wanted[0, :14], rtol=0, atol=TOLERANCE)
    outcome = deepchest("export", "--model", f"xrv/{NIH}", "--format", "torch")
    assert outcome.code == 2 and "--out is missing" in outcome.err
    outcome = deepchest("evaluate", "--model", f"xrv/{NIH}", "--data", shards)
    assert outcome.code == 2 and "224 px" in outcome.err
