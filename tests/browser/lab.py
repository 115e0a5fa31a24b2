"""What a test does in JupyterLab: open a notebook, run it, find its views, move a slider."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from cut import FINISHED, cut

RUN_MS = 90_000  # a cut lesson runs for seconds; two share the cores with other tests

# Its width when it is loaded. Where a newer picture takes its place meanwhile, decode() fails.
LOADED_WIDTH = """async image => {
    for (;;) {
        const address = image.src;
        try {
            await image.decode();
            return image.naturalWidth;
        } catch (error) {
            if (image.src === address) throw error;
        }
    }
}"""
# The kernel takes one request after the other: it answers when those before are done.
KERNEL_ANSWERS = """() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
    .requestExecute({ code: '', silent: true }).done.then(() => null)"""


class Lab:
    """One visit: a page, and the JupyterLab that it looks at."""

    def __init__(self, page: Page, address: str, root: Path) -> None:
        self.page, self.address, self.root = page, address, root

    def open_and_run(self, lesson: Path) -> None:
        """Open the cut lesson, run all its cells and wait for the last; no cell may fail."""
        cut(lesson, self.root / "notebooks" / lesson.name)
        # A workspace of its own and ?reset: no tab of an earlier visit comes back.
        self.page.goto(
            f"{self.address}/lab/workspaces/{lesson.stem}/tree/notebooks/{lesson.name}?reset"
        )
        expect(self.page.locator(".jp-Notebook")).to_be_visible()
        # Sent before the kernel is connected, 'run all' is lost without a word.
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp?.shell.currentWidget;
                return panel?.sessionContext?.session?.kernel?.connectionStatus === 'connected'
                    && panel.sessionContext.session.kernel.status === 'idle';
            }""",
            timeout=RUN_MS,
        )
        self.page.evaluate("window.jupyterapp.commands.execute('runmenu:run-all')")
        finished = self.page.locator(".jp-OutputArea-output", has_text=FINISHED)
        failed = self.page.locator("[data-mime-type='application/vnd.jupyter.error']")
        expect(finished.or_(failed).first).to_be_visible(timeout=RUN_MS)
        assert failed.count() == 0, failed.first.inner_text()

    def printed(self, code: str) -> str:
        """What code prints in the notebook's kernel."""
        return str(
            self.page.evaluate(
                """async code => {
                    const panel = window.jupyterapp.shell.currentWidget;
                    const run = panel.sessionContext.session.kernel.requestExecute({ code });
                    let text = '';
                    run.onIOPub = message => { text += message.content.text || ''; };
                    await run.done;
                    return text;
                }""",
                code,
            )
        )

    def close(self) -> None:
        """End the kernels, which would go on until the server stops."""
        with urllib.request.urlopen(f"{self.address}/api/sessions") as answer:
            sessions = json.load(answer)
        for session in sessions:
            request = urllib.request.Request(
                f"{self.address}/api/sessions/{session['id']}", method="DELETE"
            )
            urllib.request.urlopen(request).close()

    def views(self) -> Iterator["View"]:
        """The views with sliders or menus, from top to bottom."""
        boxes = self.page.locator(
            ".jp-OutputArea-output > .widget-vbox, .jp-OutputArea-output > div > .widget-vbox"
        )
        for box in boxes.filter(has=self.page.locator("img")).all():
            box.scroll_into_view_if_needed()
            yield View(self.page, box)


class View:
    """Sliders, number fields and a picture, as `widgets.explore` makes them."""

    def __init__(self, page: Page, box: Locator) -> None:
        self.page, self.box = page, box
        self.picture = box.locator("img")
        self.rows = box.locator(":scope > .widget-hbox").all()

    def shown(self) -> str:
        """The address of the picture: a new one for each picture."""
        return self.picture.get_attribute("src") or ""

    def wait_for_another(self, before: str) -> None:
        """Wait until another picture is shown, and loaded."""
        expect(self.picture).not_to_have_attribute("src", before, timeout=RUN_MS)
        assert self.picture.evaluate(LOADED_WIDTH) > 100

    def wait_for_number(self, row: Locator, wanted: float) -> None:
        """Wait until the field beside a slider shows a number, which comes from the kernel."""
        end = time.monotonic() + RUN_MS / 1000
        while abs(number(row) - wanted) > 1e-6:
            assert time.monotonic() < end, f"the field shows {number(row)}, not {wanted}"
            self.page.wait_for_timeout(50)

    def settle(self) -> None:
        """Wait until no newer picture comes: a drag asks for several."""
        last = ""
        while last != (last := self.shown()):
            self.page.evaluate(KERNEL_ANSWERS)  # all that was asked for has arrived there
            self.page.wait_for_timeout(400)
            self.page.evaluate(KERNEL_ANSWERS)  # and no picture is being drawn

    def drag(self, row: Locator, share: float) -> None:
        """Drag the slider's handle by mouse to a share (0 to 1) of its track."""
        handle, track = row.locator(".noUi-handle"), row.locator(".noUi-base")
        handle.scroll_into_view_if_needed()
        at, along = handle.bounding_box(), track.bounding_box()
        assert at and along
        y = at["y"] + at["height"] / 2
        goal = along["x"] + share * along["width"]
        self.page.mouse.move(at["x"] + at["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move((at["x"] + goal) / 2, y, steps=3)
        self.page.mouse.move(goal, y, steps=3)
        self.page.mouse.up()

    def answer_times(self, row: Locator, count: int) -> list[float]:
        """Milliseconds from a move of the mouse to the painted picture, by the page's clock."""
        handle, track = row.locator(".noUi-handle"), row.locator(".noUi-base")
        handle.scroll_into_view_if_needed()
        at, along = handle.bounding_box(), track.bounding_box()
        assert at and along
        y = at["y"] + at["height"] / 2
        self.picture.evaluate(
            """image => {
                document.addEventListener('mousemove', () => { image.moved = performance.now(); });
                image.addEventListener('load', async () => {
                    await image.decode();
                    requestAnimationFrame(() => { image.painted = performance.now(); });
                });
            }"""
        )
        self.page.mouse.move(at["x"] + at["width"] / 2, y)
        self.page.mouse.down()
        begin = int(at["x"] < along["x"] + along["width"] / 2)
        times = []
        for k in range(count):
            self.picture.evaluate("image => { image.painted = 0; }")
            share = (0.1, 0.9)[(k + begin) % 2]  # far from where it was, also with two values
            self.page.mouse.move(along["x"] + share * along["width"], y)
            self.page.wait_for_function(
                "image => image.painted > image.moved", arg=self.picture.element_handle()
            )
            times.append(self.picture.evaluate("image => image.painted - image.moved"))
            self.page.wait_for_timeout(60)
        self.page.mouse.up()
        return times

    def complaint(self) -> str:
        """What stands under the sliders in place of a picture that could not be drawn."""
        return " ".join(self.box.locator("[role=alert]").all_inner_texts())


def number(row: Locator) -> float:
    """The number in the field beside a slider."""
    text = row.locator("input[type=number]").input_value()
    assert re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text), text
    return float(text)
