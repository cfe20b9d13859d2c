from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import LostDeviceError, UsageError
from deepchest_cli.training.checks import (
    refuse_unfit_batch,
    refuse_unfit_device,
    refuse_unfit_probe,
    refuse_unfit_splits,
    refuse_unlike_processes,
    refuse_unlike_states,
)
from deepchest_cli.training.distributed import DistributedContext
from deepchest_cli.training.failures import CHECK_EVERY, FiniteLossCheck, explain

CONFIG = TrainConfig()


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr("torch.distributed.new_group", lambda backend: None)
    return DistributedContext(1, 4)


@pytest.mark.parametrize(
    ("batch_size", "grad_accum_steps", "nearest"), [(30, 1, 32), (4, 1, 8), (36, 2, 32), (2, 4, 32)]
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_does(
    four, batch_size, grad_accum_steps, nearest
):
    config = replace(CONFIG, batch_size=batch_size, grad_accum_steps=grad_accum_steps)
    with pytest.raises(UsageError, match="does not divide into") as error:
        refuse_unfit_batch(config, four)
    assert error.value.hint == f"Use --batch-size {nearest}."
    refuse_unfit_batch(replace(config, batch_size=nearest), four)


@pytest.mark.parametrize(
    ("images", "message", "hint"),
    [
        (0, "The training split of data/shards has no image; a batch needs 2.", "Prepare more"),
        (1, "The training split of data/shards has 1 image; a batch needs 2.", "Prepare more"),
        (2, "--batch-size 32 is larger than the training split of data/shards (2 images).", "2 or"),
    ],
)
def test_fewer_images_than_a_batch_say_what_can_be_done(images, message, hint):
    member = SimpleNamespace(folder="data/shards", findings=("Mass",))
    dataset = SimpleNamespace(
        members=(member,),
        member=np.zeros(3, dtype=np.int64),
        known=np.ones((3, 1), dtype=np.uint8),
        folders="data/shards",
    )
    rows = {"train": np.arange(images), "validation": np.arange(3)}
    with pytest.raises(UsageError) as error:
        refuse_unfit_splits(dataset, rows, CONFIG)
    assert error.value.message == message
    assert hint in error.value.hint


def test_what_a_device_cannot_do_is_refused(four):
    cpu, gpu, metal = (torch.device(name) for name in ("cpu", "cuda", "mps"))
    with pytest.raises(UsageError, match="--sync-batchnorm works on CUDA devices only"):
        refuse_unfit_device(replace(CONFIG, sync_batchnorm=True), DistributedContext(), cpu)
    with pytest.raises(UsageError, match="Metal devices cannot share"):
        refuse_unfit_device(CONFIG, four, metal)
    with pytest.raises(UsageError, match="cuda:1 names one GPU, but the run has 4 processes"):
        refuse_unfit_device(replace(CONFIG, device="cuda:1"), four, gpu)
    refuse_unfit_device(CONFIG, four, gpu)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB).\nmore"),
    ],
)
def test_out_of_memory_says_what_to_lower_and_what_is_kept(tmp_path, error):
    shown = explain(error, tmp_path, 1, CONFIG)
    assert shown.message.startswith("Out of memory")
    assert "\n" not in shown.message
    assert f"deepchest train --resume {tmp_path} --grad-accum-steps 2" in shown.hint
    assert "--batch-size" in shown.hint
    assert "--gradient-level" not in shown.hint
    assert (
        "with --gradient-level features"
        in explain(error, tmp_path, 1, replace(CONFIG, gradient_level="parameters")).hint
    )


def test_a_failed_device_is_no_traceback_and_the_run_can_go_on_elsewhere(tmp_path):
    broken = torch.AcceleratorError("CUDA error: unspecified launch failure\nmore")
    shown = explain(broken, tmp_path, 1, CONFIG)
    assert isinstance(shown, LostDeviceError)
    assert shown.message == "The device has failed: CUDA error: unspecified launch failure."
    assert "Choose another --device" in shown.hint
    assert f"last.pt is kept; resume with: deepchest train --resume {tmp_path}" in shown.hint


