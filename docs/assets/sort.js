// Tables in <div class="sortable"> are sorted by a click on a column's head, and filtered by what is typed above.
(() => {
  const value = (row, column) => row.cells[column].textContent.trim();

  const compare = (a, b) => {
    const [x, y] = [a, b].map((text) => Number.parseFloat(text.replaceAll(",", "")));
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) || x === y ? a.localeCompare(b) : x - y;
  };

  const sort = (table, column, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
    table.tBodies[0].append(...rows);
  };

  const addFilter = (table, place) => {
    const field = document.createElement("input");
    field.type = "search";
    field.className = "table-filter";
    field.placeholder = "Filter: a cipher, an attack, ...";
    field.setAttribute("aria-label", "Filter the rows of the table");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    place.prepend(field);
  };

  const prepare = () => {
    for (const place of document.querySelectorAll("div.sortable")) {
      const table = place.querySelector("table");
      if (!table || place.querySelector(".table-filter")) continue;
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        head.classList.add("sortable");
        button.addEventListener("click", () => sort(table, column, head));
      });
      addFilter(table, place);
    }
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepare);
  else prepare();
})();
