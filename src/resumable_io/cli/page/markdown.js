// Renders a little Markdown as DOM nodes. All text goes through text nodes: nothing that a model
// writes is ever parsed as HTML.
//
// Blocks: headings, paragraphs, lists, quotes, fenced code, rules. Inline: code, bold, italics.

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
// The lengths are bounded so that a text full of lone marks takes no quadratic time.
const INLINE = /(`+)([^`]|[^`][\s\S]{0,999}?[^`])\1(?!`)|\*\*(\S|\S[\s\S]{0,1999}?\S)\*\*|\*([^\s*]|[^\s*][^*]{0,999}?[^\s*])\*/;

/** Bring `container` up to date with `text`, replacing only the blocks that changed. */
export function render(container, text) {
  const blocks = split(text);
  const kept = container.children;
  blocks.forEach((block, index) => {
    const key = JSON.stringify(block);
    const old = kept[index];
    if (old?.renderedFrom === key) return;
    const node = build(block);
    node.renderedFrom = key;
    if (old) old.replaceWith(node);
    else container.append(node);
  });
  while (kept.length > blocks.length) container.lastElementChild.remove();
}

function split(text) {
  const blocks = [];
  let open = null; // The paragraph, list or quote that the next line may belong to.
  const start = (block) => (blocks.push(block), (open = block));
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at];
    let match;
    if ((match = FENCE.exec(line))) {
      const block = { kind: "code", language: match[2], lines: [] };
      const closed = new RegExp(`^ {0,3}${match[1][0]}{${match[1].length},}\\s*$`);
      while (++at < lines.length && !closed.test(lines[at])) block.lines.push(lines[at]);
      start(block);
      open = null;
    } else if (!line.trim()) {
      if (open?.kind === "list") open.loose = true;
      else open = null;
    } else if ((match = HEADING.exec(line))) {
      start({ kind: "heading", level: match[1].length, text: match[2] });
      open = null;
    } else if (RULE.test(line)) {
      start({ kind: "rule" });
      open = null;
    } else if ((match = ITEM.exec(line))) {
      const ordered = /\d/.test(match[2]);
      const depth = Math.min(Math.floor(match[1].replaceAll("\t", "    ").length / 2), 4);
      if (open?.kind !== "list" || (!depth && open.ordered !== ordered)) {
        start({ kind: "list", ordered, first: parseInt(match[2], 10) || 1, items: [] });
      }
      open.loose = false;
      open.items.push({ depth, ordered, text: match[3] });
    } else if ((match = QUOTE.exec(line))) {
      if (open?.kind !== "quote") start({ kind: "quote", text: match[1] });
      else open.text += `\n${match[1]}`;
    } else if (open?.kind === "list" && (!open.loose || /^\s{2,}/.test(line))) {
      open.items.at(-1).text += `\n${line.trim()}`;
    } else if (open && open.kind !== "list") {
      open.text += `\n${line}`;
    } else {
      start({ kind: "paragraph", text: line });
    }
  }
  return blocks;
}

function build(block) {
  switch (block.kind) {
    case "code": {
      const pre = document.createElement("pre");
      const code = document.createElement("code");
      if (block.language) pre.dataset.language = block.language;
      pre.tabIndex = 0; // It may scroll sideways.
      code.textContent = block.lines.join("\n");
      pre.append(code);
      return pre;
    }
    case "heading":
      // The page itself has the first level.
      return inline(document.createElement(`h${Math.min(block.level + 1, 6)}`), block.text);
    case "rule":
      return document.createElement("hr");
    case "list":
      return list(block);
    case "quote": {
      const quote = document.createElement("blockquote");
      quote.append(inline(document.createElement("p"), block.text));
      return quote;
    }
    default:
      return inline(document.createElement("p"), block.text);
  }
}

function list(block) {
  const root = document.createElement(block.ordered ? "ol" : "ul");
  if (block.ordered) root.start = block.first;
  const levels = [{ depth: block.items[0].depth, node: root }];
  for (const item of block.items) {
    while (levels.length > 1 && levels.at(-1).depth > item.depth) levels.pop();
    const parent = levels.at(-1);
    if (item.depth > parent.depth && parent.node.lastElementChild) {
      const node = document.createElement(item.ordered ? "ol" : "ul");
      parent.node.lastElementChild.append(node);
      levels.push({ depth: item.depth, node });
    }
    levels.at(-1).node.append(inline(document.createElement("li"), item.text));
  }
  return root;
}

function inline(parent, text) {
  for (let rest = text; rest; ) {
    const match = INLINE.exec(rest);
    if (!match) {
      parent.append(rest);
      break;
    }
    if (match.index) parent.append(rest.slice(0, match.index));
    const [whole, , code, bold, italic] = match;
    if (code !== undefined) {
      const node = document.createElement("code");
      node.textContent = code;
      parent.append(node);
    } else {
      const node = document.createElement(bold === undefined ? "em" : "strong");
      parent.append(inline(node, bold ?? italic));
    }
    rest = rest.slice(match.index + whole.length);
  }
  return parent;
}
