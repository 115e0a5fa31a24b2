// The page's half of DigitPad. It keeps the strokes while one draws, sends them to Python a few
// times a second, and shows what comes back. It asks nothing of any server.

const SIDE = 560; // pixels of the canvas, shown at half of that: sharp on fine screens
const PEN = 0.075; // of the side: about what the network will see
const STEP = 0.04; // of the side, for one press of an arrow key
const SEND = 50; // milliseconds between two messages
const QUIET = 700; // milliseconds without a change before a screen reader says the answer
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const round = (value) => Math.round(value * 1e4) / 1e4; // what is sent comes back the same
const clip = (value, high = 1) => Math.min(Math.max(value, 0), high);

function element(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

function bytes(view) {
  return view && view.buffer
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : new Uint8Array();
}

function render({ model, el }) {
  const texts = model.get("texts");
  const root = element("div", "cnnlib-pad", el);
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab: 'c' here does not copy a cell

  // --- What one sees --------------------------------------------------------------------------

  const left = element("div", "cnnlib-pad-left", root);
  const paper = element("canvas", "cnnlib-pad-paper", left);
  paper.width = paper.height = SIDE;
  paper.tabIndex = 0;
  paper.setAttribute("role", "application"); // so that a screen reader passes the arrow keys on
  paper.setAttribute("aria-label", texts.pad);
  const buttons = element("div", "cnnlib-pad-buttons", left);
  const button = (name, action) => {
    const node = element("button", `cnnlib-pad-${name}`, buttons, texts[name]);
    node.type = "button";
    node.addEventListener("click", action);
    return node;
  };
  button("undo", undo);
  button("clear", clear);
  const patchButton = button("patch", togglePatch);
  element("p", "cnnlib-pad-note", left, texts.hint);

  const right = element("div", "cnnlib-pad-right", root);
  const answer = element("div", "cnnlib-pad-answer", right);
  answer.setAttribute("aria-hidden", "true"); // it changes many times a second; `said` rests
  const said = element("div", "cnnlib-pad-unseen cnnlib-pad-said", right);
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  const done = element("div", "cnnlib-pad-unseen cnnlib-pad-done", right);
  done.setAttribute("role", "status");
  done.setAttribute("aria-live", "polite");
  element("div", "cnnlib-pad-note", right, texts.warning);
  const row = element("div", "cnnlib-pad-row", right);
  const seenFigure = element("figure", "", row);
  element("figcaption", "", seenFigure, texts.seen);
  const seen = element("canvas", "cnnlib-pad-seen", seenFigure);
  seen.width = seen.height = 28;
  seen.setAttribute("role", "img");
  seen.setAttribute("aria-label", texts.seen);
  const bars = element("ul", "cnnlib-pad-bars", row);
  bars.setAttribute("aria-label", texts.bars);
  const rows = Array.from({ length: 10 }, (_, digit) => {
    const item = element("li", "", bars);
    element("span", "", item, String(digit));
    const bar = element("div", "bar", element("div", "track", item));
    return { item, bar, percent: element("span", "percent", item) };
  });
  const mapsFigure = element("figure", "", right);
  const caption = element("label", "", element("figcaption", "", mapsFigure), `${texts.maps} `);
  const select = element("select", "cnnlib-pad-layer", caption);
  for (const name of model.get("layers")) element("option", "", select, name).value = name;
  const maps = element("canvas", "cnnlib-pad-maps", mapsFigure);
  maps.setAttribute("role", "img");
  mapsFigure.hidden = model.get("layers").length === 0;

  // --- What one does --------------------------------------------------------------------------

  let strokes = copy(model.get("strokes"));
  let cleared = []; // what the last clear took away: undo on an empty pad brings it back
  let patch = [...model.get("patch")];
  let drawing = null; // id of the pointer that draws
  let dragging = null; // where in the patch it is held
  let pen = [0.5, 0.5]; // of the keyboard
  let penDown = false;
  let timer = null;
  let speech = null;

  function copy(list) {
    return list.map((stroke) => stroke.map((point) => [...point]));
  }

  function send() {
    paint();
    if (timer === null) timer = setTimeout(sendNow, SEND);
  }

  function sendNow() {
    clearTimeout(timer);
    timer = null;
    model.set("strokes", copy(strokes));
    model.set("patch", [...patch]);
    model.save_changes();
  }

  function say(text) {
    done.textContent = text;
  }

  function add(x, y) {
    const stroke = strokes[strokes.length - 1];
    const last = stroke[stroke.length - 1];
    if (!last || Math.hypot(x - last[0], y - last[1]) > 0.004) stroke.push([round(x), round(y)]);
  }

  function undo() {
    penDown = false;
    if (strokes.length || !cleared.length) {
      strokes.pop();
      say(texts.undone);
    } else {
      [strokes, cleared] = [cleared, []];
      say(texts.restored);
    }
    send();
  }

  function clear() {
    penDown = false;
    if (strokes.length) cleared = strokes;
    strokes = [];
    say(texts.cleared);
    send();
  }

  function togglePatch() {
    patch = patch.length ? [] : [...model.get("start_patch")];
    say(patch.length ? texts.patch_on : texts.patch_off);
    send();
  }

  function movePatch(x, y) {
    patch = [round(clip(x, 1 - patch[2])), round(clip(y, 1 - patch[2])), patch[2]];
    send();
  }

  function position(event) {
    const box = paper.getBoundingClientRect();
    return [
      clip((event.clientX - box.left) / box.width),
      clip((event.clientY - box.top) / box.height),
    ];
  }

  paper.addEventListener("pointerdown", (event) => {
    if (drawing !== null || event.button !== 0) return;
    const [x, y] = position(event);
    drawing = event.pointerId;
    try {
      paper.setPointerCapture(drawing); // a stroke goes on outside of the paper
    } catch {
      // A pointer that a script invented cannot be captured; it draws all the same.
    }
    penDown = false;
    if (patch.length && x >= patch[0] && x <= patch[0] + patch[2] &&
        y >= patch[1] && y <= patch[1] + patch[2]) {
      dragging = [x - patch[0], y - patch[1]];
    } else {
      strokes.push([]);
      add(x, y);
      send();
    }
  });

  paper.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing) return;
    if (dragging) {
      const [x, y] = position(event);
      movePatch(x - dragging[0], y - dragging[1]);
      return;
    }
    const between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const part of between.length ? between : [event]) add(...position(part));
    send();
  });

  function lift(event) {
    if (event.pointerId !== drawing) return;
    drawing = dragging = null;
    sendNow();
  }
  paper.addEventListener("pointerup", lift);
  paper.addEventListener("pointercancel", lift);
  paper.addEventListener("lostpointercapture", lift);

  paper.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    const action = { u: undo, c: clear, p: togglePatch }[event.key.toLowerCase()];
    if (arrow && event.shiftKey && patch.length) {
      movePatch(patch[0] + STEP * arrow[0], patch[1] + STEP * arrow[1]);
    } else if (arrow) {
      pen = [clip(pen[0] + STEP * arrow[0]), clip(pen[1] + STEP * arrow[1])];
      if (penDown) add(...pen);
      if (penDown) send();
      else paint();
    } else if (event.key === " ") {
      penDown = !penDown;
      if (penDown) {
        strokes.push([]);
        add(...pen);
      }
      say(penDown ? texts.pen_down : texts.pen_up);
      send();
    } else if (action) {
      action();
    } else {
      return; // Tab and all others keep their meaning
    }
    event.preventDefault();
    event.stopPropagation();
  });
  paper.addEventListener("focus", paint);
  paper.addEventListener("blur", paint);

  select.addEventListener("change", () => {
    model.set("layer", select.value);
    model.save_changes();
  });

  // --- Painting -------------------------------------------------------------------------------

  function paint() {
    const ink = paper.getContext("2d");
    ink.clearRect(0, 0, SIDE, SIDE);
    ink.lineWidth = PEN * SIDE;
    ink.lineCap = ink.lineJoin = "round";
    ink.strokeStyle = "#000";
    for (const stroke of strokes) {
      if (!stroke.length) continue;
      ink.beginPath();
      ink.moveTo(stroke[0][0] * SIDE, stroke[0][1] * SIDE);
      for (const [x, y] of stroke) ink.lineTo(x * SIDE, y * SIDE);
      ink.stroke();
    }
    if (patch.length) {
      const [x, y, side] = patch.map((value) => value * SIDE);
      ink.fillStyle = "#555";
      ink.fillRect(x, y, side, side);
      ink.lineWidth = 4;
      ink.strokeStyle = "#fff";
      ink.setLineDash([12, 8]);
      ink.strokeRect(x + 2, y + 2, side - 4, side - 4);
      ink.setLineDash([]);
    }
    if (document.activeElement === paper || paper.matches(":focus")) {
      ink.lineWidth = 3;
      ink.strokeStyle = penDown ? "#d55e00" : "#0072b2";
      ink.beginPath();
      ink.arc(pen[0] * SIDE, pen[1] * SIDE, penDown ? 9 : 15, 0, 2 * Math.PI);
      ink.stroke();
    }
    patchButton.setAttribute("aria-pressed", String(patch.length > 0));
  }

  function grey(context, data, at, width, height, x, y) {
    const image = context.createImageData(width, height);
    for (let k = 0; k < width * height; k++) {
      image.data.fill(255 - data[at + k], 4 * k, 4 * k + 3);
      image.data[4 * k + 3] = 255;
    }
    context.putImageData(image, x, y);
  }

  function showAnswer() {
    answer.textContent = model.get("answer");
    clearTimeout(speech);
    speech = setTimeout(() => (said.textContent = model.get("answer")), QUIET);
    const probabilities = model.get("probabilities");
    const best = Math.max(...probabilities);
    rows.forEach(({ item, bar, percent }, digit) => {
      const p = probabilities[digit] || 0;
      item.className = best > 0 && p === best ? "best" : "";
      bar.style.width = `${100 * p}%`;
      percent.textContent = p >= 0.995 ? "> 99 %" : `${Math.round(100 * p)} %`;
    });
  }

  function showSeen() {
    const data = bytes(model.get("picture"));
    if (data.length === 784) grey(seen.getContext("2d"), data, 0, 28, 28, 0, 0);
  }

  function showMaps() {
    const [count, height, width] = model.get("maps_shape");
    const data = bytes(model.get("maps"));
    if (!count || data.length !== count * height * width) return;
    const columns = Math.min(count, 8);
    maps.width = columns * (width + 1) - 1;
    maps.height = Math.ceil(count / columns) * (height + 1) - 1;
    maps.style.width = `${Math.min(400, columns * 48)}px`;
    const context = maps.getContext("2d");
    for (let k = 0; k < count; k++) {
      const [x, y] = [(k % columns) * (width + 1), Math.floor(k / columns) * (height + 1)];
      grey(context, data, k * width * height, width, height, x, y);
    }
    maps.setAttribute("aria-label", `${texts.maps} ${model.get("layer")}: ${count}`);
  }

  function showLayer() {
    select.value = model.get("layer");
  }

  // Python, or another view of the same pad, changed the drawing; a running stroke goes first.
  function take() {
    if (drawing !== null || timer !== null) return;
    strokes = copy(model.get("strokes"));
    patch = [...model.get("patch")];
    paint();
  }

  const listeners = [
    ["change:strokes", take],
    ["change:patch", take],
    ["change:probabilities change:answer", showAnswer],
    ["change:picture", showSeen],
    ["change:maps change:maps_shape", showMaps],
    ["change:layer", showLayer],
  ];
  const each = (call) =>
    listeners.forEach(([names, react]) => names.split(" ").forEach((name) => call(name, react)));
  each((name, react) => model.on(name, react));
  paint();
  showAnswer();
  showSeen();
  showMaps();
  showLayer();

  return () => {
    clearTimeout(timer);
    clearTimeout(speech);
    each((name, react) => model.off(name, react));
  };
}

export default { render };
