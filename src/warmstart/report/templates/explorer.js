"use strict";
// The explorer: filters, finds and compares the completions that the page carries. Every text that a model wrote
// becomes a text node; nothing of it is ever parsed.
(function () {
  const PAGE = 30;
  const place = document.getElementById("explorer");
  if (!place) return;
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const form = place.querySelector("form");
  const list = place.querySelector(".found");
  const status = place.querySelector(".status");
  const detail = place.querySelector(".detail");
  const more = place.querySelector(".more");
  const sources = { "held-out": data.heldOut, groups: data.groups };
  const tags = new Map();
  for (const kind of Object.keys(data.tags)) {
    tags.set("<" + data.tags[kind] + ">", kind);
    tags.set("</" + data.tags[kind] + ">", kind);
  }
  let shown = PAGE;
  let chosen = null;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function number(value, digits, signed) {
    if (value === null || value === undefined) return "–";
    return (signed && value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  }

  // Pieces of a text: the exact tags apart.
  function pieces(text) {
    const names = [...tags.keys()].map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return text.split(new RegExp("(" + names.join("|") + ")")).filter((piece) => piece !== "");
  }

  function write(parent, text) {
    if (!text) parent.append(make("i", "", "(empty)"));
    for (const piece of pieces(text)) {
      const kind = tags.get(piece);
      parent.append(kind ? make("span", "tag " + kind, piece) : piece);
    }
  }

  function words(text) {
    return text.match(/\s+|[\p{L}\p{N}_.,]+|[^\s]/gu) || [];
  }

  // The longest common subsequence of the words of two texts, as runs of [-1 gone | 0 kept | 1 new, text].
  function difference(before, after) {
    const a = words(before), b = words(after);
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start++;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    const x = a.slice(start, a.length - end), y = b.slice(start, b.length - end);
    const runs = [];
    function add(sign, text) {
      if (!text) return;
      const last = runs[runs.length - 1];
      if (last && last[0] === sign) last[1] += text; else runs.push([sign, text]);
    }
    add(0, a.slice(0, start).join(""));
    if (x.length * y.length > 4e6) { add(-1, x.join("")); add(1, y.join("")); }
    else {
      const width = y.length + 1;
      const table = new Uint16Array((x.length + 1) * width);
      for (let i = x.length - 1; i >= 0; i--)
        for (let j = y.length - 1; j >= 0; j--)
          table[i * width + j] = x[i] === y[j] ? table[(i + 1) * width + j + 1] + 1
            : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      let i = 0, j = 0;
      while (i < x.length || j < y.length) {
        if (i < x.length && j < y.length && x[i] === y[j]) { add(0, x[i]); i++; j++; }
        else if (j >= y.length || (i < x.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) add(-1, x[i++]);
        else add(1, y[j++]);
      }
    }
    add(0, a.slice(a.length - end).join(""));
    return runs;
  }

  function entries() {
    return sources[form.elements.source.value];
  }

  function matches(entry, kind, terms) {
    if (kind && entry.kind !== kind && !(kind === "wrong-but-strict" && entry.rows.some(isWrongButStrict))) return false;
    if (!terms.length) return true;
    const heap = [entry.id, entry.family || "", entry.stage || "", data.texts[entry.question], entry.gold,
      "step " + entry.step, ...entry.rows.map((row) => data.texts[row.text])].join("\n").toLowerCase();
    return terms.every((term) => heap.includes(term));
  }

  function isWrongButStrict(row) {
    return row.format === true && row.verdict === "wrong";
  }

  function fillKinds() {
    const select = form.elements.kind;
    const counts = new Map();
    for (const entry of entries()) counts.set(entry.kind, (counts.get(entry.kind) || 0) + 1);
    select.replaceChildren(new Option("all (" + entries().length + ")", ""));
    for (const [kind, count] of counts) select.append(new Option(kind + " (" + count + ")", kind));
    const strict = entries().filter((entry) => entry.rows.some(isWrongButStrict)).length;
    if (strict) select.append(new Option("wrong in the exact format (" + strict + ")", "wrong-but-strict"));
  }

  function find() {
    const terms = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = form.elements.kind.value;
    return entries().filter((entry) => matches(entry, kind, terms));
  }

  function update() {
    const found = find();
    const isGroups = form.elements.source.value === "groups";
    status.textContent = found.length + " of " + entries().length + (isGroups ? " groups" : " problems") + " found";
    list.replaceChildren(...found.slice(0, shown).map(item));
    more.hidden = found.length <= shown;
    if (!found.includes(chosen)) show(found[0] || null);
    else mark();
  }

  function item(entry) {
    const button = make("button", "item");
    button.type = "button";
    const head = make("span", "head");
    head.append(make("b", "", entry.id), make("span", "kind " + entry.kind.split(/[ ,]/)[0], entry.kind));
    const facts = entry.step === undefined ? entry.family
      : "step " + entry.step + (entry.stage ? " · " + entry.stage : "") + " · " + entry.right + " of " + entry.rows.length + " right";
    button.append(head, make("small", "", facts), make("span", "text", data.texts[entry.question].slice(0, 120)));
    button.addEventListener("click", function () { show(entry); detail.focus(); });
    button.entry = entry;
    const line = make("li");
    line.append(button);
    return line;
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) {
      if (button.entry === chosen) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    }
  }

  function card(row, isGroup) {
    const part = make("section", "completion " + row.grade);
    part.append(make("h4", "", row.name));
    const verdict = (row.mark ? row.mark + " " : "") + row.verdict + (isGroup ? (row.format ? ", in the exact format" : "") : "");
    part.append(make("p", "verdict", verdict));
    const text = make("pre");
    text.dir = "auto";
    write(text, data.texts[row.text]);
    part.append(text);
    const facts = [row.tokens + " tokens" + (row.cut ? ", cut off at the limit" : "")];
    if (isGroup) {
      facts.unshift("reward " + number(row.reward, 2) + ", advantage " + number(row.advantage, 3, true));
      facts.push("mean log p " + number(row.logProb, 3));
      const parts = Object.entries(row.parts).map((pair) => pair[0] + " " + number(pair[1], 2));
      if (parts.length) facts.push(parts.join(", "));
    } else if (row.sampled) facts.push(row.sampled[0] + " of " + row.sampled[1] + " sampled right in the format");
    if (row.why) facts.push("not strict: " + row.why);
    part.append(make("p", "small", facts.join(" · ")));
    return part;
  }

  // Equal texts are shown once.
  function distinct(rows) {
    const seen = new Map();
    for (const row of rows) {
      const key = row.text + " " + row.advantage;
      if (seen.has(key)) seen.get(key).name += ", " + row.name.replace("sample ", "");
      else seen.set(key, Object.assign({}, row));
    }
    return [...seen.values()];
  }

  function show(entry) {
    chosen = entry;
    mark();
    detail.replaceChildren();
    if (!entry) { detail.append(make("p", "empty", "Nothing is like that. Search for less.")); return; }
    const isGroup = entry.step !== undefined;
    detail.append(make("h3", "", (isGroup ? "Step " + entry.step + " · " : "") + entry.id));
    const question = make("p", "question", data.texts[entry.question]);
    question.dir = "auto";
    const gold = make("p", "gold", "Right answer: ");
    const answer = make("b", "", entry.gold);
    answer.dir = "auto";
    gold.append(answer);
    detail.append(question, gold, compare(entry, isGroup));
    const cards = make("div", "stages");
    cards.append(...(isGroup ? distinct(entry.rows) : entry.rows).map((row) => card(row, isGroup)));
    detail.append(cards);
    scrollable(detail);
  }

  // Two completions of the same problem, before and after: word by word.
  function compare(entry, isGroup) {
    const same = isGroup ? data.groups.filter((other) => other.id === entry.id) : [entry];
    const rows = same.flatMap((other) => (isGroup ? distinct(other.rows) : other.rows)
      .map((row) => ({ name: (isGroup ? "step " + other.step + ", " : "") + row.name + ": " + row.verdict, row })));
    const box = make("details", "compare");
    box.append(make("summary", "", "What changed between two of them"));
    if (rows.length < 2) return make("p", "small", isGroup ? "All completions are the same text." : "");
    const selects = ["before", "after"].map((name, index) => {
      const label = make("label", "", name + " ");
      const select = make("select");
      rows.forEach((row, at) => select.append(new Option(row.name, String(at))));
      // Groups are sorted by advantage: the worst of the first visit against the best of the last.
      select.value = String(index ? lastVisit(rows, same, isGroup) : isGroup ? firstVisitEnd(rows, same) : 0);
      select.addEventListener("change", draw);
      label.append(select);
      box.append(label);
      return select;
    });
    const text = make("pre", "diff");
    text.dir = "auto";
    box.append(text, make("p", "small", "Struck through: only before. Underlined: only after."));
    function draw() {
      const [before, after] = selects.map((select) => data.texts[rows[Number(select.value)].row.text]);
      text.replaceChildren();
      for (const [sign, run] of difference(before, after)) {
        text.append(sign === 0 ? run : make(sign < 0 ? "del" : "ins", "", run));
      }
      scrollable(box);
    }
    box.addEventListener("toggle", draw);
    draw();
    return box;
  }

  function firstVisitEnd(rows, same) {
    return distinct(same[0].rows).length - 1;
  }

  function lastVisit(rows, same, isGroup) {
    return isGroup ? rows.length - distinct(same[same.length - 1].rows).length : rows.length - 1;
  }

  // What scrolls must be reachable by keyboard; what does not is no stop on the way.
  function scrollable(parent) {
    for (const text of parent.querySelectorAll("pre")) {
      if (text.scrollHeight > text.clientHeight) { text.tabIndex = 0; text.setAttribute("role", "region"); text.setAttribute("aria-label", "completion"); }
    }
  }

  list.addEventListener("keydown", function (event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (next) { next.focus(); event.preventDefault(); }
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.search.addEventListener("input", function () { shown = PAGE; update(); });
  form.elements.kind.addEventListener("change", function () { shown = PAGE; update(); });
  for (const radio of form.querySelectorAll("[name=source]")) {
    radio.addEventListener("change", function () { shown = PAGE; fillKinds(); update(); });
  }
  more.addEventListener("click", function () { shown += PAGE; update(); });
  place.hidden = false;
  fillKinds();
  update();
})();
