"""The dashboards in the chart: made by the code, readable by a person, nothing over anything."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hack.dashboards import files
from hack.dashboards.__main__ import main
from hack.dashboards.render import _KINDS

from retune.main.figures import OF_JOB

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(files.FOLDER.glob("*.json"))}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]


def test_the_chart_has_the_five_dashboards_that_the_code_makes() -> None:
    assert set(BOARDS) == {"fleet", "job", "canary", "money", "drift"}
    assert files.stale() == [], "run python -m hack.dashboards"
    assert files.made() == files.made(), "made twice, it is the same"


def test_the_check_fails_for_a_file_that_somebody_changed_and_for_one_that_is_nobodys(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "fleet.json").write_text("{}")
    (tmp_path / "old.json").write_text("{}")
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert "fleet.json" in (said := capsys.readouterr().out)
    assert "old.json" in said
    assert main([]) == 0
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_a_panel_says_which_question_it_answers_in_which_unit(board: str, panel: dict[str, Any]) -> None:
    if panel["type"] == "row":
        return
    assert "?" in panel["description"]
    assert panel["type"] in _KINDS, "the renderer cannot draw it"
    assert panel["datasource"]["uid"] == "${datasource}"
    if panel["type"] in ("timeseries", "bargauge") or panel.get("options", {}).get("textMode") == "auto":
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_over_another_and_none_leaves_the_grid(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    ids = sorted(panel["id"] for panel in BOARDS[name]["panels"])
    assert all(after > before for before, after in pairwise(ids))


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_aimed_and_leads_to_the_others(name: str) -> None:
    board = BOARDS[name]
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables[:2] == ["datasource", "namespace"]
    assert ("job" in variables) == (name in ("job", "canary", "drift"))
    assert board["links"][0]["includeVars"] is True
    assert board["uid"] == f"retune-{name}"
    text = json.dumps(board)
    for variable in ("$namespace", "$job", "$model"):
        assert variable not in text or variable[1:] in variables


def test_every_metric_of_a_job_is_in_the_docs() -> None:
    docs = (files.FOLDER.parents[2] / "docs" / "monitoring.md").read_text()
    assert [name for name in OF_JOB if f"`{name}`" not in docs] == []
