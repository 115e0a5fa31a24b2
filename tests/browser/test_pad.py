"""The DigitPad in a real JupyterLab: drawn on by mouse and by keyboard, it answers."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from cnnlib import widgets
from lab import Lab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pad(lab: Lab) -> Locator:
    lab.open_and_run(ROOT / "notebooks" / "00_start_here.ipynb")
    found = lab.page.locator(".cnnlib-pad").first
    found.scroll_into_view_if_needed()
    return found


def draw(page: Page, pad: Locator, digit: int) -> None:
    """Draw an example with the mouse, stroke by stroke."""
    box = pad.locator(".cnnlib-pad-paper").bounding_box()
    assert box
    for stroke in widgets.EXAMPLES[digit]:
        points = np.asarray(stroke) * (box["width"], box["height"]) + (box["x"], box["y"])
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=2)
        page.mouse.up()


def percent(pad: Locator, digit: int) -> str:
    return pad.locator(".cnnlib-pad-bars li").nth(digit).locator(".percent").inner_text()


def ink(pad: Locator) -> int:
    """How many points of the paper carry ink, as the page paints them."""
    return pad.locator(".cnnlib-pad-paper").evaluate(
        """paper => paper.getContext('2d').getImageData(0, 0, paper.width, paper.height)
            .data.filter((value, k) => k % 4 === 3 && value > 0).length"""
    )


def test_drawn_digits_are_read_and_undo_clear_and_patch_work(pad: Locator, lab: Lab):
    page, answer = lab.page, pad.locator(".cnnlib-pad-answer")
    expect(answer).to_have_text("Draw a digit.")
    for digit in (3, 7):
        draw(page, pad, digit)
        expect(answer).to_contain_text(f"Answer: {digit}")
        assert percent(pad, digit) in ("> 99 %", *(f"{p} %" for p in range(70, 100)))
        # A screen reader hears it once it rests.
        expect(pad.locator(".cnnlib-pad-said")).to_contain_text(f"Answer: {digit}")
        if digit == 3:
            pad.locator(".cnnlib-pad-clear").click()
            expect(answer).to_have_text("Draw a digit.")
            assert ink(pad) == 0
            # Clearing can be taken back, like a stroke.
            pad.locator(".cnnlib-pad-undo").click()
            expect(answer).to_contain_text("Answer: 3")
            pad.locator(".cnnlib-pad-clear").click()
            expect(answer).to_have_text("Draw a digit.")

    drawn, strokes = ink(pad), len(widgets.EXAMPLES[7])
    for _ in range(strokes):
        pad.locator(".cnnlib-pad-undo").click()
        expect(pad.locator(".cnnlib-pad-done")).to_have_text("Stroke taken back")
    expect(answer).to_have_text("Draw a digit.")
    assert ink(pad) == 0 < drawn

    draw(page, pad, 7)
    expect(answer).to_contain_text("Answer: 7")
    before = percent(pad, 7)
    pad.locator(".cnnlib-pad-patch").click()
    expect(pad.locator(".cnnlib-pad-patch")).to_have_attribute("aria-pressed", "true")
    box = pad.locator(".cnnlib-pad-paper").bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 0.3 * box["height"], steps=5)
    page.mouse.up()
    expect(pad.locator(".cnnlib-pad-bars li").nth(7).locator(".percent")).not_to_have_text(before)
    pad.locator(".cnnlib-pad-patch").click()
    expect(answer).to_contain_text("Answer: 7")


def test_the_keyboard_alone_draws_and_the_maps_follow_the_layer(pad: Locator, lab: Lab):
    paper, answer = pad.locator(".cnnlib-pad-paper"), pad.locator(".cnnlib-pad-answer")
    paper.focus()
    for keys in ("ArrowUp " * 9, "Space", "ArrowDown " * 18, "Space"):
        for key in keys.split():
            paper.press(key)
    expect(answer).to_contain_text("1")
    expect(pad.locator(".cnnlib-pad-done")).to_have_text("Pen up")
    maps = pad.locator(".cnnlib-pad-maps")
    size = maps.evaluate("canvas => [canvas.width, canvas.height]")
    pad.locator(".cnnlib-pad-layer").select_option(index=2)
    expect(maps).not_to_have_js_property("width", size[0])
    paper.focus()
    paper.press("c")
    expect(answer).to_have_text("Draw a digit.")
    paper.press("Tab")
    expect(pad.locator(".cnnlib-pad-undo")).to_be_focused()
