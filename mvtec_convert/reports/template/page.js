"use strict";

/* The theme is set before the page is drawn; the rest waits for the page. */
const THEMES = ["auto", "light", "dark"];
const root = document.documentElement;
root.classList.add("js");

function savedTheme() {
  try {
    const saved = localStorage.getItem("mvtec-convert-theme");
    return THEMES.includes(saved) ? saved : "auto";
  } catch {
    return "auto"; // a browser may refuse storage to a file
  }
}

function setTheme(theme) {
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    localStorage.setItem("mvtec-convert-theme", theme);
  } catch {
    // it then holds until the page is left
  }
}

setTheme(savedTheme());
document.addEventListener("DOMContentLoaded", () => {
  const byId = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".card")];
  startTheme(byId("theme"));
  startFilters(byId("filters"), cards);
  startLayers();
  startTip(byId("tip"));
  startViewer(byId("viewer"), cards);
});

function startTheme(button) {
  const show = () => {
    const theme = root.dataset.theme ?? "auto";
    button.querySelector(".word").textContent = theme;
    button.setAttribute("aria-label", `Theme: ${theme}`);
  };
  button.addEventListener("click", () => {
    const now = THEMES.indexOf(root.dataset.theme ?? "auto");
    setTheme(THEMES[(now + 1) % THEMES.length]);
    show();
  });
  show();
}

/* --- filters --- */

function startFilters(form, cards) {
  const selects = [...form.querySelectorAll("select")];
  const labels = new Map(selects.flatMap((select) => [...select.options].map((option) => [option, option.text])));
  const count = document.getElementById("count");
  const empty = document.getElementById("empty");

  const has = (card, facet, value) => value === "" || card.dataset[facet].split(" ").includes(value);
  const matches = (card, except) =>
    selects.every((select) => select === except || has(card, select.name, select.value));

  function apply() {
    let shown = 0;
    for (const card of cards) {
      card.hidden = !matches(card);
      shown += !card.hidden;
    }
    count.textContent = `${shown} of ${cards.length} images`;
    empty.hidden = shown > 0;
    for (const select of selects) {
      // Beside each value, how many images it would leave.
      const left = cards.filter((card) => matches(card, select));
      for (const option of select.options) {
        const number = left.filter((card) => has(card, select.name, option.value)).length;
        option.text = `${labels.get(option)} (${number})`;
        option.disabled = number === 0 && option.value !== "" && !option.selected;
      }
    }
  }

  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  document.getElementById("empty-reset").addEventListener("click", () => form.reset());
  apply();
}

/* --- what is drawn over the images --- */

function startLayers() {
  const boxes = [...document.querySelectorAll("[data-layer]")];
  for (const box of boxes) {
    box.addEventListener("change", () => {
      root.classList.toggle(`no-${box.dataset.layer}`, !box.checked);
      for (const same of boxes) if (same.dataset.layer === box.dataset.layer) same.checked = box.checked;
    });
  }
}

function startTip(tip) {
  document.addEventListener("pointermove", (event) => {
    const shape = event.pointerType === "mouse" ? event.target.closest?.("[data-about]") : null;
    tip.hidden = !shape;
    if (!shape) return;
    // Inside the open dialog, which lies above all else.
    (shape.closest("dialog") ?? document.body).append(tip);
    tip.textContent = shape.dataset.about;
    const { width, height } = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, innerWidth - width - 8);
    const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18;
    tip.style.left = `${Math.max(8, x)}px`;
    tip.style.top = `${y}px`;
  });
}

/* --- one image, enlarged --- */

const MOST_ZOOM = 32; // screen px for one image px
const STEP = 1.5;

