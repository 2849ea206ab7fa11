// FORMAT.md as a reader: what is derived from the keys, names and Redis keys,
// the keyring, and records. Sections named here are those of FORMAT.md.

import { createCipheriv, createDecipheriv, createHmac, getCiphers, timingSafeEqual } from "node:crypto";
import { argon2id } from "./argon2id.mjs";
import { parseJSON } from "./json.mjs";
import { Malformed } from "./malformed.mjs";
import { decodeSnappy } from "./snappy.mjs";
import { decodeZstd } from "./zstd.mjs";

// Refused is a failure that FORMAT.md names, by its class.
export class Refused extends Error {
  constructor(cls, why) {
    super(`${cls}: ${why}`);
    this.cls = cls;
  }
}

// Unsupported is what this decoder cannot do where it runs.
export class Unsupported extends Error {}

const MINUTES_5 = 5 * 60 * 1000;
const LIMIT = 16 * 1024 * 1024;
const ZSTD_WINDOW = 8 * 1024 * 1024;
const YEARS_100 = 3153600000000n;

// ---- 1 Conventions

const u8 = (n) => Buffer.from([n]);
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const u48 = (n) => { const b = Buffer.alloc(6); b.writeUIntBE(n, 0, 6); return b; };
export const lp = (x) => Buffer.concat([u32(Buffer.byteLength(x)), Buffer.from(x)]);
export const hmac = (key, m) => createHmac("sha256", key).update(m).digest();

export function expandInfo(label, params) {
  return Buffer.concat([label, ...params].map(lp));
}

function expand(key, label, params, length) { // RFC 5869, 2.3
  const info = expandInfo(label, params);
  let t = Buffer.alloc(0);
  let out = Buffer.alloc(0);
  for (let i = 1; out.length < length; i++) {
    t = hmac(key, Buffer.concat([t, info, u8(i)]));
    out = Buffer.concat([out, t]);
  }
  return out.subarray(0, length);
}

// base64 and hex in their one spelling, or null.
export function fromBase64(text) {
  const b = Buffer.from(text, "base64");
  return b.toString("base64") === text ? b : null;
}
export function fromHex(text) {
  return /^([0-9a-f]{2})*$/.test(text) ? Buffer.from(text, "hex") : null;
}

// ---- 2 Secrets and what is derived from them

export const keyID = (dek, ns) => expand(dek, "securecache v1 key id", [ns], 16);
export const sealInfo = (ns, suite, salt) => expandInfo("securecache v1 seal", [ns, u8(suite), salt]);
export const subKey = (dek, ns, suite, salt) => expand(dek, "securecache v1 seal", [ns, u8(suite), salt], 32);
export const namesKeyID = (nk, ns) => expand(nk, "securecache v1 names key id", [ns], 16);
export const blindingKey = (nk, ns) => expand(nk, "securecache v1 name", [ns], 32);
export const keyringMACKey = (nk, ns) => expand(nk, "securecache v1 keyring", [ns], 32);

export const blind = (kn, kind, name) => hmac(kn, Buffer.concat([u8(kindByte(kind)), lp(name)])).subarray(0, 16);
export const blindTag = (kn, tag) => hmac(kn, Buffer.concat([u8(0), lp(tag)])).subarray(0, 8);
export const fieldID = (kn, name, field) => hmac(kn, Buffer.concat([u8(1), lp(name), lp(field)])).subarray(0, 16).toString("base64url");

// ---- 3 Names and Redis keys, 4 Kinds

const PREFIX = /^[a-z0-9._-]{1,32}$/;
const NAMESPACE = /^[a-z0-9._-]{1,64}$/;
const KIND = /^(?:[vhsdoqxlrue]|x[89a-f][0-9a-f])$/;

export function kindByte(kind) {
  if (!KIND.test(kind)) throw new Error(`no kind: ${kind}`);
  return kind.length === 1 ? kind.charCodeAt(0) : parseInt(kind.slice(1), 16);
}

