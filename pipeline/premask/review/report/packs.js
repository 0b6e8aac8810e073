// Packs: a grid of bars, and the samples of the one that was opened.
const PACKS = 200;
const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function packTitle(pack) {
  const samples = many(pack.samples.length + pack.left_out, "sample");
  return `pack ${number(pack.row)} (${pack.split}): ${number(pack.tokens)} of ${number(summary.room)} tokens, ${samples}, ${percent(pack.trained, pack.tokens)} trained`;
}

function packBar(pack) {
  const bar = shape("svg", { viewBox: `0 0 ${summary.room} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [, tokens, trained, , , , offset] of pack.samples) {
    const opacity = (0.1 + (0.9 * trained) / Math.max(tokens, 1)).toFixed(2);
    bar.append(
      shape("rect", { class: "trained", x: offset, y: 0, width: tokens, height: 10, "fill-opacity": opacity }),
      shape("path", { class: "edge", d: `M${offset + tokens} 0V10` }),
    );
  }
  return bar;
}

function packTile(pack) {
  return link("pack=" + pack.key, packBar(pack), { class: "bar", title: packTitle(pack), "aria-label": packTitle(pack) });
}

function packRow([key, tokens, trained, from, row, sample, offset]) {
  const last = element("td", {});
  if (key) last.append(link("sample=" + key, "Read"));
  const cells = [number(offset), number(tokens), percent(trained, tokens)].map((cell) => element("td", { class: "num" }, cell));
  return element("tr", {}, ...cells, sourceCell(from), element("td", {}, number(row) + sampleOf(sample, " · ")), last);
}

async function openPack(key) {
  const pack = await source.pack(key);
  $("pack").hidden = false;
  $("pack-title").textContent = pack ? packTitle(pack) : `Pack ${key} is not on this page.`;
  $("pack-view").replaceChildren();
  for (const each of document.querySelectorAll("#pack-list a")) each.classList.toggle("open", each.hash === location.hash);
  if (pack) {
    const names = [["from token", "num"], ["tokens", "num"], ["trained", "num"], ["source", ""], ["row", ""], ["", ""]];
    const table = headed(names, ...pack.samples.map(packRow));
    $("pack-view").append(packBar(pack), element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Samples of the pack" }, table));
    if (pack.left_out) $("pack-view").append(element("p", {}, `${number(pack.left_out)} more samples are not listed here.`));
  }
  $("pack").scrollIntoView({ block: "nearest" });
}

async function loadPacks() {
  const at = $("pack-list").children.length;
  const found = await source.packs({ at, count: PACKS });
  $("pack-list").append(...found.rows.map(packTile));
  const shown = $("pack-list").children.length;
  $("pack-count").textContent = shown < summary.packs ? `${number(shown)} of ${many(summary.packs, "pack")}.` : `All ${many(shown, "pack")}.`;
  $("pack-more").hidden = shown >= found.total;
}

function startPacks() {
  if (!$("packs")) return;
  $("pack-more").addEventListener("click", loadPacks);
  loadPacks();
}
