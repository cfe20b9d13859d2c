"""The notebook, executed as a reader executes it."""

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs/tour.ipynb"
HOUR = 3600  # for one cell, however busy the machine is


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, and the folder that it was executed in."""
    nbclient = pytest.importorskip("nbclient", reason="executes the notebook")
    pytest.importorskip("ipykernel", reason="executes the notebook")
    import nbformat

    folder = tmp_path_factory.mktemp("tour")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
        # nothing of whoever tests is read or written
        patch.setenv("IPYTHONDIR", str(folder / ".ipython"))
        client = nbclient.NotebookClient(notebook, timeout=HOUR, resources=where)
        client.execute()  # raises what a cell raises
    return notebook, folder


def outputs(notebook):
    """Yield each code cell with what it shows: (its text, its outputs)."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield cell.source, cell.outputs


def test_every_cell_runs_and_says_nothing_but_its_result(executed):
    for source, shown in outputs(executed[0]):
        assert shown, source
        assert all(one.output_type in ("display_data", "execute_result") for one in shown), source


def test_tables_and_figures_are_there(executed):
    notebook, folder = executed
    shown = {source: [dict(one.data) for one in all_of] for source, all_of in outputs(notebook)}
    for source, data in shown.items():
        kind = "image/png" if re.search(r"\.plot\(|plt.show|Image\(", source) else "text/html"
        if "differences.loc" not in source:
            assert any(kind in one for one in data), source
    html = "".join(one.get("text/html", "") for data in shown.values() for one in data)
    assert re.search(r"best epoch \d, AUROC 0\.\d{4}", html)
    for title in ("800 radiographs of 48 px", "Evaluation on the test split", "Comparison "):
        assert title in html
    assert "<progress" not in html.rpartition("Comparison ")[2]  # bars go when the work is done
    assert (folder / "runs/latest/best.pt").is_file()
    assert list((folder / "heatmaps").iterdir())


def test_the_notebook_is_stored_without_outputs():
    """They would be megabytes, and other ones on every machine."""
    nbformat = pytest.importorskip("nbformat")
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
