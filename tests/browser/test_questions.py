"""Quiz and prediction in a real JupyterLab."""

from pathlib import Path

from playwright.sync_api import expect

from lab import Lab

ROOT = Path(__file__).resolve().parents[2]


def test_a_quiz_answers_and_a_prediction_is_kept(lab: Lab):
    lab.open_and_run(ROOT / "notebooks" / "01_dense.ipynb")
    page = lab.page
    field = page.get_by_placeholder("a number or a word, then run the next cell").first
    field.fill("1.9")
    field.press("Enter")

    question = page.locator(".widget-vbox", has=page.locator(".widget-radio-box")).last
    question.scroll_into_view_if_needed()
    button = question.get_by_role("button", name="Check my answer")
    button.click()
    said = question.locator("[role=status]")
    expect(said).to_have_text("Choose an answer first.")
    for index in range(3):
        question.locator("input[type=radio]").nth(index).check()
        button.click()
        expect(said).to_contain_text("Right." if index == 2 else "Not this one.")

    printed = lab.printed("lessons.revealed('spring', '1.94')")
    assert printed == "You predicted 1.9; it is 1.94: close.\n"
