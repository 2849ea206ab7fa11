// The worked example of FORMAT.md, section 12: its values are read out of its
// text and computed again. Every line that stands there as code must be one that
// is checked here, so that none can be added or changed unnoticed.

import { readFileSync } from "node:fs";
import { argon2id } from "./argon2id.mjs";
import {
  associatedData, blind, blindTag, blindingKey, fieldID, hmac, idOf, keyID, keyringMACKey, lp,
  namesKeyID, openKeyring, openRecord, padme, parseRedisKey, readArgon2id, redisKey, sealInfo, sealRecord, subKey, unwrap,
  wrapData,
} from "./format.mjs";

// Section is a part of section 12: its prose, and its lines of code to be taken.
class Section {
  constructor(title, body, report) {
    this.title = title;
    this.report = report;
    this.code = body.split("\n").filter((l) => l.startsWith("    ")).map((l) => l.slice(4).trimEnd());
    this.prose = body.split("\n").filter((l) => !l.startsWith("    ")).join(" ").replace(/\s+/g, " ");
  }

  // said gives what a pattern finds in the prose.
  said(pattern) {
    const m = pattern.exec(this.prose);
    if (!m) throw new Error(`${this.title}: ${pattern} is not in the text`);
    return m.slice(1);
  }

  // take gives what follows a label, in the first line that has it and was not
  // taken before, and `more` lines below it.
  take(label, more = 0) {
    const at = this.code.findIndex((l) => l.trimStart().startsWith(label));
    if (at < 0) throw new Error(`${this.title}: no line ${label}`);
    const [first, ...rest] = this.code.splice(at, 1 + more);
    const found = [first.trimStart().slice(label.length).trim(), ...rest.map((l) => l.trim())];
    return more === 0 ? found[0] : found;
  }

  same(what, computed, documented) {
    const text = Buffer.isBuffer(computed) ? computed.toString("hex") : String(computed);
    if (text === String(documented)) this.report.same();
    else this.report.differs(`FORMAT.md, ${this.title}, ${what}`, `computed ${text}, documented ${documented}`);
  }

  // dump joins lines of a hex dump: each has hex digits, in groups, and after two
  // spaces or more what they are, perhaps on the line below. That is "text",
  // lp("text") or one of `known`.
  dump(lines, known = {}) {
    let all = "";
    let hex = "";
    for (const line of lines) {
      const [, digits, what] = /^((?:[0-9a-f]+ ?)*)(?:(?:^| ) *(\S.*))?$/.exec(line);
      if (digits !== "") all += hex = digits.replaceAll(" ", "");
      if (what === undefined) continue;
      const text = /^(lp\()?"(.*)"(\))?$/.exec(what);
      if (text && (text[1] === undefined) === (text[3] === undefined)) known[what] = text[1] ? lp(text[2]) : Buffer.from(text[2]);
      this.same(what, known[what] ?? "unknown", hex);
    }
    return all;
  }

  end() {
    for (const line of this.code) if (line !== "") this.report.differs(`FORMAT.md, ${this.title}`, `a line that nothing checks: ${line}`);
  }
}

const bytesFrom = (first, last) => Buffer.from(Array.from({ length: last - first + 1 }, (_, i) => first + i));
const hexBytes = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");