def test_errors_of_other_kinds_stay_what_they_are(tmp_path):
    assert explain(RuntimeError("Connection closed by peer"), tmp_path, 1, CONFIG) is None
    assert (
        "has ended"
        in explain(RuntimeError("Connection closed by peer"), tmp_path, 2, CONFIG).message
    )
    assert explain(RuntimeError("size mismatch"), tmp_path, 2, CONFIG) is None
    unsure = RuntimeError("x_cuda does not have a deterministic implementation, but you set")
    assert "--deterministic" in explain(unsure, tmp_path, 1, CONFIG).message


def test_the_first_loss_that_is_not_finite_is_named_however_late_the_look():
    watch = FiniteLossCheck(["a", "b"], torch.device("cpu"))
    watch.every = CHECK_EVERY
    for step in range(1, CHECK_EVERY):
        bad = float("nan") if step >= 3 else 1.0
        watch.add(torch.tensor([1.0 if step < 10 else bad, bad]), 2, step)
    with pytest.raises(Exception, match="loss of b is not finite in batch 3 of epoch 2"):
        watch.add(torch.ones(2), 2, CHECK_EVERY)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"freeze": "all"}, "--freeze all"),
        ({"layer_decay": 0.8}, "--layer-decay"),
        ({"drop_path": 0.1}, "--drop-path"),
        ({"dropout": 0.1}, "--dropout"),
        ({"grad_checkpoint": True}, "--grad-checkpoint"),
    ],
)
def test_what_adapts_a_trunk_is_not_for_a_linear_probe(changes, flag):
    with pytest.raises(UsageError, match=f"{flag} makes no sense with --linear-probe"):
        refuse_unfit_probe(TrainConfig(linear_probe=True, **changes), DistributedContext())


class Several(DistributedContext):
    """The first of several processes, of which the others say what they are told to."""

    def __init__(self, *others):
        super().__init__()
        self.others = others

    def all_gather_object(self, value):
        if isinstance(value, str):  # the name of the machine
            return ["node-a", *(f"node-{'bcd'[n]}" for n in range(len(self.others)))]
        return [value, *(other(value) for other in self.others)]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "Process 2 on node-c has other data in "),
        (1, "Process 2 on node-c has another version of deepchest than process 0 on node-a: 9, "),
        (2, "Process 2 on node-c has another version of torch than process 0 on node-a: 9, not "),
        (3, "Process 2 on node-c has other code of its weighter than process 0 on node-a: 9, not "),
        (4, "Process 2 on node-c has other code of its backbone than process 0 on node-a: 9, not "),
    ],
)
def test_processes_that_differ_are_refused(shards, number, said):
    def another(value):
        return [(what, "9" if n == number else own) for n, (what, own) in enumerate(value)]

    dataset, config = open_dataset(shards), TrainConfig()
    refuse_unlike_processes(config, Several(list, list), dataset)
    with pytest.raises(UsageError) as error:
        refuse_unlike_processes(config, Several(list, another), dataset)
    assert said in error.value.message
    assert "Give all machines the same" in error.value.hint


def test_processes_that_have_not_read_the_same_state_are_refused():
    refuse_unlike_states(Several(lambda step: step), 40, Path("runs/mine"))
    with pytest.raises(UsageError) as error:
        refuse_unlike_states(Several(lambda step: 0), 40, Path("runs/mine"))
    assert error.value.message == (
        "Process 1 on node-b finds runs/mine at step 0, process 0 on node-a at step 40."
    )


def test_processes_of_one_machine_are_counted(monkeypatch):
    monkeypatch.setattr(
        DistributedContext, "all_gather_object", lambda self, name: [name, "another", name]
    )
    assert DistributedContext().on_this_machine() == 2