const compressible = (kind) => ["v", "h", "q"].includes(kind);
const holdsNone = (kind) => ["l", "r", "u", "e"].includes(kind);
const alwaysPadded = (kind) => ["s", "d", "o", "x"].includes(kind);
const namedPlainly = (layout, kind) => layout.names === "plain" && (kind === "v" || kind === "h");

function escape(name) {
  let out = "";
  for (const b of Buffer.from(name)) {
    const c = String.fromCharCode(b);
    out += /[A-Za-z0-9._~/-]/.test(c) ? c : "%" + b.toString(16).toUpperCase().padStart(2, "0");
  }
  return out;
}

const unescape = (body) => Buffer.from(body.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))), "latin1");

const shardOf = (layout, b) => (b & (layout.shards - 1)).toString(16).padStart(2, "0");

// idOf is the id of a name: `layout` is that of a keyring.
export function idOf(layout, kn, kind, name, tag = "", parts = []) {
  const blinded = blind(kn, kind, name);
  const body = namedPlainly(layout, kind) ? escape(name) : blinded.toString("base64url");
  const tagged = tag === "" ? "" : blindTag(kn, tag).toString("base64url");
  let id;
  if (layout.shards > 0) id = `{${shardOf(layout, tag === "" ? blinded[0] : blindTag(kn, tag)[0])}}${tagged}${body}`;
  else id = tag === "" ? `{${body}}` : `{${tagged}}${body}`;
  return [id, ...parts].join(":");
}

export const redisKey = (layout, ns, kind, id) => `${layout.prefix}:${ns}:${kind}:${id}`;

// parseRedisKey cuts a Redis key into what it says, or is null for what is none.
export function parseRedisKey(key) {
  const m = /^([^:]*):([^:]*):([^:]*):(.*)$/s.exec(key);
  if (!m || !PREFIX.test(m[1]) || !NAMESPACE.test(m[2]) || !KIND.test(m[3])) return null;
  return { prefix: m[1], namespace: m[2], kind: m[3], id: m[4] };
}

// idFits says whether an id is one that this layout gives to a name of the kind,
// as far as can be seen without the name.
export function idFits(layout, kn, kind, id) {
  const m = /^\{([^{}]+)\}([^:]*)((?::[^:]+)*)$/.exec(id);
  if (!m) return false;
  const [, braces, rest] = m;
  const plain = namedPlainly(layout, kind);
  // An expiry event has the id of a value of any kind.
  if (kind === "x" && layout.names === "plain" && idFits(layout, kn, "v", id)) return true;

  const isBlind = (s) => s.length === 22 && Buffer.from(s, "base64url").toString("base64url") === s;
  const isTag = (s) => s.length === 11 && Buffer.from(s, "base64url").toString("base64url") === s;
  const isBody = (s) => (plain ? s !== "" && escape(unescape(s)) === s : isBlind(s));
  if (layout.shards === 0) return rest === "" ? isBody(braces) : isTag(braces) && isBody(rest);
  const tagged = isTag(rest.slice(0, 11)) && isBody(rest.slice(11));
  if (tagged && braces === shardOf(layout, Buffer.from(rest.slice(0, 11), "base64url")[0])) return true;
  if (!isBody(rest)) return false;
  const blinded = plain ? blind(kn, kind, unescape(rest)) : Buffer.from(rest, "base64url");
  return braces === shardOf(layout, blinded[0]);
}

// ---- 5 Records, 6 Sealing

export function associatedData(record, { namespace, kind, id, field }) {
  return Buffer.concat([Buffer.from("securecache v1"), record.subarray(0, 48), u8(kindByte(kind)), lp(namespace), lp(id), lp(field)]);
}

const CIPHERS = { 1: "aes-256-gcm", 2: "chacha20-poly1305" };