// checkExample reports to report.same and report.differs, and gets the vectors
// that the example names from report.vector.
export function checkExample(path, report) {
  const all = readFileSync(path, "utf8");
  const chapter = all.slice(all.indexOf("\n## 12 "), all.indexOf("\n## 13 "));
  const [intro, ...rest] = chapter.split("\n### ");
  const sections = Object.fromEntries(rest.map((s) => {
    const title = s.slice(0, s.indexOf("\n"));
    return [title, new Section(title, s.slice(title.length), report)];
  }));
  const done = (s) => { s.end(); delete sections[s.title]; };

  const given = new Section("12 Worked example", intro, report);
  const [ns, dekFirst, dekLast, nkFirst, nkLast] = given.said(
    /Namespace `(.*?)`; DEK is the bytes `(..) .. … (..)`, NK the bytes `(..) .. … (..)`/,
  );
  const dek = bytesFrom(parseInt(dekFirst, 16), parseInt(dekLast, 16));
  const nk = bytesFrom(parseInt(nkFirst, 16), parseInt(nkLast, 16));
  const kn = blindingKey(nk, ns);

  let s = sections.Derivations;
  s.same("id of the data key", keyID(dek, ns), s.take("id of the data key"));
  s.same("id of the names key", namesKeyID(nk, ns), s.take("id of the names key"));
  s.same("keyring mac key", keyringMACKey(nk, ns), s.take("keyring mac key"));
  s.same("Kn", kn, s.take("Kn "));
  const salt = hexBytes(s.take("sub-key, salt"));
  s.same("info", sealInfo(ns, 1, salt), s.dump(s.take("info, suite 1", 3), { "lp(u8(suite))": lp(Buffer.from([1])), "lp(salt)": lp(salt) }));
  for (const suite of [1, 2]) s.same(`suite ${suite}`, subKey(dek, ns, suite, salt), s.take(`suite ${suite}`));
  done(s);

  s = sections.Names;
  const [name, tag, field] = s.said(/Name `(.*?)`, tag `(.*?)`, field `(.*?)`/);
  const both = (b) => `${b.toString("hex")}   ${b.toString("base64url")}`;
  s.same("blind", both(blind(kn, "v", name)), s.take("blind(v, name)"));
  s.same("blindtag", both(blindTag(kn, tag)).replace(/ +/, "   "), s.take("blindtag(tag)").replace(/ +/, "   "));
  s.same("field id", fieldID(kn, name, field), s.take("field id(name, field)"));
  const prefix = "sc"; // unless set
  for (const [label, names, shards, tagged] of [
    ["shards 0, no tag", "blind", 0, ""],
    ["shards 0, tag", "blind", 0, tag],
    ["shards 16, no tag", "blind", 16, ""],
    ["shards 16, tag", "blind", 16, tag],
    ["plain, shards 0, no tag", "plain", 0, ""],
    ["plain, shards 16", "plain", 16, ""],
  ]) {
    const layout = { prefix, names, shards };
    const documented = s.take(label);
    const id = idOf(layout, kn, "v", name, tagged);
    s.same(label, redisKey(layout, ns, "v", id), documented);
    s.same(`${label}, parsed`, parseRedisKey(documented)?.id, id);
  }
  done(s);

  s = sections.Padding;
  const [from, to] = s.said(/`padmé` of ([\d ,]+?) is ([\d ,]+?)\./).map((l) => l.split(", ").map((n) => Number(n.replace(" ", ""))));
  s.same("padmé", from.map(padme), to);
  done(s);

  s = sections["A record"];
  const [file, text, kind] = s.said(/The vector `(.*?)`: the text `(.*?)`, kind (.), name/);
  s.same("name", name, s.said(/name `(.*?)`, no tag, no shards, suite 1, neither compressed nor padded/)[0]);
  const [writtenAt, expiresAt] = s.said(/written at (\d+) and ending at (\d+)\. The salt is the one above/).map(Number);
  const vector = report.vector(file);
  let documented = "";
  const fields = {};
  for (const label of ["magic", "version", "form", "written-at", "expires-at", "key id", "salt", "nonce", "ciphertext", "tag"]) {
    fields[label] = s.take(`${documented.length / 2}  ${label} `); // its offset stands before it
    documented += fields[label];
  }
  s.same("the vector", vector.bytes, documented);
  const binding = { namespace: ns, kind, id: idOf({ names: "blind", shards: 0 }, kn, kind, name), field: "" };
  for (const [k, v] of Object.entries(binding)) s.same(`the vector's ${k}`, v, vector[k]);
  s.same("sealed again", sealRecord({
    dek, binding, suite: 1, form: 1, writtenAt, expiresAt, salt, nonce: hexBytes(fields.nonce), inside: Buffer.from(text),
  }), documented);
  const [, ...aad] = s.take("associated data", 9);
  s.same("associated data", associatedData(vector.bytes, binding), s.dump(aad, {
    "record[0:16]": vector.bytes.subarray(0, 16),
    "record[16:32]": vector.bytes.subarray(16, 32),
    "record[32:48]": vector.bytes.subarray(32, 48),
    "u8(kind)": Buffer.from(kind),
  }));
  s.same("cipher key", subKey(dek, ns, 1, salt), s.take("cipher key"));
  s.same("plaintext", Buffer.from(text), s.take("plaintext"));
  const recordSection = s;
  done(s);

  s = sections["A keyring"];
  const stored = report.vector(s.said(/The vector `(.*?)`: D is one line/)[0]);
  const ring = openKeyring(stored.bytes, ns, { scheme: "plain" });
  s.same("mac", hmac(keyringMACKey(nk, ns), ring.document), s.take("mac "));
  s.same("mac in base64", ring.mac.toString("base64"), s.take("in base64"));
  s.same("D", ring.document.toString(), s.code.splice(0).join(""));
  recordSection.same("opened", openRecord(vector.bytes, binding, ring, writtenAt), Buffer.from(text).toString("hex"));
  done(s);

  s = sections["A wrapped key"];
  const next = (n) => s.code.splice(s.code.findIndex((l) => l !== ""), n);
  const known = { "u8(role): d": Buffer.from("d"), id: keyID(dek, ns) };
  s.same("associated data, data key", wrapData(ns, "d", keyID(dek, ns)), s.dump(next(4), known));
  s.same("associated data, names key", wrapData(ns, "n", namesKeyID(nk, ns)), s.dump(next(1)));
  const [passphrase] = s.said(/with the passphrase `(.*?)`/);
  const wrapped = "argon2id:" + s.take("argon2id:", 1).join("");
  const parts = readArgon2id(wrapped);
  s.same("the text is one", parts !== null, true);
  const wrappingKey = argon2id({ password: Buffer.from(passphrase), ...parts });
  s.same("wrapping key", wrappingKey, s.take("wrapping key"));
  s.same("salt", parts.salt, s.take("salt"));
  s.same("nonce", parts.box.subarray(0, 12), s.take("nonce"));
  s.same("ciphertext", parts.box.subarray(12, 44), s.take("ciphertext"));
  s.same("tag", parts.box.subarray(44), s.take("tag"));
  const wrapper = { scheme: "argon2id", passphrase: Buffer.from(passphrase) };
  s.same("unwrapped", unwrap(wrapped, wrapper, wrapData(ns, "d", keyID(dek, ns))), dek.toString("hex"));
  s.same("unwrapped in another place", unwrap(wrapped, wrapper, wrapData(ns, "n", keyID(dek, ns))), null);
  done(s);

  for (const title of Object.keys(sections)) report.differs("FORMAT.md", `a section that nothing checks: ${title}`);
}
