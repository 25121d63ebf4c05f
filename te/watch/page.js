"use strict";
// Shows what `page_data` in te/watch/page.py holds. All texts go in as text nodes, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const sizes = { ...data.fixed };
for (const [name, value] of Object.entries(data.sizes)) if (value !== null) sizes[name] = value;
let now = 0; // the step that is shown
let chosen = ""; // the path of the box whose details are shown: "" is the call, "0.1" its second box inside the first

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.flat().filter((part) => part !== null && part !== undefined && part !== ""));
  return made;
}

function drawn(tag, attributes = {}, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

// ---------------------------------------------------------------- formulas of sizes

// The number that a formula is for the sizes that are known, else null.
function value(formula) {
  if (typeof formula === "number") return formula;
  if (typeof formula === "string") return formula in sizes ? sizes[formula] : null;
  const [op, ...parts] = formula;
  const found = op === "text" ? [null] : parts.map(value);
  if (found.includes(null)) return null;
  const [a, b] = found;
  switch (op) {
    case "+": return a + b;
    case "-": return a - b;
    case "*": return a * b;
    case "//": return b === 0 ? 0 : Math.floor(a / b);
    case "%": return b === 0 ? 0 : a - b * Math.floor(a / b);
    case "min": return Math.min(...found);
    case "max": return Math.max(...found);
    case "neg": return -a;
    case "abs": return Math.abs(a);
  }
  return null;
}

// `(M + 7) // 8` is the ceiling of M / 8.
function ceiling(x, d) {
  if (typeof d !== "number" || !Array.isArray(x)) return null;
  const [op, rest, added] = x;
  if (op === "+" && added === d - 1) return [rest, d];
  if (op === "-" && typeof added === "number") return null;
  if (op === "+" && typeof added === "number" && added < d - 1) return [["-", rest, d - 1 - added], d];
  return null;
}

function factors(formula) {
  return Array.isArray(formula) && formula[0] === "*" ? formula.slice(1).flatMap(factors) : [formula];
}

// `4·M·N²`: a number first, each other factor once.
function powers(formula) {
  const counts = new Map();
  let number = 1;
  for (const factor of factors(formula)) {
    if (typeof factor === "number") number *= factor;
    else counts.set(text(factor, 2), (counts.get(text(factor, 2)) ?? 0) + 1);
  }
  const parts = [...counts].map(([name, count]) => (count === 1 ? name : `${name}${[...String(count)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("")}`));
  return [...(number === 1 && parts.length ? [] : [text(number)]), ...parts].join("·");
}

// How tightly a formula holds together: 1 a sum, 2 a product, 3 a name.
function text(formula, level = 0) {
  const [result, strength] = written(formula);
  return strength < level ? `(${result})` : result;
}

function written(formula) {
  if (typeof formula === "number") return [formula.toLocaleString("en").replaceAll(",", "\u202f"), formula < 0 ? 1 : 3];
  if (typeof formula === "string") return [formula, 3];
  const [op, a, b] = formula;
  switch (op) {
    case "text": return [a, 0];
    case "+": return [`${text(a, 1)} + ${text(b, 2)}`, 1];
    case "-": return [`${text(a, 1)} − ${text(b, 2)}`, 1];
    case "*": return [powers(formula), 2];
    case "//": {
      const found = ceiling(a, b);
      return found ? [`⌈${text(found[0], 2)}/${text(found[1], 3)}⌉`, 3] : [`⌊${text(a, 2)}/${text(b, 3)}⌋`, 3];
    }
    case "%": return [`${text(a, 3)} mod ${text(b, 3)}`, 1];
    case "neg": return [`−${text(a, 2)}`, 1];
  }
  return [`${op}(${formula.slice(1).map((part) => text(part)).join(", ")})`, 3];
}

function scaled(number, base, units) {
  let at = 0;
  while (Math.abs(number) >= base && at < units.length - 1) { number /= base; at += 1; }
  const digits = at === 0 ? number.toLocaleString("en") : number.toPrecision(number >= 100 ? 4 : 3).replace(/\.0+$/, "");
  return `${Number(digits.replaceAll(",", "")) >= 1e6 ? number.toPrecision(3) : digits} ${units[at]}`;
}

const inBytes = (number) => scaled(number, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
const inOperations = (number) => scaled(number, 1000, ["", "k", "M", "G", "T", "P"].map((prefix) => prefix + data.unit));

// An amount as a number where it is known, else as a formula.
function amount(formula, show, unit) {
  const number = value(formula);
  return number === null ? `${text(formula, 2)} ${unit}` : show(number);
}

const bytes = (formula) => amount(formula, inBytes, "B");
const operations = (formula) => amount(formula, inOperations, data.unit);
const plain = (formula) => amount(formula, (n) => n.toLocaleString("en").replaceAll(",", "\u202f"), "").trim();

// The same with the formula beside the number.
function both(formula, shown) {
  const isNumber = value(formula) !== null && typeof formula !== "number";
  return isNumber ? [shown, " ", element("small", {}, `= ${text(formula)}`)] : [shown];
}

// ---------------------------------------------------------------- boxes

const KINDS = ["serial", "parallel", "vector", "unrolled"];
const kindClass = (kind) => (KINDS.includes(kind) ? kind : "other");

function chooser(path) {
  return (event) => { event.stopPropagation(); chosen = path; show(); };
}

function cost(work) {
  const limit = work.exact ? "" : "≤ ";
  const parts = [];
  if (value(work.operations) !== 0) parts.push(limit + operations(work.operations));
  if (value(work.bytes) !== 0) parts.push(bytes(work.bytes));
  return element("span", { class: "cost", title: "what one run computes, and the memory that it touches" }, parts.join(" · "));
}

function boxes(node, path) {
  const inside = () => node.inside.flatMap((part, i) => boxes(part, path === "" ? `${i}` : `${path}.${i}`));
  const mark = path === chosen && path !== "" ? " chosen" : "";
  switch (node.is) {
    case "seq":
      return inside();
    case "alloc":
      return [element("div", { class: "chips" }, chip(node.buffer)), ...inside()];
    case "for":
      return [loop(node, path, mark, inside())];
  }
  const around = node.inside.length > 0; // a guard, a name for an index, and the like
  const row = { class: `row ${around ? "around" : "statement"}${mark}`, onclick: chooser(path) };
  return [element("div", row, element("code", {}, node.text), around ? "" : cost(node.work)), ...inside()];
}

function loop(node, path, mark, inside) {
  const number = value(node.extent);
  const extent = typeof node.extent !== "number" && number !== null ? `${text(node.extent)} = ${plain(node.extent)}` : text(node.extent);
  const head = element(
    "div",
    { class: "head", onclick: chooser(path) },
    node.kind === "serial" ? "" : element("span", { class: "kind" }, node.kind),
    element("span", { class: "title" }, node.name, element("em", {}, ` < ${extent}`)),
    ...node.flags.map((flag) => element("span", { class: "badge" }, flag)),
    cost(node.work),
  );
  return element("div", { class: `box ${kindClass(node.kind)}${mark}`, "data-path": path, "data-stage": node.stage, "data-loop": node.name }, head, ...inside);
}

function chip(buffer) {
  const shape = buffer.shape.length ? `[${buffer.shape.map((extent) => text(extent)).join(", ")}]` : "";
  const size = buffer.shape.reduce((product, extent) => ["*", product, extent], buffer.item);
  const number = value(size);
  const known = number === null ? "" : ` · ${inBytes(number)}`;
  return element("span", { class: "chip", title: `a buffer in ${buffer.scope}` }, element("b", {}, buffer.name), ` ${buffer.dtype}${shape} in ${buffer.scope}${known}`);
}

// Buffers that are allocated one around the other stand in one line.
function joinChips(parts) {
  for (const part of parts) {
    const next = part.nextElementSibling;
    if (part.className === "chips" && next && next.className === "chips") { next.prepend(...part.childNodes); part.remove(); }
  }
}

function nodeAt(path) {
  let node = data.steps[now].nest;
  for (const part of path === "" ? [] : path.split(".")) {
    node = node.inside[Number(part)];
    if (node === undefined) return null;
  }
  return node;
}

// Where the loop of that name is in a step, else the call.
function pathOf(name, node, path = "") {
  if (name && node.name === name) return path;
  for (const [i, part] of node.inside.entries()) {
    const found = pathOf(name, part, path === "" ? `${i}` : `${path}.${i}`);
    if (found) return found;
  }
  return "";
}

function showDetails() {
  const node = nodeAt(chosen) ?? nodeAt((chosen = ""));
  const work = node.work;
  const isCall = chosen === "";
  const [ops, moved] = [value(work.operations), value(work.moved)];
  const runs = value(work.runs);
  const rows = [
    isCall ? null : ["runs", both(work.runs, plain(work.runs))],
    ["computes", both(work.operations, (work.exact ? "" : "at most ") + operations(work.operations))],
    ["touches", both(work.bytes, bytes(work.bytes))],
    isCall ? null : ["moves in a call", both(work.moved, bytes(work.moved))],
    ops !== null && moved && runs ? [`${data.unit} per byte moved`, [((ops * runs) / moved).toPrecision(3)]] : null,
  ].filter((row) => row !== null);
  const table = work.touches.length
    ? element(
        "table",
        {},
        element("tr", {}, ...["buffer", "elements", "", "bytes"].map((name) => element("th", {}, name))),
        ...work.touches.map(touched),
      )
    : "";
  byId("details").replaceChildren(
    element("h2", {}, isCall ? "One call" : "One run of"),
    isCall ? "" : element("p", { class: "title" }, node.text),
    element("dl", {}, ...rows.flatMap(([name, shown]) => [element("dt", {}, name), element("dd", {}, ...shown)])),
    table,
  );
}

function touched(touch) {
  const region = touch.region.length ? touch.region.map((extent) => plain(extent)).join(" × ") : "1";
  const way = { r: "read", w: "written", rw: "read, written" }[touch.way];
  return element(
    "tr",
    {},
    element("td", {}, element("code", {}, touch.name)),
    element("td", {}, element("code", {}, `${region} ${touch.dtype}`)),
    element("td", {}, way),
    element("td", {}, bytes(touch.bytes)),
  );
}

// ---------------------------------------------------------------- stages

// An edge that turns back hangs below the boxes; the point between is its lowest.
function arc([[x, y], [, lowest], [u, v]]) {
  const control = (end) => (4 * lowest - end) / 3;
  return `M${x},${y} C${x},${control(y)} ${u},${control(v)} ${u},${v}`;
}

function curve(points) {
  let path = `M${points[0].join(",")}`;
  for (let i = 1; i < points.length; i += 1) {
    const [[x, y], [u, v]] = [points[i - 1], points[i]];
    const bend = Math.max(24, Math.abs(u - x) / 2);
    path += y === v && u >= x ? ` L${u},${v}` : ` C${x + bend},${y} ${u - bend},${v} ${u},${v}`;
  }
  return path;
}

function drawGraph() {
  const graph = data.graph;
  const picture = drawn("svg", { width: graph.width, height: graph.height, viewBox: `0 0 ${graph.width} ${graph.height}`, role: "img", "aria-label": "the stages of the op" });
  picture.append(
    drawn("defs", {}, drawn("marker", { id: "tip", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, drawn("path", { class: "tip", d: "M0,0.5 L8,4 L0,7.5 z" }))),
  );
  for (const edge of graph.edges) picture.append(drawn("path", { class: edge.turns ? "edge turns" : "edge", d: edge.turns ? arc(edge.points) : curve(edge.points), "data-edge": edge.key, "marker-end": "url(#tip)" }));
  for (const node of graph.nodes) {
    const lines = [[node.name, "name"], [node.type, "small"], ...(node.how ? [[node.how, "small"]] : [])];
    const group = drawn("g", { class: `node ${node.is}`, "data-node": node.name }, drawn("title", {}, node.text));
    group.append(drawn("rect", { x: node.x, y: node.y, width: node.w, height: node.h, rx: node.is === "input" ? node.h / 2 : 7 }));
    lines.forEach(([line, name], i) => {
      const step = lines.length === 3 ? 14 : 16;
      const y = node.y + node.h / 2 + 4 + (i - (lines.length - 1) / 2) * step;
      group.append(drawn("text", { class: name, x: node.x + node.w / 2, y }, line));
    });
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false]]) group.addEventListener(event, () => light(node.name, on));
    picture.append(group);
  }
  byId("graph").append(picture);
}

