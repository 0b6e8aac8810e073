// The tokens of a sample: as groups that share characters, as a table, one by one, and as JSON.

// One entry for each group of tokens that share characters.
function groupsOf(item) {
  if (item.groups) return item.groups;
  const origins = item.origins && item.origins.flatMap(([count, name]) => Array(count).fill(name));
  const special = new Set(item.special);
  const on = new Set();
  for (let i = 0; i < item.runs.length; i += 2)
    for (let at = item.runs[i]; at < item.runs[i + 1]; at++) on.add(at);
  const found = [];
  let [stored, at] = [0, 0];
  for (const each of item.text) {
    const [text, count, leftOut] = typeof each === "string" ? [each, 1, 0] : each;
    if (item.skip && at === item.skip[0]) at += item.skip[1];
    const tokens = [];
    for (let k = 0; k < count; k++, at++, stored++) {
      const id = item.ids[stored];
      const label = at in item.other ? item.other[at] : on.has(at) ? id : -100;
      tokens.push({ at, id, label, origin: origins ? origins[at] : null });
    }
    found.push({ text, tokens, leftOut, on: tokens.some(isTrained), special: count === 1 && special.has(tokens[0].id) });
  }
  item.groups = found;
  return found;
}

const isTrained = (token) => token.label !== -100;

function tableRow(item, group, token, part) {
  const kind = `tok${isTrained(token) ? " on" : ""}${group.special ? " chip" : ""}`;
  const span = element("span", { class: kind }, visible(group.text));
  if (group.leftOut) span.append(more(group.leftOut));
  const cell = element("td", {}, span);
  const shared = group.tokens.length > 1;
  if (shared) cell.append(element("span", { class: "muted" }, ` ${part + 1} of ${group.tokens.length}`));
  return element(
    "tr",
    {},
    element("td", { class: "num" }, String(token.at)),
    element("td", { class: "num" }, String(token.id)),
    cell,
    element("td", { class: "num" }, String(token.label)),
    element("td", {}, token.origin ?? "unknown"),
    element("td", { class: "hash" }, shared ? (item.bytes[token.id] ?? "") : ""),
  );
}

function showTable(item) {
  const rows = [];
  let skipped = false;
  for (const group of groupsOf(item)) {
    if (item.skip && !skipped && group.tokens[0].at >= item.skip[0]) {
      skipped = true;
      rows.push(element("tr", {}, element("td", { colspan: 6, class: "left-out" }, leftOut(item))));
    }
    group.tokens.forEach((token, part) => rows.push(tableRow(item, group, token, part)));
  }
  const names = [["index", "num"], ["id", "num"], ["token", ""], ["label", "num"], ["origin", ""], ["bytes", ""]];
  $("table").append(headed(names, ...rows));
}

function showDetail(group) {
  const item = reader.item;
  const lines = group.tokens.map((token) => {
    const parts = [
      ["token", number(token.at)],
      ["id", String(token.id)],
      ["label", `${token.label} (${isTrained(token) ? "trained" : "not trained"})`],
      ["origin", token.origin ?? "unknown"],
      [summary.packed ? "position in the pack" : "position", number((summary.packed ? item.offset : 0) + token.at)],
    ];
    if (group.tokens.length > 1) parts.push(["bytes", item.bytes[token.id] ?? ""]);
    const line = element("div", {});
    parts.forEach(([name, value], i) => line.append(i ? " · " : "", name + " ", element("b", {}, value)));
    return line;
  });
  const text = element("div", { class: "token" }, visible(group.text.slice(0, 80)));
  if (group.tokens.length > 1) text.append(element("span", { class: "muted" }, ` one text of ${group.tokens.length} tokens`));
  $("detail").replaceChildren(text, ...lines);
  $("detail").classList.add("live");
}

function asJson(item) {
  const tokens = groupsOf(item).flatMap((group) => group.tokens);
  const found = {
    id: item.id,
    source: item.source,
    row: item.row,
    sample: item.sample,
    text: groupsOf(item).map((group) => group.text).join(""),
    input_ids: tokens.map((token) => token.id),
    labels: tokens.map((token) => token.label),
  };
  if (item.skip) found.left_out = { from: item.skip[0], tokens: item.skip[1] };
  return JSON.stringify(found);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { "aria-label": "JSON" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

async function copyItem() {
  if (!reader.item) return;
  const done = await copy(asJson(reader.item));
  $("copy").textContent = done ? "Copied" : "Copying failed";
  setTimeout(() => ($("copy").textContent = "Copy as JSON"), 1500);
}
