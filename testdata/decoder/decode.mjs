// A second reader of the formats of FORMAT.md, for the test vectors:
//
//   node decode.mjs                  all of ../vectors
//   node decode.mjs <file or dir>…   these
//   node decode.mjs --example [file] the worked example of ../../FORMAT.md
//
// It prints a line for each that does not come out as expected, a line for each
// that it cannot decode, and then the numbers. It exits with 1 on a mismatch.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { checkExample } from "./example.mjs";
import { Refused, Unsupported, fromBase64, idFits, openKeyring, openRecord, parseRedisKey, primary, redisKey } from "./format.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));

// Mismatch is something that is not as the vector says.
class Mismatch extends Error {}
const must = (ok, why) => { if (!ok) throw new Mismatch(why); };

const RECORD = ["comment", "expect", "keyring", "namespace", "now", "kind", "id", "field"];
const KEYRING = ["comment", "expect", "namespace", "scheme"];

// readVector reads a file as vectors/README.md describes it.
function readVector(path) {
  const all = readFileSync(path, "utf8");
  const end = all.indexOf("\n\n");
  const head = end < 0 ? all.replace(/\n$/, "") : all.slice(0, end);
  const lines = end < 0 ? [] : all.slice(end + 2).replace(/\n$/, "").split("\n");
  const vector = { path };
  for (const line of head.split("\n")) {
    const m = /^([a-z0-9]+):(?: (.*))?$/.exec(line);
    must(m && !Object.hasOwn(vector, m[1]), `the header line ${JSON.stringify(line)}`);
    vector[m[1]] = m[2] ?? "";
  }
  lines.forEach((l, i) => must(l.length === 76 || i === lines.length - 1, "a line of base64 that is not of 76 characters"));
  vector.bytes = fromBase64(lines.join(""));
  must(vector.bytes !== null, "not base64");
  return vector;
}

function onlyHeaders(vector, names, onOk) {
  const want = [...names, ...(vector.expect === "ok" ? onOk : []), "path", "bytes"].sort();
  must(Object.keys(vector).sort().join() === want.join(), `the headers ${Object.keys(vector)}`);
}

const openVectorKeyring = (v) => openKeyring(v.bytes, v.namespace, { scheme: v.scheme });

function keyring(v) {
  onlyHeaders(v, KEYRING, ["now", "primary"]);
  const ring = openVectorKeyring(v);
  if (v.expect !== "ok") return;
  const id = primary(ring, Number(v.now)).id.toString("hex");
  must(id === v.primary, `the primary is ${id}`);
}

function record(v) {
  const optional = v.limit === undefined ? [] : ["limit"];
  onlyHeaders(v, [...RECORD, ...optional], [v.sha256 === undefined ? "content" : "sha256"]);
  const ringVector = readVector(join(dirname(v.path), v.keyring));
  must(ringVector.expect === "ok", "a keyring that is refused");
  const ring = openVectorKeyring(ringVector);
  const content = openRecord(v.bytes, v, ring, Number(v.now), ...optional.map(() => Number(v.limit)));
  if (v.expect !== "ok") return;

  const same = v.sha256 === undefined ? fromBase64(v.content)?.equals(content) : createHash("sha256").update(content).digest("hex") === v.sha256;
  must(same, `the content is ${content.subarray(0, 60).toString("base64")}…`);

  // What a writer must have done for a record that opens.
  const key = parseRedisKey(redisKey(ring.layout, v.namespace, v.kind, v.id));
  must(key && key.namespace === v.namespace && key.kind === v.kind && key.id === v.id, "no Redis key");
  must(idFits(ring.layout, ring.kn, v.kind, v.id), "the id is none of this layout");
  if (v.kind === "h") {
    must(/^[A-Za-z0-9_-]{22}$/.test(v.field), "no field id");
    must(content.length >= 4 && content.readUInt32BE(0) <= content.length - 4, "no field before the value");
  } else must(v.field === (v.kind === "x" ? v.id : ""), "another field id than the kind has");
}

// check gives null, or what was skipped; it throws a Mismatch.
function check(path) {
  const v = readVector(path);
  try {
    (v.scheme === undefined ? record : keyring)(v);
  } catch (e) {
    if (e instanceof Unsupported) return e.message;
    if (!(e instanceof Refused)) throw e;
    must(e.cls === v.expect, `${e.message}, where ${v.expect} is expected`);
    return null;
  }
  must(v.expect === "ok", `opened, where ${v.expect} is expected`);
  return null;
}

// files gives the vectors under a path: all *.txt, at any depth.
function files(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true }).filter((f) => f.endsWith(".txt")).sort().map((f) => join(path, f));
}

let passed = 0, failed = 0, skipped = 0;
const fail = (name, why) => { failed++; console.log(`FAIL ${name}: ${why}`); };

const args = process.argv.slice(2);
if (args[0] === "--example") {
  const example = args[1] ?? join(HERE, "../../FORMAT.md");
  try {
    checkExample(example, {
      same: () => passed++,
      differs: fail,
      vector: (path) => readVector(join(HERE, "..", path.replace(/^testdata\//, ""))),
    });
  } catch (e) {
    fail(example, e.stack);
  }
} else {
  for (const path of (args.length > 0 ? args : [join(HERE, "../vectors")]).flatMap(files)) {
    const name = relative(process.cwd(), path);
    try {
      const why = check(path);
      if (why === null) passed++;
      else { skipped++; console.log(`SKIP ${name}: not decoded here: ${why}`); }
    } catch (e) {
      fail(name, e instanceof Mismatch ? e.message : e.stack);
    }
  }
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || passed + skipped === 0 ? 1 : 0;
