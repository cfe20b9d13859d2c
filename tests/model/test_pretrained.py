import threading
from contextlib import nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
import torchvision

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model import pretrained
from deepchest_cli.model.backbones.registry import describe_backbone, source_of
from deepchest_cli.model.pretrained import choose_weights, unreachable
from deepchest_cli.model.weights import fingerprint

SPEC = describe_backbone("resnet18", 64)


def published_file():
    """Return where torchvision keeps the weights of resnet18."""
    url = source_of("resnet18").published(SPEC).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Put weights where torchvision keeps them; return their state dict."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    state = torchvision.models.get_model("resnet18", weights=None).state_dict()
    published_file().parent.mkdir(parents=True)
    torch.save(state, published_file())
    return state


@dataclass
class Host:
    """A server on this machine that answers every HEAD request with one status."""

    status: int
    asked: int = 0

    def __enter__(self):
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                host.asked += 1
                self.send_response(host.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def direct(monkeypatch):
    """Let requests to this machine go past the proxy that keeps tests off the network."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_auto_takes_the_published_weights_where_they_are_cached(cached, monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda url: pytest.fail("asked for a network"))
    chosen = choose_weights(SPEC, "auto")
    assert (chosen.name, chosen.warning) == ("imagenet", "")
    assert chosen.sha256 == fingerprint(cached) == choose_weights(SPEC, "imagenet").sha256


def test_auto_begins_from_random_weights_with_one_warning_where_there_is_no_network():
    chosen = choose_weights(SPEC, "auto")
    assert (chosen.name, chosen.weights, chosen.sha256) == ("none", None, None)
    assert chosen.warning.count("\n") == 0
    for words in ("random weights", "AUROC", source_of("resnet18").published(SPEC).url):
        assert words in chosen.warning
    assert "--weights FILE" in chosen.warning


def test_auto_goes_on_where_fetching_fails_half_way(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(pretrained, "unreachable", lambda url: "")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", broken)
    chosen = choose_weights(SPEC, "auto")
    assert chosen.name == "none"
    assert "invalid hash value" in chosen.warning


def test_auto_says_nothing_where_nobody_has_published_weights(monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda url: pytest.fail("asked for a network"))
    chosen = choose_weights(describe_backbone("small_cnn", 64), "auto")
    assert (chosen.name, chosen.warning) == ("none", "")


def test_imagenet_insists():
    with pytest.raises(DeepChestError, match="could not be fetched"):
        choose_weights(SPEC, "imagenet")


def test_weights_with_another_hash_than_recorded_are_refused(cached):
    sha256 = choose_weights(SPEC, "imagenet").sha256
    assert choose_weights(SPEC, "imagenet", sha256).sha256 == sha256
    torch.save({**cached, "conv1.weight": torch.zeros(64, 3, 7, 7)}, published_file())
    with pytest.raises(UsageError, match="not hold the weights that this run or comparison began"):
        choose_weights(SPEC, "imagenet", sha256)


@pytest.mark.parametrize(("status", "reason"), [(200, ""), (404, "Not Found"), (403, "Forbidden")])
def test_a_host_is_asked_once(direct, monkeypatch, status, reason):
    monkeypatch.setattr(pretrained, "SECONDS", 60)  # this machine may be slow to answer itself
    with Host(status) as host:
        assert unreachable(host.url) == reason
    assert host.asked == 1


def test_a_host_that_does_not_answer_costs_seconds_only(direct, monkeypatch):
    monkeypatch.setattr(pretrained, "SECONDS", 0.1)
    answer = threading.Event()

    def hang(*_, **__):
        answer.wait(60)
        return nullcontext()

    monkeypatch.setattr("urllib.request.urlopen", hang)
    assert unreachable("http://127.0.0.1/weights") == "no answer in time"
    answer.set()


def test_weights_that_are_here_and_damaged_are_an_error(cached):
    whole = published_file().read_bytes()
    published_file().write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeepChestError, match="weights of resnet18 could not be read") as error:
        choose_weights(SPEC, "auto")
    assert "Remove the damaged file" in error.value.hint
