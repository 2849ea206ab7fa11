// A JSON reader (RFC 8259) that is as strict as FORMAT.md, section 8, which
// JSON.parse cannot be: numbers are written in digits alone, no member is there
// twice, and nothing but white space follows.

import { Malformed } from "./malformed.mjs";

const DEPTH = 16; // deeper than anything that section 8 lists

// parseJSON gives objects as Map, numbers as BigInt.
export function parseJSON(bytes) {
  let s;
  try {
    s = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed("not UTF-8");
  }
  let at = 0;
  const bad = (what) => new Malformed(`JSON: ${what} at ${at}`);
  const space = () => { while (at < s.length && " \t\n\r".includes(s[at])) at++; };
  const expect = (c) => { if (s[at] !== c) throw bad(`no ${c}`); at++; };

  function text() {
    expect('"');
    let out = "";
    for (;;) {
      if (at >= s.length) throw bad("text without an end");
      const c = s[at++];
      if (c === '"') return out;
      if (c < " ") throw bad("control character");
      if (c !== "\\") { out += c; continue; }
      const e = s[at++];
      const plain = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" }[e];
      if (plain !== undefined) { out += plain; continue; }
      const hex = s.slice(at, at + 4);
      if (e !== "u" || !/^[0-9A-Fa-f]{4}$/.test(hex)) throw bad("unknown escape");
      out += String.fromCharCode(parseInt(hex, 16));
      at += 4;
    }
  }

  function value(depth) {
    if (depth > DEPTH) throw bad("too deep");
    space();
    let v;
    if (s[at] === "{") {
      v = new Map();
      at++;
      space();
      if (s[at] === "}") at++;
      else for (;;) {
        space();
        const name = text();
        if (v.has(name)) throw bad(`${name} twice`);
        space();
        expect(":");
        v.set(name, value(depth + 1));
        if (s[at] === ",") { at++; continue; }
        expect("}");
        break;
      }
    } else if (s[at] === "[") {
      v = [];
      at++;
      space();
      if (s[at] === "]") at++;
      else for (;;) {
        v.push(value(depth + 1));
        if (s[at] === ",") { at++; continue; }
        expect("]");
        break;
      }
    } else if (s[at] === '"') {
      v = text();
    } else {
      const m = /^(?:true|false|null|0|[1-9][0-9]*)(?![\w.+-])/.exec(s.slice(at, at + 40));
      if (!m) throw bad("no value");
      at += m[0].length;
      v = m[0] === "null" ? null : m[0] === "true" ? true : m[0] === "false" ? false : BigInt(m[0]);
    }
    space();
    return v;
  }

  const v = value(0);
  if (at !== s.length) throw bad("something follows");
  return v;
}
