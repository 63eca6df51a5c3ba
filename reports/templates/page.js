"use strict";
(() => {
  const ui = JSON.parse(document.body.dataset.ui);
  const on = (...a) => document.addEventListener(...a);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const button = (onclick, ...content) => make("button", { type: "button", onclick }, ...content);
  const search = (name, oninput) => make("input", { type: "search", placeholder: ui.filter, ariaLabel: name, oninput });
  const holds = (element, { value }) => element.textContent.toLowerCase().includes(value.toLowerCase());

  // Tables: sorted by numbers, values behind the cells, rows filtered.
  const { compare } = new Intl.Collator(document.documentElement.lang, { numeric: true });
  const valueOf = (cell) => (cell.dataset.value ? +cell.dataset.value : cell.textContent);
  const inOrder = (a, b, sign) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // what has no number comes last, either way
    return sign * (typeof a === "number" ? a - b : compare(a, b));
  };
  for (const figure of all(".table")) {
    const tools = figure.querySelector(".tools");
    const body = figure.querySelector("tbody");
    const rows = [...body.rows];
    const heads = all("thead th", figure);
    const sort = (head, column) => {
      const order = { ascending: "descending", descending: null }[head.ariaSort];
      heads.forEach((other) => (other.ariaSort = null));
      head.ariaSort = order === undefined ? "ascending" : order;
      const sign = order ? -1 : 1;
      const by = (a, b) => inOrder(valueOf(a.cells[column]), valueOf(b.cells[column]), sign);
      body.append(...(order === null ? rows : [...rows].sort(by)));
    };
    if (rows.length > 1) {
      heads.forEach((head, column) => head.append(button(() => sort(head, column), ...head.childNodes)));
    }
    if (figure.querySelector(".more")) {
      const values = button(() => (values.ariaPressed = figure.classList.toggle("values")), ui.values);
      values.ariaPressed = "false";
      tools.prepend(values);
    }
    if (rows.length > 7) {
      const left = make("output");
      const box = search(ui.filter, () => {
        rows.forEach((row) => (row.hidden = !holds(row, box)));
        left.textContent = box.value && `${rows.filter((row) => !row.hidden).length} / ${rows.length}`;
      });
      tools.prepend(left, box);
    }
  }
  on("pointerover", ({ target }) => {
    const more = target.querySelector(":scope > .more");
    if (more) target.title = more.textContent.trim();
  });

  // Variants: hidden everywhere at once.
  const variants = document.querySelector(".variants");
  const checks = all("li", variants).map((item, place) => {
    const check = make("input", { type: "checkbox", checked: true });
    const marks = all(`[data-variant="${place}"]`);
    check.onchange = () => marks.forEach((mark) => mark.toggleAttribute("data-off", !check.checked));
    item.append(make("label", {}, check, ...item.childNodes));
    return check;
  });
  if (checks.length > 7) {
    const box = search(ui.variants, () => {
      checks.filter((check) => check.checked !== holds(check.parentElement, box)).forEach((check) => check.click());
    });
    variants.firstElementChild.after(box);
  }
  variants.append(make("p", { className: "kind" }, ui.hides));

  // Gallery: arrows walk, Enter enlarges, a cross marks one place in all maps of an example.
  const cards = all(".card");
  const framesOf = (card) => all(".frame", card).filter((frame) => frame.offsetParent);
  const where = make("output");
  const aim = (frame, move) => {
    const maps = frame.closest(".maps");
    const size = ["width", "height"].map((side) => +frame.firstElementChild.getAttribute(side));
    const next = move(maps.at ?? size.map((side) => side >> 1), size);
    maps.at = next.map((v, i) => Math.max(0, Math.min(size[i] - 1, Math.floor(v))));
    maps.at.forEach((v, i) => maps.style.setProperty(i ? "--y" : "--x", `${(100 * (v + 0.5)) / size[i]}%`));
    maps.classList.add("aim");
    where.textContent = `x ${maps.at[0]}, y ${maps.at[1]}`;
  };
  const focus = (frame) => {
    all(".frame", frame.closest(".card")).forEach((other) => (other.tabIndex = -1));
    frame.tabIndex = 0;
    frame.focus();
  };
  cards.forEach((card) => all(".frame", card).forEach((frame, place) =>
    Object.assign(frame, { role: "button", ariaHasPopup: "dialog", tabIndex: place ? -1 : 0 })));

  let current;
  const title = make("h3", { id: "zoom" });
  const pair = make("div", { className: "maps" });
  const said = make("p");
  const show = (frame) => {
    current = frame;
    const card = frame.closest(".card");
    const words = (root, selector) => root.querySelector(selector)?.textContent;
    title.textContent = `${words(frame.closest(".row"), ".variant") ?? ""} ${words(frame.parentElement, "figcaption")}`;
    said.textContent = `${words(card, "h3")}. ${words(frame.parentElement, "small")}`;
    const shown = [...new Set([card.querySelector(".frame"), frame])].map((each) => each.cloneNode(true));
    shown.forEach((copy) => Object.assign(copy, { role: null, ariaHasPopup: null }).removeAttribute("tabindex"));
    pair.replaceChildren(...shown);
  };
  const walk = (step) => {
    const frames = framesOf(current.closest(".card"));
    show(frames.at((frames.indexOf(current) + step) % frames.length));
  };
  const dialog = make("dialog", { onclose: () => focus(current) }, title, pair, said, where, make("nav", {},
    button(() => walk(-1), ui.previous), button(() => walk(1), ui.next), button(() => dialog.close(), ui.close)));
  dialog.setAttribute("aria-labelledby", "zoom");
  if (cards.length) document.body.append(dialog);

  const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  on("keydown", (event) => {
    const step = steps[event.key];
    const frame = event.target.closest(".card .frame");
    if (!frame && !dialog.open) return;
    if (step && event.shiftKey) {
      aim(frame ?? pair.firstElementChild, (at) => at.map((v, i) => v + step[i]));
    } else if (step && dialog.open) {
      walk(step[0] || step[1]);
    } else if (step) {
      const card = frame.closest(".card");
      const place = framesOf(card).indexOf(frame) + step[0];
      const seen = cards.filter((other) => other.offsetParent);
      const next = framesOf(seen[seen.indexOf(card) + step[1]] ?? card)[place];
      if (next) focus(next);
    } else if (frame && ["Enter", " "].includes(event.key)) {
      frame.click();
    } else return;
    event.preventDefault();
  });
  on("click", ({ target }) => {
    const frame = target.closest(".card .frame");
    if (frame) {
      show(frame);
      dialog.showModal();
    }
  });
  let aimed;
  on("pointermove", ({ target, clientX, clientY }) => {
    const frame = target.closest?.(".frame");
    if (aimed !== frame?.closest(".maps")) aimed?.classList.remove("aim");
    aimed = frame?.closest(".maps");
    if (!frame) return;
    const box = frame.getBoundingClientRect();
    aim(frame, (_, [w, h]) => [(w * (clientX - box.left)) / box.width, (h * (clientY - box.top)) / box.height]);
  });
  onload = () => setTimeout(() => (document.body.className = "all"));
})();
