// The place to draw of lab 02. It needs nothing from a network: drawing.py gives it to JupyterLab as it is.
// The ink goes to Python, and the pixels and the server's answer come back.

const SIDE = 224;
const PEN = 20; // so that a stroke is two or three of the 28 pixels wide
const PAUSE = 400; // ms without a stroke: only then the server is asked, as it counts

const STYLE = `
.pixelwise-draw { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; padding: 4px; }
.pixelwise-draw figure { margin: 0; }
.pixelwise-draw figcaption { font-size: var(--jp-ui-font-size1); color: var(--jp-ui-font-color1); margin-bottom: 4px; }
.pixelwise-draw canvas { border: 1px solid var(--jp-border-color1); background: white; display: block; }
.pixelwise-draw .ink { cursor: crosshair; touch-action: none; }
.pixelwise-draw .pixels { width: ${SIDE}px; height: ${SIDE}px; image-rendering: pixelated; }
.pixelwise-draw .answer { flex: 1 1 220px; min-width: 200px; max-width: 420px; color: var(--jp-ui-font-color1); }
.pixelwise-draw .answer pre { white-space: pre-wrap; }
.pixelwise-draw button { margin-top: 6px; padding: 4px 12px; color: var(--jp-ui-font-color1);
  background: var(--jp-layout-color2); border: 1px solid var(--jp-border-color1); }
`;

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function grey(pixels) {
  // 784 bytes (255 is ink) as a picture with dark ink, as show() draws it
  const image = new ImageData(28, 28);
  for (let place = 0; place < 784; place++) {
    const light = 255 - pixels.getUint8(place);
    image.data.set([light, light, light, 255], 4 * place);
  }
  return image;
}

function render({ model, el }) {
  const ink = make("canvas", { className: "ink", width: SIDE, height: SIDE });
  ink.setAttribute("aria-label", "Draw a digit here, with the mouse or a finger");
  const small = make("canvas", { className: "pixels", width: 28, height: 28 });
  small.setAttribute("aria-label", "The 28 x 28 pixels that the model gets");
  const clear = make("button", { type: "button", textContent: "Clear" });
  const answer = make("div", { className: "answer" });
  const figure = (words, ...inside) => make("figure", {}, make("figcaption", { textContent: words }), ...inside);
  const all = make("div", { className: "pixelwise-draw" });
  all.append(figure("Draw here", ink, clear), figure("What the model gets", small), answer);
  el.append(make("style", { textContent: STYLE }), all);

  const pen = ink.getContext("2d");
  Object.assign(pen, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  let last = null;
  let waiting = null;

  function send() {
    const alpha = pen.getImageData(0, 0, SIDE, SIDE).data.filter((_, place) => place % 4 === 3);
    model.set("ink", new DataView(alpha.buffer));
    model.save_changes();
  }

  function place(event) {
    const box = ink.getBoundingClientRect();
    return [event.clientX - box.left - ink.clientLeft, event.clientY - box.top - ink.clientTop];
  }

  function line(to) {
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  }

  ink.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    ink.setPointerCapture(event.pointerId);
    clearTimeout(waiting);
    last = place(event);
    line(last);
  });
  ink.addEventListener("pointermove", (event) => last && line(place(event)));
  for (const end of ["pointerup", "pointercancel"]) {
    ink.addEventListener(end, () => {
      if (last) waiting = setTimeout(send, PAUSE);
      last = null;
    });
  }
  clear.addEventListener("click", () => {
    clearTimeout(waiting);
    pen.clearRect(0, 0, SIDE, SIDE);
    send();
  });

  function showPixels() {
    const pixels = model.get("pixels");
    if (pixels.byteLength === 784) small.getContext("2d").putImageData(grey(pixels), 0, 0);
  }
  function showAnswer() {
    answer.innerHTML = model.get("answer");
  }
  function showInk() {
    // the cell was scrolled out of sight and back, or is shown twice
    const before = model.get("ink");
    if (before.byteLength !== SIDE * SIDE) return;
    const image = new ImageData(SIDE, SIDE);
    for (let at = 0; at < SIDE * SIDE; at++) image.data[4 * at + 3] = before.getUint8(at);
    pen.putImageData(image, 0, 0);
  }
  model.on("change:pixels", showPixels);
  model.on("change:answer", showAnswer);
  showInk();
  showPixels();
  showAnswer();
  return () => {
    clearTimeout(waiting);
    model.off("change:pixels", showPixels);
    model.off("change:answer", showAnswer);
  };
}

export default { render };
