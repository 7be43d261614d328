"use strict";
// The table sorts and filters; the plot and the table point at each other. The page reads as well without.
(() => {
  const table = document.getElementById("rows");
  if (!table) return;
  const plot = document.getElementById("plot");
  const told = document.getElementById("told");
  const body = table.tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.at, row]));
  // From small to large: the order in which the arrow keys go through them.
  const points = plot
    ? [...plot.querySelectorAll("[id^=row-]")].sort((one, other) => bytesOf(one) - bytesOf(other))
    : [];
  const pointOf = new Map(points.map((point) => [atOf(point), point]));
  let chosen = null;

  function atOf(point) { return point.id.slice(4); }
  function bytesOf(point) { return Number(rows.get(atOf(point)).dataset.bytes); }

  function button(cell) {
    const made = document.createElement("button");
    made.type = "button";
    while (cell.firstChild && cell.firstChild.nodeName !== "SMALL") made.append(cell.firstChild);
    cell.prepend(made);
    return made;
  }

  // --- Sorting: numbers by their value, words by the alphabet, what is not known last.
  function value(row, column) {
    const cell = row.cells[column];
    const given = cell.dataset.v;
    if (given === undefined) return cell.textContent.trim();
    return given === "" ? null : Number(given);
  }

  function sort(column, ascending) {
    const sign = ascending ? 1 : -1;
    const order = [...body.rows].sort((one, other) => {
      const a = value(one, column), b = value(other, column);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    });
    body.append(...order);
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    button(head).addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      // The first click shows what one looks for: the best first.
      const first = head.dataset.first !== "descending";
      sort(column, now ? now !== "ascending" : first);
    });
  });

  // --- Filtering.
  const words = document.getElementById("words");
  const only = document.getElementById("only");
  const matches = document.getElementById("matches");
  document.querySelectorAll(".with-script").forEach((part) => { part.hidden = false; });
  function filter() {
    const wanted = words.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    let shown = 0;
    for (const row of rows.values()) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word)) || (only.checked && !row.classList.contains("front"));
      shown += !row.hidden;
    }
    matches.textContent = shown === rows.size ? "" : `${shown} of ${rows.size} rows`;
  }
  words.addEventListener("input", filter);
  only.addEventListener("change", filter);

  // --- One row, shown in both places.
  function tell(at) {
    const row = rows.get(at);
    told.textContent = "";
    const name = document.createElement("b");
    name.textContent = row.dataset.name;
    told.append(name, row.dataset.told + " ");
  }

  function choose(at, scroll) {
    const again = chosen === at;
    if (chosen !== null) mark(chosen, false);
    chosen = again ? null : at;
    if (again) return;
    mark(at, true);
    tell(at);
    const row = rows.get(at);
    const link = document.createElement("button");
    link.type = "button";
    link.textContent = "Show its row";
    link.addEventListener("click", () => {
      if (row.hidden) {
        words.value = "";
        only.checked = false;
        filter();
      }
      row.scrollIntoView({ block: "center" });
      row.querySelector("button").focus({ preventScroll: true });
    });
    told.append(link);
    // Within the table's own box; the page stays where the reader is.
    const box = table.parentElement;
    if (scroll) box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
  }

  function mark(at, on) {
    const row = rows.get(at), point = pointOf.get(at);
    row.classList.toggle("chosen", on);
    row.querySelector("button").setAttribute("aria-pressed", String(on));
    if (!point) return;
    point.classList.toggle("picked", on);
    point.setAttribute("aria-pressed", String(on));
  }

  for (const [at, row] of rows) {
    const made = button(row.cells[0]);
    made.setAttribute("aria-pressed", "false");
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a")) choose(at, false);
    });
  }
  if (!points.length) return;

  // --- The plot: one stop for the tab key, arrows within it.
  plot.setAttribute("role", "group");
  let current = points[0];
  function near(point) {
    current.classList.remove("near");
    current.setAttribute("tabindex", "-1");
    current = point;
    current.setAttribute("tabindex", "0");
    current.classList.add("near");
    tell(atOf(current));
  }
  for (const point of points) {
    point.setAttribute("tabindex", "-1");
    point.setAttribute("role", "button");
    point.setAttribute("aria-pressed", "false");
    point.setAttribute("aria-label", `${rows.get(atOf(point)).dataset.name}: ${rows.get(atOf(point)).dataset.told}`);
    point.addEventListener("focus", () => near(point));
  }
  current.setAttribute("tabindex", "0");
  plot.addEventListener("keydown", (event) => {
    const at = points.indexOf(current);
    const steps = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: points.length - 1 };
    if (event.key in steps) {
      points[Math.max(0, Math.min(points.length - 1, steps[event.key]))].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      choose(atOf(current), true);
    } else return;
    event.preventDefault();
  });

  // Whatever is nearest to the pointer: points are small, and fingers are not.
  function nearest(event) {
    let best = null, least = 28;
    for (const point of points) {
      const box = point.getBoundingClientRect();
      const away = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (away < least) [best, least] = [point, away];
    }
    return best;
  }
  plot.addEventListener("pointermove", (event) => {
    const point = nearest(event);
    if (point && point !== current) near(point);
  });
  plot.addEventListener("click", (event) => {
    const point = nearest(event);
    if (!point) return;
    near(point);
    choose(atOf(point), true);
  });
})();