function light(stage, on) {
  for (const box of document.querySelectorAll(".box")) box.classList.toggle("lit", on && box.dataset.stage === stage);
}

function showStages() {
  const step = data.steps[now];
  for (const node of document.querySelectorAll("[data-node]")) node.classList.toggle("absent", !step.tensors.includes(node.dataset.node));
  for (const edge of document.querySelectorAll("[data-edge]")) edge.classList.toggle("absent", !step.edges.includes(edge.dataset.edge));
}

// ---------------------------------------------------------------- steps

function showDiff() {
  const step = data.steps[now];
  const classes = { "+": "added", "-": "removed", " ": "same" };
  const lines = step.diff.map(([mark, line]) => element("div", { class: classes[mark], "data-mark": mark }, line));
  byId("diff").replaceChildren(element("pre", {}, ...lines));
  const changed = step.diff.some(([mark]) => mark !== " ");
  byId("changes").textContent = step.refusal ? "Refused" : changed ? "What this line changes" : now ? "Nothing changes" : "Program";
  byId("refusal").textContent = step.refusal ?? "";
  byId("refusal").hidden = !step.refusal;
  const first = byId("diff").querySelector(".added, .removed");
  byId("diff").scrollTop = first ? Math.max(0, first.offsetTop - byId("diff").offsetTop - 60) : 0;
}

