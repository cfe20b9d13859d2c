"""A linear probe of real radiographs ends where scikit-learn's logistic regression does."""

import os

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from deepchest_cli.config import PrepareConfig, TrainConfig
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.evaluation.metrics import auroc
from deepchest_cli.training.probe import ProbeTrainer, build_probe
from deepchest_cli.training.probe_heads import RATE_FACTORS
from deepchest_cli.training.run_directory import create_run

DECAY = 0.1  # weight decay d is scikit-learn's C = 1 / (n d), n the training images
FACTOR = 5.0  # of the learning rate, whose head is compared


def test_the_auroc_of_real_radiographs_is_scikit_learns(real_data, tmp_path):
    """DEEPCHEST_TEST_WEIGHTS: a file of MobileNetV2's weights; without it they are random."""
    prepare, source = PrepareConfig(workers=2), real_data / "nih-224"
    run_preparation(plan_preparation(prepare, source), prepare, tmp_path / "s", lambda *_: None)
    config = TrainConfig(
        data=(str(tmp_path / "s"),),
        out=tmp_path / "run",
        linear_probe=True,
        backbone="mobilenet_v2",
        weights=os.environ.get("DEEPCHEST_TEST_WEIGHTS", "none"),
        weighter="equal",
        optimizer="sgd",
        learning_rate=1e-2,
        weight_decay=DECAY,
        batch_size=128,
        epochs=150,
        patience=0,
        warmup_steps=0,
    )
    components = build_probe(config)
    trainer = ProbeTrainer(components, create_run(components.config), tmp_path / "features")
    trainer.fit()
    dataset, reader = components.dataset, components.reader
    training, validation = components.training_rows, components.validation_rows
    table = reader.read(training).numpy()
    held_out = reader.read(validation)
    with torch.no_grad():
        ours = trainer.heads.head(RATE_FACTORS.index(FACTOR))(held_out).numpy()
    both = []
    for task in range(len(dataset.findings)):
        labels = dataset.labels[:, task]
        if len(set(labels[validation])) < 2:
            continue
        penalty = 1 / (len(training) * DECAY)
        theirs = LogisticRegression(C=penalty, max_iter=5000).fit(table, labels[training])
        scores = theirs.decision_function(held_out.numpy())
        both.append([auroc(labels[validation], found) for found in (ours[:, task], scores)])
    means = np.mean(both, axis=0)
    print(f"macro AUROC of {len(both)} findings: ours {means[0]:.4f}, scikit-learn {means[1]:.4f}")
    assert len(both) > 10
    assert means[0] == pytest.approx(means[1], abs=0.005)
