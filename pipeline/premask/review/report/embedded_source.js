// Where the page's data comes from: the page itself. `served_source.js` has the same functions.
function makeSource() {
  const data = JSON.parse($("data").textContent);
  const items = new Map(data.items.map((item) => [item.key, item]));
  const rows = data.items.map((item, order) => ({
    order,
    key: item.key,
    id: item.id,
    source: item.source,
    split: item.split,
    row: item.row,
    sample: item.sample,
    tokens: item.length,
    trained: item.trained,
    share: item.length ? (100 * item.trained) / item.length : 0,
    first_words: item.first_words,
    why: item.why,
  }));
  const packs = new Map(data.packs.map((pack) => [pack.key, pack]));
  const page = (found, { at = 0, count = 50 }) => ({ total: found.length, rows: found.slice(at, at + count) });

  function textOf(item) {
    item.whole ??= item.text.map((each) => (typeof each === "string" ? each : each[0])).join("").toLowerCase();
    return item.whole;
  }

  const has = (row, text) => textOf(items.get(row.key)).includes(text) || (row.id ?? "").toLowerCase().includes(text);
  const from = (value, low) => low === undefined || low === "" || value >= Number(low);
  const to = (value, high) => high === undefined || high === "" || value <= Number(high);

  function compare(a, b) {
    if (typeof a === "number") return a - b;
    return (a ?? "").localeCompare(b ?? "", "en", { numeric: true });
  }

  return {
    summary: async () => data.summary,
    async list(query) {
      const text = (query.search ?? "").toLowerCase();
      const found = rows.filter(
        (row) =>
          (!query.source || row.source === query.source) &&
          (!query.split || row.split === query.split) &&
          (!query.why || row.why.includes(query.why)) &&
          from(row.tokens, query.tokens_min) && to(row.tokens, query.tokens_max) &&
          from(row.share, query.share_min) && to(row.share, query.share_max) &&
          (!text || has(row, text)),
      );
      const key = query.sort ?? "order";
      found.sort((a, b) => (query.descending ? -1 : 1) * compare(a[key], b[key]));
      return page(found, query);
    },
    sample: async (key) => items.get(key) ?? null,
    packs: async (query) => page(data.packs, query),
    pack: async (key) => packs.get(key) ?? null,
    async rejects(query) {
      const text = (query.search ?? "").toLowerCase();
      const found = data.rejects.filter(
        (each) =>
          (!query.reason || each.reason === query.reason) &&
          (!query.source || each.source === query.source) &&
          (!text || `${each.original}\n${each.detail}\n${each.id ?? ""}`.toLowerCase().includes(text)),
      );
      return page(found, query);
    },
  };
}
