"""Every notebook runs from top to bottom in its quick setting; its own checks are cells."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SETTING = "QUICK = False"  # a line of the first cell of code


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's packages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert SETTING in codes[0].source
    codes[0].source = codes[0].source.replace(SETTING, "QUICK = True")
    assert "assert " in codes[-1].source  # what the reader was promised
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()


def test_notebooks_are_there_and_were_executed():
    nbformat = pytest.importorskip("nbformat")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1)), path.name
        assert any("image/png" in o.get("data", {}) for c in cells for o in c.outputs), path.name
        assert not any(o.output_type == "error" for c in cells for o in c.outputs), path.name
