// Starts the page: what its address shows, and the keys of the whole page.
const source = makeSource();
const summary = await source.summary();

async function openSample(key, { scroll }) {
  const item = await source.sample(key).catch((error) => {
    showNoItem(`Sample ${key} cannot be shown.`);
    throw error;
  });
  if (item) showItem(item);
  else showNoItem(`There is no sample ${key} on this page.`);
  const top = $("reader").getBoundingClientRect().top;
  if (scroll && (top < 0 || top > innerHeight / 2)) $("reader").scrollIntoView();
  if (scroll) showHit();
}

// Brings the first hit of the search into view, if it is not.
function showHit() {
  const hit = $("text").querySelector(".hit");
  if (hit && hit.getBoundingClientRect().bottom > innerHeight - 120) hit.scrollIntoView({ block: "center" });
}

// Permalinks: #sample=train/12, #pack=train/3, #reason=no_assistant. Other addresses are sections of the page.
// Returns which of them it is.
async function follow() {
  const [, kind, name] = /^#(sample|pack|reason)=(.*)$/.exec(location.hash) ?? [];
  const wanted = decoded(name);
  if (kind === "sample") await openSample(wanted, { scroll: true });
  if (kind === "pack") await openPack(wanted);
  if (kind === "reason") await openReason(wanted);
  return kind;
}

// Shows what the address names, and the first sample unless it names one.
async function start() {
  if ((await follow()) !== "sample" && list.rows[0]) await openSample(list.rows[0].key, { scroll: false });
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const KEYS = {
  n: () => step(1),
  p: () => step(-1),
  t: () => toggle(!reader.table),
  c: copyItem,
  "/": () => $("f-search").focus(),
};

function onKey(event) {
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

startList();
startReader();
startPacks();
startRejects();
document.addEventListener("keydown", onKey);
addEventListener("hashchange", () => (location.hash ? follow() : start()));
await loadList(0);
await start();