function show() {
  const step = data.steps[now];
  const last = data.steps.length - 1;
  byId("slider").value = now;
  byId("count").textContent = `${now} of ${last}`;
  byId("line").textContent = step.line;
  byId("back").disabled = now === 0;
  byId("forth").disabled = now === last;
  byId("lines").querySelectorAll("button").forEach((button, i) => {
    button.classList.toggle("now", i === now);
    button.classList.toggle("later", i > now);
    button.setAttribute("aria-current", i === now ? "step" : "false");
  });
  const nest = byId("nest");
  nest.replaceChildren(...boxes(step.nest, ""));
  joinChips([...nest.querySelectorAll(".chips")]);
  showDetails();
  showStages();
  showDiff();
}

function go(step) {
  const name = chosen === "" ? null : nodeAt(chosen)?.name; // the same loop, wherever it stands then
  now = Math.min(Math.max(step, 0), data.steps.length - 1);
  history.replaceState(null, "", `#${now}`);
  chosen = pathOf(name, data.steps[now].nest);
  show();
}

function fromAddress() {
  now = Math.min(Math.max(Number.parseInt(location.hash.slice(1), 10) || 0, 0), data.steps.length - 1);
  show();
}

function setUp() {
  byId("op").textContent = data.op;
  byId("signature").textContent = data.signature;
  const [first, ...more] = data.doc.split("\n\n");
  byId("doc").textContent = first;
  byId("more").hidden = more.length === 0;
  byId("rest").textContent = more.join("\n\n");
  byId("heading").textContent = data.heading + (data.others ? ` (and ${data.others} more, for other sizes)` : "");
  const known = { ...data.fixed, ...data.sizes };
  for (const name of Object.keys(known)) {
    const isFixed = name in data.fixed;
    const field = element("input", { value: known[name] ?? "", inputmode: "numeric", placeholder: "any", readonly: isFixed, "aria-label": `size ${name}`, "data-size": name });
    field.addEventListener("input", () => {
      if (/^\d+$/.test(field.value.trim())) sizes[name] = Number(field.value);
      else delete sizes[name];
      show();
    });
    byId("sizes").append(element("label", { class: isFixed ? "fixed" : "", title: isFixed ? "fixed by the build" : "give it a value to count with" }, element("span", {}, name), field));
  }
  byId("sizes").addEventListener("submit", (event) => event.preventDefault());
  byId("slider").max = data.steps.length - 1;
  byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("back").addEventListener("click", () => go(now - 1));
  byId("forth").addEventListener("click", () => go(now + 1));
  byId("lines").append(...data.steps.map((step, i) => element("li", {}, element("button", { type: "button", class: step.refusal ? "refused" : "", onclick: () => go(i) }, element("span", {}, step.line)))));
  byId("legend").append(...[...KINDS, ...otherKinds()].map((kind) => element("li", { class: kindClass(kind) }, element("i"), kind)));
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: data.steps.length - 1 }[event.key];
    if (step !== undefined) { event.preventDefault(); go(step); }
  });
  window.addEventListener("hashchange", fromAddress);
  drawGraph();
  fromAddress();
}

function otherKinds() {
  const found = new Set();
  const look = (node) => {
    if (node.kind && !KINDS.includes(node.kind)) found.add(node.kind);
    node.inside.forEach(look);
  };
  for (const step of data.steps) look(step.nest);
  return found;
}

setUp();
