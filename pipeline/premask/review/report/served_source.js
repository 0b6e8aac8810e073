// Where the page's data comes from: `premask report --serve`. `embedded_source.js` has the same functions.
function makeSource() {
  const banner = element("p", { role: "alert", class: "trouble", hidden: "" });
  const listNote = element("p", { id: "list-note", class: "muted", "aria-live": "polite" });
  const readerNote = element("p", { id: "reader-note", class: "muted", "aria-live": "polite" });
  $("top").prepend(banner);
  $("filters").after(listNote);
  $("facts").after(readerNote);

  function fail(event) {
    event.preventDefault();
    banner.textContent = visible((event.reason ?? event.error)?.message ?? event.message);
    banner.hidden = false;
  }
  addEventListener("unhandledrejection", fail);
  addEventListener("error", fail);

  async function ask(name, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    const address = new URL(`api/${name}?${new URLSearchParams(given)}`, location.href);
    const answer = await fetch(address, { redirect: "error" }).catch(() => null);
    if (!answer) throw new Error("premask report --serve has ended. Start it again, and open the address that it prints.");
    const found = await answer.json().catch(() => ({ error: `The server answered with ${answer.status}.` }));
    if (!answer.ok) throw new Error(found.error);
    banner.hidden = true;
    return found;
  }

  // Says how far texts were searched. Each further answer has searched more of them.
  function noteSearch(found) {
    listNote.replaceChildren(found.note ?? "");
    if (found.note) listNote.append(" ", button("Search further", () => loadList(list.at)));
  }

  // Roles may come later than the sample. They are asked for again while it is shown.
  async function askSample(key) {
    const found = await ask("sample", { key });
    readerNote.textContent = found?.note ?? "";
    if (found?.later)
      setTimeout(async () => {
        if (reader.item?.key !== key) return;
        const again = await askSample(key);
        if (again && !again.later && reader.item?.key === key) showItem(again);
      }, 500);
    return found;
  }

  return {
    summary: () => ask("summary"),
    async list(query) {
      const found = await ask("list", query);
      noteSearch(found);
      return found;
    },
    sample: askSample,
    packs: (query) => ask("packs", query),
    pack: (key) => ask("pack", { key }),
    rejects: (query) => ask("rejects", query),
  };
}
