"""A comparison killed at every fourth write ends as an undisturbed one."""

import json
import shutil

from killing import KilledError, assert_equal_comparisons, killed_at
from tests_support import valid

from deepchest_cli.comparison.analysis.document import same_results

FLAGS = (
    "--weighters", "deepchest", "--seeds", "1", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "1", "--learning-rate", "1e-3", "--bootstrap-replicates", "100",
    "--cost-rounds", "2", "--resume", "auto",
)  # fmt: skip


def results_in(folder):
    return valid(json.loads((folder / "results.json").read_text()), "compare-weighters")


def test_a_comparison_killed_repeatedly_ends_as_an_undisturbed_one(deepchest, shards, tmp_path):
    def compare(data, out, *more):
        return deepchest("compare-weighters", "--data", data, "--out", out, *FLAGS, *more)

    undisturbed = compare(shards, tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    out, kills = tmp_path / "killed", 0
    for write in range(8, 100, 4):  # later each time: what does not depend on files begins anew
        try:
            with killed_at(write):
                ended = compare(shards, out)
            break
        except KilledError:
            kills += 1
    assert ended.code == 0
    assert kills >= 3
    assert_equal_comparisons(out, tmp_path / "undisturbed")
    assert same_results(results_in(out), results_in(tmp_path / "undisturbed"))
    assert not list(out.rglob(".*"))
    copy = shutil.copytree(shards, tmp_path / "moved")
    again = compare(copy, out, "--json")
    assert again.code == 0
    assert f"{out} has finished: nothing is left to train." in again.err
    assert json.loads(again.out)["data"]["folder"] == str(copy)