// sealRecord seals the plaintext inside, with everything given.
export function sealRecord({ dek, binding, suite, form, writtenAt, expiresAt, salt, nonce, inside }) {
  const id = keyID(dek, binding.namespace);
  const header = Buffer.concat([Buffer.from("SC"), u8(1), u8(form), u48(writtenAt), u48(expiresAt), id, salt, nonce]);
  const cipher = createCipheriv(CIPHERS[suite], subKey(dek, binding.namespace, suite, salt), nonce, { authTagLength: 16 });
  cipher.setAAD(associatedData(header, binding));
  return Buffer.concat([header, cipher.update(inside), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(cipher, key, nonce, aad, sealed) {
  const d = createDecipheriv(cipher, key, nonce, { authTagLength: 16 });
  d.setAAD(aad);
  d.setAuthTag(sealed.subarray(sealed.length - 16));
  const out = d.update(sealed.subarray(0, sealed.length - 16));
  try {
    d.final();
  } catch {
    return null;
  }
  return out;
}

// padme of PURBs; paddedLength is what a writer pads m bytes to.
export function padme(length) {
  const e = Math.floor(Math.log2(length));
  const s = Math.floor(Math.log2(e)) + 1;
  const b = 2 ** Math.max(0, e - s);
  return Math.ceil(length / b) * b;
}

// ---- 7 Opening

function unpad(inside) {
  let n = inside.length;
  while (n > 0 && inside[n - 1] === 0) n--;
  if (n === 0 || inside[n - 1] !== 0x80) throw new Refused("content", "the padding");
  return inside.subarray(0, n - 1);
}

// uvarint gives a value, as BigInt, and its length.
function uvarint(b) {
  let v = 0n;
  for (let i = 0; i < b.length; i++) {
    v += BigInt(b[i] & 0x7f) << BigInt(7 * i);
    if (v >= 2n ** 64n) break;
    if (b[i] >= 0x80) continue;
    if (b[i] === 0 && i > 0) break;
    return [v, i + 1];
  }
  throw new Refused("content", "the uvarint");
}

// openRecord makes the checks of section 7, in their order. `limit` is of the
// content, in bytes. A kind without records is the caller's error (section 4).
export function openRecord(record, binding, ring, now, limit = LIMIT) {
  if (holdsNone(binding.kind)) throw new Error(`a record of kind ${binding.kind}: the kinds l, r, u and e hold no records`);
  if (record.subarray(0, 2).toString("latin1") !== "SC") throw new Refused("not-record", "no magic"); // 1
  if (record.length < 4) throw new Refused("length", "no form"); // 2
  if (record[2] !== 1) throw new Refused("version", record[2]); // 3
  const form = record[3];
  const suite = form & 0x0f;
  const compression = (form >> 4) & 3;
  const padded = (form & 0x40) !== 0;
  if (!CIPHERS[suite] || compression === 3 || form & 0x80) throw new Refused("form", form); // 4
  if (record.length < 76) throw new Refused("length", "shorter than 76"); // 5
  if (!getCiphers().includes(CIPHERS[suite])) throw new Unsupported(`suite ${suite}`);

  const key = ring.keys.find((k) => k.id.equals(record.subarray(16, 32)));
  if (!key) throw new Refused("unknown-key", "not in the keyring"); // 6
  if (!key.dek) throw new Refused("destroyed-key", key.id.toString("hex")); // 7

  const sub = subKey(key.dek, ring.namespace, suite, record.subarray(32, 48));
  let inside = decrypt(CIPHERS[suite], sub, record.subarray(48, 60), associatedData(record, binding), record.subarray(60));
  if (inside === null) throw new Refused("authentication", "the cipher"); // 8

  const writtenAt = record.readUIntBE(4, 6);
  const expiresAt = record.readUIntBE(10, 6);
  const maxLife = ring.layout.max_life;
  if (key.retired !== null) { // 9
    const late = writtenAt > key.retired + MINUTES_5;
    const long = maxLife !== 0 && (expiresAt === 0 || expiresAt > key.retired + maxLife);
    if (late || long) throw new Refused("retired-key", late ? "written too late" : "lives too long");
  }
  if (expiresAt === 0 && maxLife !== 0) throw new Refused("expiry", "none"); // 10
  if (expiresAt !== 0 && now >= expiresAt) throw new Refused("expired", expiresAt); // 11

  if (compression !== 0 && !compressible(binding.kind)) throw new Refused("content", "compressed"); // 12
  if (!padded && alwaysPadded(binding.kind)) throw new Refused("content", "not padded");
  if (padded) inside = unpad(inside); // 13
  if (compression === 0) {
    if (inside.length > limit) throw new Refused("too-large", inside.length); // 14
    return inside;
  }
  const [raw, used] = uvarint(inside); // 13
  if (raw > BigInt(limit)) throw new Refused("too-large", raw); // 14
  const body = inside.subarray(used);
  try { // 15
    return compression === 1 ? decodeSnappy(body, Number(raw)) : decodeZstd(body, Number(raw), ZSTD_WINDOW);
  } catch (e) {
    if (e instanceof Malformed) throw new Refused("content", e.message);
    throw e;
  }
}

// ---- 8 Keyring document

const document_ = (why) => new Refused("document", why);

// members checks an object's members and gives them; `optional` may be absent.
function members(v, where, required, optional = {}) {
  if (!(v instanceof Map)) throw document_(`${where} is no object`);
  const all = { ...required, ...optional };
  for (const name of v.keys()) if (!Object.hasOwn(all, name)) throw document_(`${where}: ${name} is unknown`);
  for (const name of Object.keys(required)) if (!v.has(name)) throw document_(`${where}: no ${name}`);
  const out = {};
  for (const [name, check] of Object.entries(all)) out[name] = v.has(name) ? check(v.get(name), `${where}: ${name}`) : null;
  return out;
}

const text = (v, where) => {
  if (typeof v !== "string" || v === "") throw document_(`${where} is no text`);
  return v;
};
const matches = (pattern) => (v, where) => {
  if (!pattern.test(text(v, where))) throw document_(where);
  return v;
};
const number = (least, most) => (v, where) => {
  if (typeof v !== "bigint" || v < least || v > most) throw document_(where);
  return Number(v);
};
const time = number(1n, 2n ** 48n - 1n);
const id = (v, where) => {
  const b = fromHex(text(v, where));
  if (b === null || b.length !== 16 || b.every((x) => x === 0)) throw document_(where);
  return b;
};
const base64 = (v, where) => {
  const b = fromBase64(text(v, where));
  if (b === null) throw document_(where);
  return b;
};

// readRules is check 1 of the reader: the envelope and the document in it.
function readRules(envelope) {
  if (envelope.length > 1048576) throw document_("too long");
  try {
    const { document: d, mac } = members(parseJSON(envelope), "envelope", { document: base64, mac: base64 });
    if (mac.length !== 32) throw document_("mac");
    const doc = members(parseJSON(d), "document", {
      format: matches(/^securecache\/keyring\/1$/),
      namespace: matches(NAMESPACE),
      revision: number(1n, 2n ** 53n - 1n),
      keys: (v, where) => {
        if (!Array.isArray(v)) throw document_(where);
        return v.map((k) => members(k, "key", { id, created: time, activates: time }, { retired: time, wrapped: text }));
      },
      names: (v) => members(v, "names", { id, created: time, wrapped: text }),
      layout: (v) => members(v, "layout", {
        prefix: matches(PREFIX),
        names: matches(/^(?:blind|plain)$/),
        shards: number(0n, 256n),
        max_life: number(0n, YEARS_100),
        refresh: number(1n, YEARS_100),
        max_offline: number(1n, YEARS_100),
      }),
    });
    const { layout, keys } = doc;
    if ((layout.shards & (layout.shards - 1)) !== 0) throw document_("shards");
    if (layout.max_offline < layout.refresh) throw document_("max_offline");
    for (const k of keys) if (k.retired !== null && k.retired <= k.activates) throw document_("retired");
    if (!keys.some((k) => k.wrapped !== null)) throw document_("every key is destroyed");
    const ids = [doc.names, ...keys].map((k) => k.id.toString("hex"));
    if (new Set(ids).size !== ids.length) throw document_("an id twice");
    return { d, mac, doc };
  } catch (e) {
    if (e instanceof Malformed) throw document_(e.message);
    throw e;
  }
}

// openKeyring makes the checks of section 8, in their order. `wrapper` has the
// scheme that is configured, and the passphrase where it needs one.
export function openKeyring(envelope, namespace, wrapper) {
  const { d, mac, doc } = readRules(envelope); // 1
  if (doc.namespace !== namespace) throw document_(`namespace ${doc.namespace}`); // 2
  const alive = doc.keys.filter((k) => k.wrapped !== null);
  for (const k of [doc.names, ...alive]) { // 3
    if (k.wrapped.split(":")[0] !== wrapper.scheme || !k.wrapped.includes(":")) throw new Refused("scheme", k.wrapped);
  }
  const wrong = wrapper.scheme === "plain" ? "unwrap" : "document";
  const open = (k, role, idOfKey) => {
    const key = unwrap(k.wrapped, wrapper, wrapData(namespace, role, k.id));
    if (key === null) throw new Refused("unwrap", k.id.toString("hex")); // 4, 7
    if (key.length !== 32 || !idOfKey(key, namespace).equals(k.id)) throw new Refused(wrong, "another key"); // 5, 8
    return key;
  };
  const nk = open(doc.names, "n", namesKeyID);
  if (!timingSafeEqual(mac, hmac(keyringMACKey(nk, namespace), d))) throw document_("the mac"); // 6
  return {
    namespace,
    document: d,
    mac,
    layout: doc.layout,
    kn: blindingKey(nk, namespace),
    keys: doc.keys.map((k) => ({ ...k, dek: k.wrapped === null ? null : open(k, "d", keyID) })),
  };
}

// ---- 9 Wrapped keys

export function wrapData(namespace, role, id) {
  return Buffer.concat([Buffer.from("securecache v1 wrap"), lp(namespace), Buffer.from(role), id]);
}

// readArgon2id gives the parts of a text of that scheme, or null.
export function readArgon2id(wrapped) {
  const m = /^argon2id:v=19,m=([1-9]\d{0,6}),t=([1-9]\d?),p=([1-9]\d?):([^:]*):([^:]*)$/.exec(wrapped);
  if (!m) return null;
  const [mem, t, p] = m.slice(1, 4).map(Number);
  if (mem > 1048576 || mem < 8 * p || t > 16 || p > 16) return null;
  const [salt, box] = m.slice(4).map(fromBase64);
  if (salt === null || box === null || salt.length !== 16 || box.length !== 60) return null;
  return { m: mem, t, p, salt, box };
}

// unwrap gives the key, or null where the text does not unwrap.
export function unwrap(wrapped, wrapper, aad) {
  if (wrapper.scheme === "plain") return fromBase64(wrapped.slice("plain:".length));
  if (wrapper.scheme !== "argon2id") throw new Unsupported(`scheme ${wrapper.scheme}`);
  const w = readArgon2id(wrapped);
  if (w === null) return null;
  const key = argon2id({ password: wrapper.passphrase, ...w });
  return decrypt("aes-256-gcm", key, w.box.subarray(0, 12), aad, w.box.subarray(12));
}

// ---- 10 Life of a key

// primary is the key that seals at a time.
export function primary(ring, now) {
  const alive = ring.keys.filter((k) => k.dek !== null);
  const order = (a, b) => a.activates - b.activates || Buffer.compare(a.id, b.id);
  const active = alive.filter((k) => k.activates <= now).sort(order);
  return active.length > 0 ? active[active.length - 1] : alive.sort(order)[0];
}
