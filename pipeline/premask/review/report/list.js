// The list of samples: filters, sorting, pages, and which sample comes next.
const PAGE = 50;
const list = { rows: [], total: 0, at: 0, sort: "order", descending: false, asked: 0 };

function filters() {
  const names = ["search", "source", "split", "why", "tokens_min", "tokens_max", "share_min", "share_max"];
  return Object.fromEntries(names.map((name) => [name, $("f-" + name).value]));
}

async function loadList(at) {
  const asked = ++list.asked;
  const query = { ...filters(), sort: list.sort, descending: list.descending, at, count: PAGE };
  const found = await source.list(query);
  if (asked !== list.asked) return; // a later question is on its way
  Object.assign(list, found, { at });
  showList();
}

function showList() {
  const last = list.at + list.rows.length;
  $("list").ariaBusy = "false";
  $("list-count").textContent = list.total ? `${number(list.at + 1)} to ${number(last)} of ${number(list.total)}` : "No sample matches";
  $("list-previous").disabled = !list.at;
  $("list-next").disabled = last >= list.total;
  for (const head of document.querySelectorAll("#list th")) {
    const own = head.dataset.sort === list.sort;
    if (own) head.setAttribute("aria-sort", list.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  document.querySelector("#list tbody").replaceChildren(...list.rows.map(listRow));
  markRow();
}

function listRow(row) {
  const words = link("sample=" + row.key, visible(row.first_words) || "(no text)");
  const name = visible(row.id || "row " + number(row.row)) + sampleOf(row.sample, " · ");
  return element(
    "tr",
    { "data-key": row.key },
    element("td", { class: "words", dir: "auto" }, words),
    element("td", { class: "id", title: name }, name),
    sourceCell(row.source),
    element("td", { class: "num" }, number(row.tokens)),
    element("td", { class: "num" }, percent(row.trained, row.tokens)),
  );
}

// Which sample of its row it is: a side of a preference, or a number after the first.
const sampleOf = (sample, before) => (summary.sides ? before + summary.sides[sample] : sample ? before + sample : "");

const endOf = (path) => path.slice(path.replace(/\/+$/, "").lastIndexOf("/") + 1);

const sourceCell = (path) => element("td", { class: "source", title: visible(path) }, visible(endOf(path)));

function markRow() {
  for (const row of document.querySelectorAll("#list tbody tr")) {
    const own = reader.item && row.dataset.key === reader.item.key;
    if (own) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    if (own) keepInView(row);
  }
}

// Scrolls the list, and not the page.
function keepInView(row) {
  const box = document.querySelector(".rows");
  const [own, all] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  const head = box.querySelector("thead").offsetHeight;
  if (own.top < all.top + head) box.scrollTop -= all.top + head - own.top;
  else if (own.bottom > all.bottom) box.scrollTop += own.bottom - all.bottom;
}

// Opens the sample before or after the one that is shown, in the order of the list.
async function step(by) {
  let to = list.rows.findIndex((row) => reader.item && row.key === reader.item.key) + by;
  if (!reader.item || !list.rows.some((row) => row.key === reader.item.key)) to = 0;
  if (list.at + to < 0 || list.at + to >= list.total) return;
  if (to < 0 || to >= list.rows.length) {
    await loadList(list.at + (to < 0 ? -PAGE : PAGE));
    to = to < 0 ? list.rows.length - 1 : 0;
  }
  if (list.rows[to]) location.hash = "sample=" + list.rows[to].key;
}

// Sorts by a column; once more, the other way round; and then as the rows come.
function sortBy(name) {
  const descending = name === "tokens"; // the largest first
  if (list.sort !== name) Object.assign(list, { sort: name, descending });
  else if (list.descending === descending) list.descending = !descending;
  else Object.assign(list, { sort: "order", descending: false });
  loadList(0);
}

function startList() {
  for (const each of document.querySelectorAll("[data-filter]")) each.hidden = !summary.filters.includes(each.dataset.filter);
  $("f-search").placeholder = summary.search;
  for (const [name, values] of [["source", summary.sources], ["split", summary.splits], ["why", summary.why]]) {
    fill("f-" + name, values);
    if (values.length < 2) $("f-" + name).closest("[data-filter]").hidden = true;
  }
  $("list").classList.toggle("one-source", summary.sources.length < 2);
  let waiting = 0;
  $("filters").addEventListener("input", () => {
    $("list").ariaBusy = "true";
    clearTimeout(waiting);
    waiting = setTimeout(() => loadList(0), 120);
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => {
    $("list").ariaBusy = "true";
    setTimeout(() => loadList(0));
  });
  $("list-previous").addEventListener("click", () => loadList(Math.max(list.at - PAGE, 0)));
  $("list-next").addEventListener("click", () => loadList(list.at + PAGE));
  for (const head of document.querySelectorAll("#list th[data-sort]")) head.firstChild.addEventListener("click", () => sortBy(head.dataset.sort));
}
