// Helpers of the page's script, whose files are put together by page.py.
// Content is only ever set as text: no markup is made from it.
const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US");
const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)}%` : "-");
const many = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

const ODD = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const NAMED = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

function written(char) {
  if (NAMED[char]) return NAMED[char];
  const hex = char.codePointAt(0).toString(16);
  if (hex.length <= 2) return "\\x" + hex.padStart(2, "0");
  return hex.length <= 4 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
}

// Text with all that is no ordinary character written out.
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

function button(text, act) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", act);
  return made;
}

const link = (hash, text, options) => element("a", { href: "#" + hash, ...options }, text);

// What is marked in a text that is read: line breaks and tabs, spaces that one would not see, odd characters.
const MARKED = new RegExp(`${ODD.source}| {2,}| +(?=\\n)`, "gu");
const SPACES = { "\n": "newline", "\t": "tab", " ": "space" };

// Text for reading: spaces keep their effect, and get a quiet mark from the style sheet, which is not copied.
function addText(parent, text) {
  let at = 0;
  for (const match of text.matchAll(MARKED)) {
    if (match.index > at) parent.append(text.slice(at, match.index));
    for (const char of match[0])
      parent.append(SPACES[char] ? element("span", { class: SPACES[char] }, char) : element("span", { class: "odd" }, written(char)));
    at = match.index + match[0].length;
  }
  parent.append(text.slice(at));
  return parent;
}

const more = (count) => element("span", { class: "left-out" }, ` … ${number(count)} more characters`);

function fill(id, values) {
  for (const value of values)
    $(id).append(element("option", { value }, visible(value.length > 60 ? "…" + value.slice(-59) : value)));
}

function headed(names, ...rows) {
  const head = element("tr", {}, ...names.map(([name, kind]) => element("th", { scope: "col", class: kind }, name)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}
