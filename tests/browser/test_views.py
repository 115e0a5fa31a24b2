"""Every lesson with a view in a real JupyterLab: sliders and menus change picture and numbers."""

import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Locator

from cut import views_of
from lab import Lab, View, number

ROOT = Path(__file__).resolve().parents[2]
LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if views_of(path)]


def test_there_are_lessons_with_views():
    assert {"00_start_here", "01_dense"} <= {path.stem for path in LESSONS}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_control_changes_picture_and_numbers(lab: Lab, lesson: Path):
    lab.open_and_run(lesson)
    views = list(lab.views())
    text = lesson.read_text("utf-8")
    assert len(views) == text.count("widgets.explore("), "a view does not appear"
    for view in views:
        assert view.rows, "a view without controls"
        for row in view.rows:
            if row.locator(".noUi-handle").count():
                a_slider_moves_all(view, row)
            else:
                a_menu_changes_the_picture(view, row.locator("select"))
        assert view.complaint() == ""


def a_slider_moves_all(view: View, row: Locator) -> None:
    """Drag to the end that is farther off; then type the number where it started."""
    field = row.locator("input[type=number]")
    low, high = (float(field.get_attribute(end) or "nan") for end in ("min", "max"))
    start, picture = number(row), view.shown()
    far = 1.0 if start < (low + high) / 2 else 0.0
    view.drag(row, far)
    view.wait_for_another(picture)
    view.wait_for_number(row, high if far else low)
    view.settle()
    assert abs(number(row) - (high if far else low)) < 1e-6, "the slider jumped back"
    picture = view.shown()
    field.fill(f"{start:g}")
    field.press("Enter")
    view.wait_for_another(picture)
    view.settle()
    assert abs(number(row) - start) < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_picture_follows_its_slider_in_100_ms(lab: Lab, lesson: Path, capsys):
    """The median over 16 moves; on 2 cores that nothing else keeps busy."""
    lab.open_and_run(lesson)
    medians = {}
    for k, view in enumerate(lab.views()):
        for row in view.rows:
            if row.locator(".noUi-handle").count():
                name = f"view {k}, {row.locator('.widget-label').first.inner_text()}"
                medians[name] = statistics.median(view.answer_times(row, 16))
    with capsys.disabled():
        print(f"\n{lesson.stem}:", {name: f"{ms:.0f} ms" for name, ms in medians.items()})
    assert all(ms < 100 for ms in medians.values()), medians


def a_menu_changes_the_picture(view: View, menu: Locator) -> None:
    for index in range(1, menu.locator("option").count()):
        picture = view.shown()
        menu.select_option(index=index)
        view.wait_for_another(picture)
    menu.select_option(index=0)
    view.settle()