function startViewer(viewer, cards) {
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  let card = null;
  let zoom = null; // screen px for one image px; null: as large as fits

  const picture = () => stage.querySelector(".picture");
  const visible = () => cards.filter((other) => !other.hidden);
  const size = () => ["--w", "--h"].map((name) => Number(card.querySelector(".picture").style.getPropertyValue(name)));

  function fitting() {
    const [width, height] = size();
    return Math.min(stage.clientWidth / width, stage.clientHeight / height);
  }

  function draw() {
    const scale = zoom ?? fitting();
    const [width, height] = size();
    picture().style.width = `${width * scale}px`;
    picture().style.height = `${height * scale}px`;
    picture().classList.toggle("close", scale >= 3);
  }

  /* Zoom so that the image point (x, y), px, comes to the middle. */
  function zoomTo(scale, x, y) {
    zoom = scale <= fitting() ? null : Math.min(scale, MOST_ZOOM);
    draw();
    const now = zoom ?? fitting();
    const [width, height] = size();
    stage.scrollTo({
      left: x * now - stage.clientWidth / 2 + Math.max(0, stage.clientWidth - width * now) / 2,
      top: y * now - stage.clientHeight / 2 + Math.max(0, stage.clientHeight - height * now) / 2,
      behavior: "instant",
    });
  }

  function zoomBy(how) {
    const now = zoom ?? fitting();
    const [width, height] = size();
    const x = zoom ? (stage.scrollLeft + stage.clientWidth / 2) / now : width / 2;
    const y = zoom ? (stage.scrollTop + stage.clientHeight / 2) / now : height / 2;
    if (how === "fit") zoomTo(0, x, y);
    else if (how === "true") {
      zoom = 1 / devicePixelRatio;
      draw();
    } else zoomTo(how === "in" ? now * STEP : now / STEP, x, y);
  }

  function zoomToShape(shape) {
    const box = shape.querySelector(".box").getBBox();
    const scale = Math.min(stage.clientWidth / (3 * box.width), stage.clientHeight / (3 * box.height));
    zoomTo(Math.min(scale, 12), box.x + box.width / 2, box.y + box.height / 2);
  }

  function light(index, on) {
    stage.querySelectorAll(".shape")[index].classList.toggle("lit", on);
    byId("objects").querySelectorAll("button")[index].classList.toggle("lit", on);
  }

  function list() {
    const items = [...stage.querySelectorAll(".shape")].map((shape, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const swatch = document.createElement("span");
      button.type = "button";
      swatch.className = `swatch ${[...shape.classList].find((name) => name.startsWith("colour-"))}`;
      button.append(swatch, shape.dataset.about);
      button.addEventListener("click", () => zoomToShape(shape));
      for (const target of [button, shape]) {
        target.addEventListener("pointerenter", () => light(index, true));
        target.addEventListener("pointerleave", () => light(index, false));
      }
      button.addEventListener("focus", () => light(index, true));
      button.addEventListener("blur", () => light(index, false));
      item.append(button);
      return item;
    });
    byId("objects").replaceChildren(...items);
  }

  function show(next) {
    card = next;
    zoom = null;
    const among = visible();
    stage.replaceChildren(card.querySelector(".picture").cloneNode(true));
    byId("viewer-name").textContent = card.dataset.key;
    byId("viewer-facts").textContent = [card.querySelector("figcaption span").textContent, card.dataset.more].join(" · ");
    byId("position").textContent = `${among.indexOf(card) + 1} / ${among.length}`;
    if (!viewer.open) viewer.showModal();
    list();
    draw();
  }

  function go(by) {
    const among = visible();
    show(among[(among.indexOf(card) + by + among.length) % among.length]);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pans = zoom && event.target === stage;
    if (event.key === "ArrowRight" && !pans) go(1);
    else if (event.key === "ArrowLeft" && !pans) go(-1);
    else if (event.key === "+" || event.key === "=") zoomBy("in");
    else if (event.key === "-") zoomBy("out");
    else if (event.key === "0") zoomBy("fit");
    else if (event.key === "1") zoomBy("true");
    else return;
    event.preventDefault();
  }

  for (const each of cards) {
    each.querySelector(".open").addEventListener("click", (event) => {
      event.preventDefault();
      show(each);
      stage.focus();
    });
  }
  byId("previous").addEventListener("click", () => go(-1));
  byId("next").addEventListener("click", () => go(1));
  byId("close").addEventListener("click", () => viewer.close());
  for (const button of viewer.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoomBy(button.dataset.zoom));
  }
  viewer.addEventListener("keydown", onKey);
  viewer.addEventListener("close", () => {
    stage.replaceChildren();
    card.querySelector(".open").focus();
  });
  addEventListener("resize", () => viewer.open && draw());
}
