// Rows of the reject log.
const REJECTS = 12;
const rejected = { asked: 0 };

async function loadRejects(at) {
  const asked = ++rejected.asked;
  const [reason, from, search] = ["reason", "source", "search"].map((name) => $("r-" + name).value);
  const found = await source.rejects({ reason, source: from, search, at, count: REJECTS });
  if (asked !== rejected.asked) return;
  const views = found.rows.map(rejectView);
  if (at) $("reject-list").append(...views);
  else $("reject-list").replaceChildren(...views);
  const shown = at + found.rows.length;
  $("reject-count").textContent = shown < found.total ? `The first ${number(shown)} of ${many(found.total, "row")}` : many(found.total, "row");
  $("reject-more").hidden = shown >= found.total;
}

function rejectView(each) {
  const place = `${endOf(each.source)} row ${each.row}` + (each.id === null ? "" : ` (id ${each.id})`);
  const original = addText(element("pre", { tabindex: 0, "aria-label": "the row" }), each.original);
  if (each.left_out) original.append(more(each.left_out));
  const head = element("h3", { title: visible(each.source) }, element("span", { class: "reason" }, visible(each.reason)), " ", visible(place));
  return element("article", {}, head, element("p", {}, visible(each.detail)), ...(each.original ? [original] : []));
}

async function openReason(reason) {
  if (!$("rejects")) return;
  $("reject-filters").reset();
  $("r-reason").value = reason;
  await loadRejects(0);
  $("rejects").scrollIntoView();
}

function startRejects() {
  if (!$("rejects")) return;
  fill("r-reason", summary.reasons);
  fill("r-source", summary.lost_sources);
  $("reject-filters").addEventListener("input", () => loadRejects(0));
  $("reject-filters").addEventListener("submit", (event) => event.preventDefault());
  $("reject-more").addEventListener("click", () => loadRejects($("reject-list").children.length));
  loadRejects(0);
}
