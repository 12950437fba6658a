// What the pages of the desk do in a browser: keys, decisions, the search in the tree, a picture dropped on a page.
"use strict";

const find = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const product = find("#product");
const bulk = find("#bulk");
let busy = false;

function say(text) { find("#said").textContent = text; }

function reviewer() {
  const cookie = document.cookie.match(/(?:^|; )by=([^;]*)/);
  return cookie ? decodeURIComponent(cookie[1]) : document.body.dataset.by;
}

function named() {
  const by = reviewer() || rename();
  if (!by) throw new Error(document.body.dataset.ask);
  return by;
}

function rename() {
  const by = (prompt(document.body.dataset.ask, reviewer()) || "").trim().slice(0, 100);
  if (by) document.cookie = `by=${encodeURIComponent(by)}; max-age=31536000; samesite=strict; path=/`;
  find("#by b").textContent = reviewer();
  return by;
}

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (answer.headers.get("Content-Type").startsWith("text/html")) return answer.text();
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

async function doing(work) {
  if (busy) return;
  busy = true;
  try { await work(); } catch (error) { say(`${document.body.dataset.failed} ${error.message}`); } finally { busy = false; }
}

// One product, and its near duplicates where that is wanted.
function decide(action, id, name) {
  doing(async () => {
    const numbers = [product.dataset.number];
    if (find("#with")?.checked) numbers.push(...product.dataset.alike.split(" "));
    const body = { by: named(), queue: product.dataset.queue, numbers, action, category_id: id, category_name: name };
    await post("desk/decide", body);
    location.href = product.dataset.next;
  });
}

// All that are selected in a list: how many is asked first.
function decideAll(action, what, id = null, name = "") {
  const numbers = all("#bulk [name=chosen]:checked").map((box) => box.value);
  if (!numbers.length) return;
  find("#sure-what").textContent = bulk.dataset.sure.replace("#", numbers.length).replace("@", what);
  const sure = find("#sure");
  sure.returnValue = "no";
  sure.onclose = () => {
    if (sure.returnValue !== "yes") return;
    doing(async () => {
      await post("desk/decide", { by: named(), queue: bulk.dataset.queue, numbers, action, category_id: id, category_name: name });
      location.reload();
    });
  };
  sure.showModal();
}

// A box in which a part of the tree is searched as one types.
function tree(input, chosen) {
  const list = find(`#${input.getAttribute("aria-controls")}`);
  let found = [], at = -1, asked = 0;
  function show(rows) {
    found = rows;
    at = rows.length ? 0 : -1;
    list.replaceChildren(...rows.map((row, place) => {
      const item = document.createElement("li");
      item.id = `${list.id}-${place}`;
      item.setAttribute("role", "option");
      item.textContent = `${row.shown} (${row.products})`;
      item.addEventListener("mousedown", (event) => { event.preventDefault(); pick(place); });
      return item;
    }));
    mark();
  }
  function mark() {
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === at)));
    if (at >= 0) { input.setAttribute("aria-activedescendant", `${list.id}-${at}`); list.children[at].scrollIntoView({ block: "nearest" }); }
    else input.removeAttribute("aria-activedescendant");
  }
  function pick(place) { const row = found[place]; show([]); chosen(row); }
  input.addEventListener("input", async () => {
    const number = ++asked, words = input.value.trim();
    if (!words) return show([]);
    const answer = await fetch(`desk/categories?q=${encodeURIComponent(words)}`);
    if (answer.ok && number === asked) show((await answer.json()).categories);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { show([]); input.blur(); }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (found.length) { at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length; mark(); }
    }
    if (event.key === "Enter") { event.preventDefault(); if (at >= 0) pick(at); }
  });
  input.addEventListener("blur", () => show([]));
}

function picture(file) {
  if (!file) return;
  doing(async () => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    const page = await post("search", { picture: btoa(text) });
    find("main").replaceWith(new DOMParser().parseFromString(page, "text/html").querySelector("main"));
    drops();
    find("main").focus();
  });
}

function drops() {
  const drop = find("#drop");
  if (!drop) return;
  find("#file").addEventListener("change", (event) => picture(event.target.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") picture(event.dataTransfer.files[0]);
    });
  }
}

for (const button of all("[data-post]")) {
  button.addEventListener("click", () => doing(async () => {
    if (button.dataset.wait) say(button.dataset.wait);
    const found = await post(button.dataset.post, { by: named(), ...JSON.parse(button.dataset.body) });
    if (found.next) location.href = found.next; else location.reload();
  }));
}
for (const button of all("[data-act]")) {
  button.addEventListener("click", () => decide(button.dataset.act, JSON.parse(button.dataset.id || "null"), button.dataset.name || ""));
}
for (const button of all("[data-bulk]")) {
  button.addEventListener("click", () => decideAll(button.dataset.bulk, button.textContent.trim()));
}
if (bulk) {
  const boxes = all("#bulk [name=chosen]");
  const count = () => { find("#chosen").value = boxes.filter((box) => box.checked).length; };
  find("#all").addEventListener("change", (event) => { for (const box of boxes) box.checked = event.target.checked; count(); });
  for (const box of boxes) box.addEventListener("change", count);
  bulk.addEventListener("submit", (event) => event.preventDefault());
  tree(find("#pick"), (row) => decideAll("label", row.shown, row.category_id, row.category_name));
} else if (find("#pick")) {
  tree(find("#pick"), (row) => decide("label", row.category_id, row.category_name));
}
find("#make")?.addEventListener("click", () => { if (find("#new-path").value.trim()) decide("label", null, find("#new-path").value.trim()); });
find("#new-path")?.addEventListener("keydown", (event) => { if (event.key === "Enter") find("#make").click(); });
find("#login")?.addEventListener("submit", (event) => {
  event.preventDefault();
  doing(async () => { await post("login", { token: find("#token").value }); location.href = "./"; });
});
find("#by").addEventListener("click", rename);
find("#by b").textContent = reviewer();
drops();

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || find("#sure").open) return;
  if (event.target.matches("input:not([type=checkbox]), textarea")) { if (event.key === "Escape") event.target.blur(); return; }
  const target = all("[data-key]").find((each) => each.dataset.key === event.key);
  if (!target) return;
  event.preventDefault();
  if (target.matches("input[role=combobox]")) target.focus();
  else target.click();
  if (target.matches("summary")) find("#new-path").focus();
});
// From here on keys are heard.
document.body.dataset.ready = "yes";
