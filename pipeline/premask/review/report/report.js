"use strict";
// Shows the data of #data. Content is only ever set as text: no markup is made from it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en-US");

  // ---- text ----

  const ODD = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
  const NAMED = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

  function written(char) {
    if (NAMED[char]) return NAMED[char];
    const hex = char.codePointAt(0).toString(16);
    if (hex.length <= 2) return "\\x" + hex.padStart(2, "0");
    return hex.length <= 4 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
  }

  const visible = (text) => text.replace(ODD, written);

  function element(name, options, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options || {})) {
      if (key === "class") made.className = value;
      else if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  // Text with what is no ordinary character written out; line breaks and tabs also have their effect.
  function addText(parent, text, lines) {
    let at = 0;
    for (const match of text.matchAll(ODD)) {
      if (match.index > at) parent.append(text.slice(at, match.index));
      const plain = lines && match[0] === "\n" ? "↵" : written(match[0]);
      parent.append(element("span", { class: "odd" }, plain));
      if (lines && (match[0] === "\n" || match[0] === "\t")) parent.append(match[0]);
      at = match.index + match[0].length;
    }
    parent.append(text.slice(at));
    return parent;
  }

  const roleOf = (origin) => {
    const role = (origin || "").split(":")[0];
    return data.roles.includes(role) ? role : "other";
  };

  function titleOf(origin) {
    if (!origin) return "message (role unknown)";
    const [role, index] = origin.split(":");
    return index === undefined ? role : `${role}, message ${index}`;
  }

  // ---- samples ----

  // One entry for each group of tokens that share characters.
  function groupsOf(item) {
    if (item.groups) return item.groups;
    const origins = item.origins && item.origins.flatMap(([count, name]) => Array(count).fill(name));
    const on = new Set();
    for (let i = 0; i < item.runs.length; i += 2)
      for (let at = item.runs[i]; at < item.runs[i + 1]; at++) on.add(at);
    const found = [];
    let stored = 0;
    let at = 0;
    for (const each of item.text) {
      const [text, count, leftOut] = typeof each === "string" ? [each, 1, 0] : each;
      if (item.skip && at === item.skip[0]) at += item.skip[1];
      const tokens = [];
      for (let k = 0; k < count; k++, at++, stored++) {
        const id = item.ids[stored];
        const label = at in item.other ? item.other[at] : on.has(at) ? id : -100;
        tokens.push({ at, id, label, origin: origins ? origins[at] : null });
      }
      found.push({ text, tokens, leftOut, on: tokens.some((token) => token.label !== -100) });
    }
    item.groups = found;
    return found;
  }

  const textOf = (item) => (item.whole ??= item.text.map((each) => (typeof each === "string" ? each : each[0])).join(""));
  const rolesOf = (item) => (item.roles ??= new Set((item.origins || []).map(([, origin]) => roleOf(origin))));

  const state = { shown: data.items, place: 0, table: false };
  const current = () => state.shown[state.place];

  function choose(place) {
    state.place = Math.max(0, Math.min(place, state.shown.length - 1));
    showItem();
  }

  function showItem() {
    const item = current();
    $("place").textContent = item ? `${number(state.place + 1)} of ${number(state.shown.length)}` : "none";
    $("previous").disabled = !item || state.place === 0;
    $("next").disabled = !item || state.place === state.shown.length - 1;
    $("facts").replaceChildren();
    $("text").replaceChildren();
    $("table").replaceChildren();
    $("text").hidden = state.table;
    $("table").hidden = !state.table;
    $("as-text").setAttribute("aria-pressed", String(!state.table));
    $("as-table").setAttribute("aria-pressed", String(state.table));
    if (!item) {
      $("text").hidden = false;
      $("text").append(element("p", { class: "muted" }, "No conversation on this page matches the filters."));
      return;
    }
    showFacts(item);
    if (state.table) showTable(item);
    else showText(item);
  }

  function showFacts(item) {
    const share = ((100 * item.trained) / item.length).toFixed(1);
    const facts = [
      ["source", item.source],
      ["row", number(item.row) + (data.sides ? `, ${data.sides[item.sample]}` : item.sample ? `, sample ${item.sample}` : "")],
      ["id", item.id],
      ["tokens", number(item.length)],
      ["trained", `${number(item.trained)} (${share}%)`],
      ["control tokens", number(item.control)],
      [data.packed ? "pack" : "row of the shard", `${number(item.pack)}${data.packed ? ` from token ${number(item.offset)}` : ""}`],
      ["split", item.split],
      ["chosen as", item.why.join(", ")],
      ["roles", item.origins ? `known: rerun from its source, same result (mask proved by ${item.proof})` : "unknown: only ids and labels are known"],
    ];
    for (const [name, value] of facts) {
      if (value === null || value === undefined) continue;
      $("facts").append(element("div", {}, element("span", {}, name + " "), visible(String(value))));
    }
  }

  function leftOut(item) {
    return `… ${number(item.skip[1])} tokens (${number(item.skip[0])} to ${number(item.skip[0] + item.skip[1] - 1)}) are not shown here …`;
  }

  function tokenSpan(group, index) {
    const role = roleOf(group.tokens[0].origin);
    const options = { class: `tok role-${role}${group.on ? " on" : ""}`, "data-group": index, tabindex: index ? -1 : 0 };
    const span = addText(element("span", options), group.text, true);
    if (group.leftOut) span.append(element("span", { class: "left-out" }, ` … ${number(group.leftOut)} more characters`));
    return span;
  }

  function showText(item) {
    const groups = groupsOf(item);
    const hits = hitsIn(item);
    const starts = item.blocks;
    let next = 0;
    let body = null;
    let skipped = false;
    groups.forEach((group, index) => {
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
        const head = element("h4", {}, titleOf(origin));
        $("text").append(element("div", { class: `block role-${roleOf(origin)}` }, head, body));
        next++;
      }
      const span = tokenSpan(group, index);
      if (hits.has(index)) span.classList.add("hit");
      body.append(span);
    });
    const hit = $("text").querySelector(".hit");
    if (hit && hits.fresh) hit.scrollIntoView({ block: "nearest" });
  }

  // The groups that a hit of the search covers.
  function hitsIn(item) {
    const found = new Set();
    const wanted = $("f-text").value.toLowerCase();
    if (!wanted) return found;
    const bounds = [];
    let whole = "";
    for (const group of groupsOf(item)) {
      bounds.push(whole.length);
      whole += group.text;
    }
    const lower = whole.toLowerCase();
    if (lower.length !== whole.length) return found; // a letter whose lower case is longer: positions do not match
    for (let from = lower.indexOf(wanted); from >= 0; from = lower.indexOf(wanted, from + wanted.length)) {
      bounds.forEach((start, i) => {
        const end = i + 1 < bounds.length ? bounds[i + 1] : whole.length;
        if (start < from + wanted.length && end > from) found.add(i);
      });
    }
    found.fresh = true;
    return found;
  }

  function showTable(item) {
    const head = element("tr", {});
    for (const [name, kind] of [["index", "num"], ["id", "num"], ["token", ""], ["label", "num"], ["origin", ""], ["bytes", ""]])
      head.append(element("th", { scope: "col", class: kind }, name));
    const body = element("tbody", {});
    let skipped = false;
    for (const group of groupsOf(item)) {
      if (item.skip && !skipped && group.tokens[0].at >= item.skip[0]) {
        skipped = true;
        body.append(element("tr", {}, element("td", { colspan: 6, class: "left-out" }, leftOut(item))));
      }
      group.tokens.forEach((token, part) => {
        const cell = element("td", {});
        const span = addText(element("span", { class: `tok role-${roleOf(token.origin)}${token.label === -100 ? "" : " on"}` }), group.text, false);
        if (group.leftOut) span.append(element("span", { class: "left-out" }, ` … ${number(group.leftOut)} more characters`));
        cell.append(span);
        if (group.tokens.length > 1) cell.append(element("span", { class: "muted" }, ` ${part + 1} of ${group.tokens.length}`));
        body.append(
          element(
            "tr",
            { class: token.label === -100 ? "" : "on" },
            element("td", { class: "num" }, String(token.at)),
            element("td", { class: "num" }, String(token.id)),
            cell,
            element("td", { class: "num" }, String(token.label)),
            element("td", {}, token.origin ?? "unknown"),
            element("td", { class: "hash" }, group.tokens.length > 1 ? (data.bytes[token.id] ?? "") : ""),
          ),
        );
      });
    }
    $("table").append(element("table", {}, element("thead", {}, head), body));
  }

  function showDetail(group) {
    const item = current();
    const lines = group.tokens.map((token) => {
      const parts = [
        ["token", number(token.at)],
        ["id", String(token.id)],
        ["label", `${token.label} (${token.label === -100 ? "not trained" : "trained"})`],
        ["origin", token.origin ?? "unknown"],
        [data.packed ? "position in the pack" : "position", number((data.packed ? item.offset : 0) + token.at)],
      ];
      if (group.tokens.length > 1) parts.push(["bytes", data.bytes[token.id] ?? ""]);
      const line = element("div", {});
      parts.forEach(([name, value], i) => line.append(i ? " · " : "", name + " ", element("b", {}, value)));
      return line;
    });
    const text = addText(element("div", {}), group.text.slice(0, 80), false);
    if (group.tokens.length > 1) text.append(element("span", { class: "muted" }, ` one text of ${group.tokens.length} tokens`));
    $("detail").replaceChildren(text, ...lines);
    $("detail").classList.add("live");
  }

  // ---- filters ----

  function within(value, low, high) {
    return (low === "" || value >= Number(low)) && (high === "" || value <= Number(high));
  }

  function filter() {
    const value = (id) => $(id).value;
    const text = value("f-text").toLowerCase();
    state.shown = data.items.filter(
      (item) =>
        (!value("f-source") || item.source === value("f-source")) &&
        (!value("f-split") || item.split === value("f-split")) &&
        (!value("f-why") || item.why.includes(value("f-why"))) &&
        (!value("f-role") || rolesOf(item).has(value("f-role"))) &&
        within((100 * item.trained) / item.length, value("f-share-min"), value("f-share-max")) &&
        within(item.length, value("f-length-min"), value("f-length-max")) &&
        (!text || textOf(item).toLowerCase().includes(text) || (item.id || "").toLowerCase().includes(text)),
    );
    choose(0);
  }

  function fill(id, values) {
    for (const value of [...new Set(values)].sort())
      $(id).append(element("option", { value }, visible(value.length > 60 ? "…" + value.slice(-59) : value)));
    $(id).disabled = $(id).options.length < 2;
  }

  // ---- packs ----

  const SVG = "http://www.w3.org/2000/svg";

  function shape(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function packView(pack) {
    const strip = shape("svg", { class: "strip", viewBox: `0 0 ${data.room} 10`, preserveAspectRatio: "none", role: "img" });
    const title = `pack ${number(pack.row)} (${pack.split}): ${number(pack.size)} of ${number(data.room)} tokens, ${number(pack.samples.length + pack.left_out)} samples`;
    strip.setAttribute("aria-label", title);
    pack.samples.forEach((each, i) => {
      const high = (10 * each.trained) / each.length;
      strip.append(
        shape("rect", { class: i % 2 ? "b" : "a", x: each.offset, y: 0, width: each.length, height: 10 }),
        shape("rect", { class: "trained", x: each.offset, y: 10 - high, width: each.length, height: high }),
        shape("line", { class: "edge", x1: each.offset + each.length, x2: each.offset + each.length, y1: 0, y2: 10 }),
      );
    });
    const more = element("details", {}, element("summary", {}, "Samples"));
    more.addEventListener("toggle", () => more.children.length > 1 || more.append(packTable(pack)), { once: true });
    return element("div", { class: "pack" }, element("h3", {}, title), strip, more);
  }

  function packTable(pack) {
    const head = element("tr", {});
    for (const name of ["from", "tokens", "trained", "source", "row", ""]) head.append(element("th", { scope: "col" }, name));
    const body = element("tbody", {});
    for (const each of pack.samples) {
      const place = data.items.findIndex(
        (item) => item.source === each.source && item.row === each.row && item.sample === each.sample,
      );
      const last = element("td", {});
      if (place >= 0) {
        const button = element("button", { type: "button" }, "Read it");
        button.addEventListener("click", () => {
          $("filters").reset();
          state.shown = data.items;
          choose(place);
          $("conversations").scrollIntoView();
          $("text").focus();
        });
        last.append(button);
      }
      const cells = [number(each.offset), number(each.length), number(each.trained), visible(each.source), number(each.row)];
      body.append(element("tr", {}, ...cells.map((cell) => element("td", {}, cell)), last));
    }
    const table = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Samples of the pack" });
    table.append(element("table", {}, element("thead", {}, head), body));
    if (pack.left_out) table.append(element("p", {}, `${number(pack.left_out)} more samples are not listed here.`));
    return table;
  }

  // ---- rejected rows ----

  function showRejects() {
    const text = $("r-text").value.toLowerCase();
    const shown = data.rejects.filter(
      (each) =>
        (!$("r-reason").value || each.reason === $("r-reason").value) &&
        (!$("r-source").value || each.source === $("r-source").value) &&
        (!text || (each.original + "\n" + each.detail + "\n" + (each.id || "")).toLowerCase().includes(text)),
    );
    $("reject-count").textContent = `${number(shown.length)} of the ${number(data.rejects.length)} rejected rows on this page`;
    $("reject-list").replaceChildren(...shown.map(rejectView));
  }

  function rejectView(each) {
    const head = `${each.reason}: ${each.source} row ${each.row}` + (each.id === null ? "" : ` (id ${each.id})`);
    const original = addText(element("pre", { tabindex: 0 }), each.original, true);
    if (each.left_out) original.append(element("span", { class: "left-out" }, ` … ${number(each.left_out)} more characters`));
    return element("article", {}, element("h3", {}, visible(head)), element("p", {}, visible(each.detail)), original);
  }

  // ---- what the page listens to ----

  function groupAt(target) {
    const span = target instanceof Element ? target.closest("[data-group]") : null;
    return span && current() ? groupsOf(current())[Number(span.dataset.group)] : null;
  }

  for (const kind of ["pointerover", "focusin"])
    $("text").addEventListener(kind, (event) => {
      const group = groupAt(event.target);
      if (group) showDetail(group);
    });

  $("text").addEventListener("keydown", (event) => {
    const all = [...$("text").querySelectorAll("[data-group]")];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || !all[to]) return;
    event.preventDefault();
    all[at].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      n: () => choose(state.place + 1),
      p: () => choose(state.place - 1),
      t: () => toggle(!state.table),
      "/": () => $("f-text").focus(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  function toggle(table) {
    state.table = table;
    showItem();
  }

  $("previous").addEventListener("click", () => choose(state.place - 1));
  $("next").addEventListener("click", () => choose(state.place + 1));
  $("as-text").addEventListener("click", () => toggle(false));
  $("as-table").addEventListener("click", () => toggle(true));
  $("filters").addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(filter));

  fill("f-source", data.items.map((item) => item.source));
  fill("f-split", data.items.map((item) => item.split));
  fill("f-why", data.items.flatMap((item) => item.why));
  fill("f-role", data.items.flatMap((item) => [...rolesOf(item)]));
  showItem();
  if ($("pack-list")) $("pack-list").append(...data.packs.map(packView));
  if ($("reject-list")) {
    fill("r-reason", data.rejects.map((each) => each.reason));
    fill("r-source", data.rejects.map((each) => each.source));
    $("reject-filters").addEventListener("input", showRejects);
    $("reject-filters").addEventListener("submit", (event) => event.preventDefault());
    showRejects();
  }
})();
