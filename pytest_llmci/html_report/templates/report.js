// Sorting, filtering and opening; the page shows everything without it.
(function () {
  "use strict";

  document.querySelectorAll(".filter, .js-only").forEach(function (element) { element.hidden = false; });

  function key(cell) {
    var value = cell.getAttribute("data-v");
    if (value !== null) { return Number(value); }
    var text = cell.textContent.trim();
    return text === "n/a" ? null : text;
  }

  function compare(one, other) {
    if (typeof one === "number" && typeof other === "number") { return one - other; }
    return String(one).localeCompare(String(other), "en", { numeric: true });
  }

  function sort(table, heading) {
    var column = heading.cellIndex;
    var descending = heading.getAttribute("aria-sort") === "ascending";
    var body = table.tBodies[0];
    var rows = Array.from(body.rows).map(function (row, place) { return [key(row.cells[column]), place, row]; });
    rows.sort(function (one, other) {
      if (one[0] === null || other[0] === null) {  // what is missing stands last, either way
        return one[0] === other[0] ? one[1] - other[1] : one[0] === null ? 1 : -1;
      }
      return (descending ? -1 : 1) * compare(one[0], other[0]) || one[1] - other[1];
    });
    rows.forEach(function (entry) { body.appendChild(entry[2]); });
    Array.from(table.tHead.rows[0].cells).forEach(function (cell) { cell.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  document.querySelectorAll("table[data-sortable]").forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (heading) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", function () { sort(table, heading); });
    });
  });

  document.querySelectorAll("input[data-filter]").forEach(function (input) {
    var name = input.getAttribute("data-filter");
    var table = document.getElementById(name);
    var count = document.querySelector('[data-count="' + name + '"]');
    input.addEventListener("input", function () {
      var wanted = input.value.toLowerCase();
      var seen = 0;
      Array.from(table.tBodies[0].rows).forEach(function (row) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
        seen += row.hidden ? 0 : 1;
      });
      count.textContent = wanted ? seen + " of " + table.tBodies[0].rows.length : "";
    });
  });

  document.querySelectorAll("button[data-open]").forEach(function (button) {
    button.addEventListener("click", function () {
      var open = button.getAttribute("data-open") === "all";
      document.querySelectorAll("#cells details").forEach(function (details) { details.open = open; });
    });
  });

  function reveal() {
    var target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
    for (var element = target; element; element = element.parentElement) {
      if (element.tagName === "DETAILS") { element.open = true; }
    }
    if (target) { target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (details) { details.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (details) { details.open = false; });
  });
})();
