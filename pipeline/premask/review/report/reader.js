// One sample as text, and what is said of it.
const reader = { item: null, table: false };

const roleOf = (origin) => {
  const role = (origin || "").split(":")[0];
  return summary.roles.includes(role) ? role : "other";
};

function titleOf(origin) {
  if (!origin) return "message (role unknown)";
  const [role, index] = origin.split(":");
  return index === undefined ? role : `${role}, message ${index}`;
}

const nameOf = (item) => (item.id || "row " + number(item.row)) + sampleOf(item.sample, " · ");

function showItem(item) {
  reader.item = item;
  $("reader-title").replaceChildren(link("sample=" + item.key, visible(nameOf(item))));
  $("text").replaceChildren();
  $("table").replaceChildren();
  $("text").hidden = reader.table;
  $("table").hidden = !reader.table;
  $("as-text").setAttribute("aria-pressed", String(!reader.table));
  $("as-table").setAttribute("aria-pressed", String(reader.table));
  showFacts(item);
  showSiblings(item);
  if (reader.table) showTable(item);
  else showText(item);
  markRow();
}

function showNoItem(why) {
  reader.item = null;
  $("reader-title").textContent = visible(why);
  for (const id of ["text", "table", "facts"]) $(id).replaceChildren();
  $("siblings").hidden = true;
  markRow();
}

function showFacts(item) {
  const place = summary.packed ? link("pack=" + `${item.split}/${item.pack}`, `${number(item.pack)}, from token ${number(item.offset)}`) : number(item.pack);
  const facts = [
    ["source", element("span", { class: "name", title: visible(item.source) }, visible(endOf(item.source)))],
    ["row", number(item.row)],
    ["tokens", number(item.length)],
    ["trained", `${number(item.trained)} (${percent(item.trained, item.length)})`],
    ["control tokens", number(item.control)],
    [summary.packed ? "pack" : "row of the shard", place],
    ["split", item.split],
    item.proof ? ["proof", element("span", { class: "name", title: summary.proofs[item.proof] }, item.proof)] : ["roles", "unknown"],
    ["chosen as", summary.why.length ? item.why.join(", ") : null],
  ];
  $("facts").replaceChildren(
    ...facts.filter(([, value]) => value).map(([name, value]) => element("div", {}, element("span", {}, name + " "), value)),
  );
}

function showSiblings(item) {
  const others = item.siblings.length > 1;
  $("siblings").hidden = !others;
  if (!others) return;
  const links = item.siblings.map(([key, sample]) =>
    link("sample=" + key, summary.sides ? summary.sides[sample] : number(sample), { "aria-current": key === item.key ? "true" : null }),
  );
  $("siblings").replaceChildren("Samples of this row: ", ...links.flatMap((each) => [each, " "]));
}

function leftOut(item) {
  return `… ${number(item.skip[1])} tokens (${number(item.skip[0])} to ${number(item.skip[0] + item.skip[1] - 1)}) are not shown here …`;
}

function tokenSpan(group, index) {
  const kind = `tok role-${roleOf(group.tokens[0].origin)}${group.on ? " on" : ""}${group.special ? " chip" : ""}`;
  const span = addText(element("span", { class: kind, "data-group": index, tabindex: index ? -1 : 0 }), group.text);
  if (group.leftOut) span.append(more(group.leftOut));
  return span;
}

function showText(item) {
  const hits = hitsIn(item);
  const starts = item.blocks;
  let [next, body, skipped] = [0, null, false];
  groupsOf(item).forEach((group, index) => {
    const at = group.tokens[0].at;
    if (item.skip && !skipped && at >= item.skip[0]) {
      skipped = true;
      $("text").append(element("p", { class: "left-out" }, leftOut(item)));
      while (next < starts.length - 1 && starts[next + 1][0] <= at) next++;
      body = null;
    }
    if (!body || (next < starts.length && at >= starts[next][0])) {
      const origin = starts[Math.min(next, starts.length - 1)][1];
      body = element("div", { class: "text" });
      $("text").append(element("div", { class: `block role-${roleOf(origin)}` }, element("h4", {}, titleOf(origin)), body));
      next++;
    }
    const span = tokenSpan(group, index);
    if (hits.has(index)) span.classList.add("hit");
    body.append(span);
  });
}

// The groups that a hit of the search covers.
function hitsIn(item) {
  const found = new Set();
  const wanted = $("f-search").value.toLowerCase();
  if (!wanted) return found;
  const groups = groupsOf(item);
  const lower = groups.map((group) => group.text.toLowerCase());
  if (groups.some((group, i) => group.text.length !== lower[i].length)) return found; // positions do not match
  const whole = lower.join("");
  const starts = [0];
  for (const text of lower) starts.push(starts.at(-1) + text.length);
  for (let from = whole.indexOf(wanted); from >= 0; from = whole.indexOf(wanted, from + wanted.length))
    lower.forEach((_, i) => {
      if (starts[i] < from + wanted.length && starts[i + 1] > from) found.add(i);
    });
  return found;
}

function toggle(table) {
  reader.table = table;
  if (reader.item) showItem(reader.item);
}

function groupAt(target) {
  const span = target instanceof Element ? target.closest("[data-group]") : null;
  return span && reader.item ? groupsOf(reader.item)[Number(span.dataset.group)] : null;
}

function moveInText(event) {
  const all = [...$("text").querySelectorAll("[data-group]")];
  const at = all.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (at < 0 || to === undefined || !all[to]) return;
  event.preventDefault();
  all[at].tabIndex = -1;
  all[to].tabIndex = 0;
  all[to].focus();
}

function startReader() {
  for (const kind of ["pointerover", "focusin"])
    $("text").addEventListener(kind, (event) => {
      const group = groupAt(event.target);
      if (group) showDetail(group);
    });
  $("text").addEventListener("keydown", moveInText);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("as-text").addEventListener("click", () => toggle(false));
  $("as-table").addEventListener("click", () => toggle(true));
  $("copy").addEventListener("click", copyItem);
}
