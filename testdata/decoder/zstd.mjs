// A decoder of one Zstandard frame (RFC 8878; the section numbers below are
// its), without dictionaries. It is written for clearness and for refusing what
// is malformed, not for speed.

import { Malformed } from "./malformed.mjs";

const bad = (what) => { throw new Malformed(`zstd: ${what}`); };
const highBit = (n) => 31 - Math.clz32(n);

// decodeZstd gives the `want` bytes of the one frame that src is. Anything else,
// a larger window than maxWindow among it, is Malformed, and never more than
// `want` bytes are produced. A frame whose window is its content may have any:
// `want` is the limit of that.
export function decodeZstd(src, want, maxWindow) {
  let at = 0;
  const le = (n) => { // n ≤ 6 bytes, little-endian
    if (n > src.length - at) bad("cut short");
    const v = n === 0 ? 0 : src.readUIntLE(at, n);
    at += n;
    return v;
  };

  // 3.1.1.1: the frame header.
  if (le(4) !== 0xfd2fb528) bad("no frame");
  const flags = le(1);
  const single = (flags & 0x20) !== 0;
  if (flags & 0x08) bad("the reserved bit");
  let window = 0;
  if (!single) {
    const w = le(1);
    window = 2 ** (10 + (w >> 3));
    window += (window / 8) * (w & 7);
  }
  if (le([0, 1, 2, 4][flags & 3]) !== 0) bad("a dictionary");
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >> 6];
  let size = null; // 2^64 − 1 is rounded, and no less wrong
  if (sizeBytes === 8) size = le(4) + le(4) * 2 ** 32;
  else if (sizeBytes > 0) size = le(sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  if (size !== null && size !== want) bad("another content size");
  if (single) window = Math.max(size, 1024);
  else if (window > maxWindow) bad("the window is too large");

  // 3.1.1.2: the blocks.
  const blockMax = Math.min(window, 128 * 1024);
  const frame = { out: Buffer.alloc(want), n: 0, window, blockMax, repeat: [1, 4, 8], tables: [null, null, null], huffman: null };
  for (let last = 0; !last;) {
    const header = le(3);
    last = header & 1;
    const type = (header >> 1) & 3;
    const length = header >> 3;
    if (length > blockMax) bad("a block too large");
    if (type === 3) bad("a block of the reserved type");
    if (type === 2) {
      if (length > src.length - at) bad("cut short");
      compressedBlock(frame, src.subarray(at, at + length));
      at += length;
    } else {
      if (length > want - frame.n) bad("too much");
      if (type === 1) frame.out.fill(le(1), frame.n, frame.n + length);
      else {
        if (length > src.length - at) bad("cut short");
        src.copy(frame.out, frame.n, at, at + length);
        at += length;
      }
      frame.n += length;
    }
  }
  if (frame.n !== want) bad("too little");
  if (flags & 0x04 && le(4) !== Number(xxh64(frame.out) & 0xffffffffn)) bad("the checksum");
  if (at !== src.length) bad("something follows");
  return frame.out;
}

// Bits that are read from the end of a bit stream to its beginning (4.1). The
// last byte's highest set bit marks the end and is none of them.
class Backwards {
  constructor(buf) {
    if (buf.length === 0 || buf[buf.length - 1] === 0) bad("a bit stream without its end");
    this.buf = buf;
    this.left = (buf.length - 1) * 8 + highBit(buf[buf.length - 1]);
  }

  // peek gives the next n bits, as if zeros stood before the beginning.
  peek(n) {
    let from = this.left - n;
    if (from < 0) return this.left <= 0 ? 0 : this.bits(0, this.left) * 2 ** -from;
    return this.bits(from, n);
  }

  read(n) {
    const v = this.peek(n);
    this.left -= n;
    return v;
  }

  bits(from, n) {
    let v = 0;
    for (let got = 0; got < n;) {
      const shift = (from + got) & 7;
      const take = Math.min(8 - shift, n - got);
      v += ((this.buf[(from + got) >> 3] >> shift) & ((1 << take) - 1)) * 2 ** got;
      got += take;
    }
    return v;
  }
}

// 4.1.1: the description of an FSE table. It gives the table and the number of
// bytes that it took.
function readTable(buf, maxLog, maxSymbol) {
  let bit = 0;
  const read = (n) => {
    let v = 0;
    for (let i = 0; i < n; i++, bit++) {
      if (bit >> 3 >= buf.length) bad("a table cut short");
      v |= ((buf[bit >> 3] >> (bit & 7)) & 1) << i;
    }
    return v;
  };
  const log = read(4) + 5;
  if (log > maxLog) bad("a table too large");
  const counts = [];
  let remaining = 1 << log;
  while (remaining > 0) {
    // A value from 0 to remaining + 1; the small ones take a bit less.
    const bits = highBit(remaining + 1) + 1;
    const low = (1 << (bits - 1)) - 1;
    const fewer = (1 << bits) - 1 - (remaining + 1);
    let v = read(bits - 1);
    if (v >= fewer) {
      v += read(1) << (bits - 1);
      if (v > low) v -= fewer;
    }
    const count = v - 1; // -1 is "less than 1", and takes 1
    counts.push(count);
    remaining -= Math.abs(count);
    if (count === 0) {
      for (let more = 3; more === 3;) {
        more = read(2);
        for (let i = 0; i < more; i++) counts.push(0);
      }
    }
    if (counts.length > maxSymbol + 1) bad("a table of too many symbols");
  }
  if (remaining !== 0) bad("a table whose counts do not fit");
  return [buildTable(counts, log), (bit + 7) >> 3];
}

function buildTable(counts, log) {
  const size = 1 << log;
  const table = { log, symbol: new Uint8Array(size), bits: new Uint8Array(size), base: new Uint16Array(size) };
  const next = counts.map((c) => Math.abs(c));
  let high = size;
  counts.forEach((c, s) => { if (c === -1) table.symbol[--high] = s; });
  const step = (size >> 1) + (size >> 3) + 3;
  let pos = 0;
  counts.forEach((c, s) => {
    for (let i = 0; i < c; i++) {
      table.symbol[pos] = s;
      do pos = (pos + step) & (size - 1); while (pos >= high);
    }
  });
  for (let i = 0; i < size; i++) {
    const state = next[table.symbol[i]]++;
    table.bits[i] = log - highBit(state);
    table.base[i] = (state << table.bits[i]) - size;
  }
  return table;
}

const rleTable = (symbol) => ({ log: 0, symbol: [symbol], bits: [0], base: [0] });

// 4.2.1: the description of a Huffman tree. It gives the tree, as a table of
// 2^bits entries, and the number of bytes that it took.
function readTree(buf) {
  if (buf.length === 0) bad("no Huffman tree");
  const header = buf[0];
  const weights = [];
  let used;
  if (header >= 128) { // four bits a weight
    const n = header - 127;
    used = 1 + ((n + 1) >> 1);
    if (used > buf.length) bad("a Huffman tree cut short");
    for (let i = 0; i < n; i++) weights.push(i & 1 ? buf[1 + (i >> 1)] & 15 : buf[1 + (i >> 1)] >> 4);
  } else { // by FSE, two states in turn
    used = 1 + header;
    if (used > buf.length) bad("a Huffman tree cut short");
    const [table, taken] = readTable(buf.subarray(1, used), 6, 12);
    const stream = new Backwards(buf.subarray(1 + taken, used));
    const states = [stream.read(table.log), stream.read(table.log)];
    if (stream.left < 0) bad("a Huffman tree cut short");
    for (let i = 0; ; i ^= 1) {
      weights.push(table.symbol[states[i]]);
      if (weights.length > 254) bad("too many weights");
      const bits = table.bits[states[i]];
      if (bits > stream.left) { // the end: the other state holds the last one
        weights.push(table.symbol[states[i ^ 1]]);
        break;
      }
      states[i] = table.base[states[i]] + stream.read(bits);
    }
  }

  // The last weight is what is lacking to a power of two.
  let sum = 0;
  for (const w of weights) if (w > 0) sum += 1 << (w - 1);
  if (sum === 0) bad("no weights");
  const bits = highBit(sum) + 1;
  const lack = (1 << bits) - sum;
  if (bits > 11 || (lack & (lack - 1)) !== 0) bad("weights that do not fit");
  weights.push(highBit(lack) + 1);

  const tree = { bits, symbol: new Uint8Array(1 << bits), length: new Uint8Array(1 << bits) };
  let at = 0;
  for (let w = 1; w <= bits; w++) {
    weights.forEach((x, s) => {
      if (x !== w) return;
      tree.symbol.fill(s, at, at + (1 << (w - 1)));
      tree.length.fill(bits + 1 - w, at, at + (1 << (w - 1)));
      at += 1 << (w - 1);
    });
  }
  return [tree, used];
}

function huffmanStream(tree, buf, out) {
  const stream = new Backwards(buf);
  for (let i = 0; i < out.length; i++) {
    const code = stream.peek(tree.bits);
    out[i] = tree.symbol[code];
    stream.left -= tree.length[code];
    if (stream.left < 0) bad("a Huffman stream cut short");
  }
  if (stream.left !== 0) bad("a Huffman stream too long");
}

// 3.1.1.3.1: the literals of a block. It gives them and the number of bytes that
// they took.
function readLiterals(frame, block) {
  if (block.length === 0) bad("an empty block");
  const type = block[0] & 3;
  const format = (block[0] >> 2) & 3;
  const bytes = type < 2 ? [1, 2, 1, 3][format] : [3, 3, 4, 5][format];
  if (bytes > block.length) bad("literals cut short");
  const header = block.readUIntLE(0, bytes);

  if (type < 2) { // as they are, or one byte many times
    const size = header >> (format & 1 ? 4 : 3);
    const stored = type === 1 ? 1 : size;
    if (size > frame.blockMax) bad("too many literals");
    if (stored > block.length - bytes) bad("literals cut short");
    const stands = block.subarray(bytes, bytes + stored);
    return [type === 1 ? Buffer.alloc(size, stands[0]) : stands, bytes + stored];
  }

  const width = [10, 10, 14, 18][format];
  const size = Math.floor(header / 16) % 2 ** width;
  const stored = Math.floor(header / 2 ** (4 + width));
  if (size > frame.blockMax) bad("too many literals");
  if (stored > block.length - bytes) bad("literals cut short");
  let body = block.subarray(bytes, bytes + stored);
  if (type === 2) {
    const [tree, used] = readTree(body);
    frame.huffman = tree;
    body = body.subarray(used);
  }
  if (frame.huffman === null) bad("no Huffman tree to use again");
  const out = Buffer.alloc(size);
  if (format === 0) huffmanStream(frame.huffman, body, out);
  else { // four streams, and the lengths of three of them
    if (body.length < 6) bad("literals cut short");
    const quarter = (size + 3) >> 2;
    if (3 * quarter > size) bad("too few literals for four streams");
    let at = 6;
    for (let i = 0; i < 4; i++) {
      const end = i < 3 ? at + body.readUInt16LE(2 * i) : body.length;
      if (end > body.length) bad("literals cut short");
      huffmanStream(frame.huffman, body.subarray(at, end), out.subarray(i * quarter, i < 3 ? (i + 1) * quarter : size));
      at = end;
    }
  }
  return [out, bytes + stored];
}

// 3.1.1.3.2: codes of literal lengths, offsets and match lengths, and the
// distributions of section 3.1.1.3.2.2 that are used unless told otherwise.
const times = (n, v) => new Array(n).fill(v);
const bitsToCodes = (base, extra) => extra.map((bits) => { const code = { base, bits }; base += 2 ** bits; return code; });
const CODES = [
  { // literal lengths
    codes: bitsToCodes(0, [...times(16, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    maxLog: 9,
    usual: buildTable([4, 3, ...times(11, 2), 1, 1, 1, ...times(9, 2), 3, 2, ...times(5, 1), ...times(4, -1)], 6),
  },
  { // offsets: 2^code and `code` bits
    codes: times(32, 0).map((_, code) => ({ base: 2 ** code, bits: code })),
    maxLog: 8,
    usual: buildTable([...times(6, 1), 2, 2, 2, ...times(15, 1), ...times(5, -1)], 5),
  },
  { // match lengths
    codes: bitsToCodes(3, [...times(32, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    maxLog: 9,
    usual: buildTable([1, 4, 3, ...times(6, 2), ...times(37, 1), ...times(7, -1)], 6),
  },
];
const [LITERAL, OFFSET, MATCH] = [0, 1, 2];

function compressedBlock(frame, block) {
  const [literals, used] = readLiterals(frame, block);
  let at = used;
  const byte = () => (at < block.length ? block[at++] : bad("sequences cut short"));
  let taken = 0; // of the literals
  const start = frame.n;
  const room = (n) => { if (n > frame.out.length - frame.n || n > frame.blockMax - (frame.n - start)) bad("too much"); };
  const literal = (n) => {
    if (n > literals.length - taken) bad("too few literals");
    room(n);
    literals.copy(frame.out, frame.n, taken, taken + n);
    taken += n;
    frame.n += n;
  };

  let count = byte();
  if (count === 255) count = byte() + byte() * 256 + 0x7f00;
  else if (count >= 128) count = (count - 128) * 256 + byte();
  if (count > 0) {
    const modes = byte();
    if (modes & 3) bad("reserved bits of the sequences");
    for (const which of [LITERAL, OFFSET, MATCH]) {
      const { codes, maxLog, usual } = CODES[which];
      const mode = (modes >> (6 - 2 * which)) & 3;
      if (mode === 0) frame.tables[which] = usual;
      if (mode === 1) {
        const code = byte();
        if (code >= codes.length) bad("an unknown code");
        frame.tables[which] = rleTable(code);
      }
      if (mode === 2) {
        const [table, taken] = readTable(block.subarray(at), maxLog, codes.length - 1);
        frame.tables[which] = table;
        at += taken;
      }
      if (frame.tables[which] === null) bad("no table to use again");
    }

    const stream = new Backwards(block.subarray(at));
    const tables = frame.tables;
    const states = tables.map((t) => stream.read(t.log)); // literal, offset, match
    const take = (which) => {
      const { base, bits } = CODES[which].codes[tables[which].symbol[states[which]]];
      return base + stream.read(bits);
    };
    for (let i = 0; i < count; i++) {
      const value = take(OFFSET);
      let length = take(MATCH);
      const before = take(LITERAL);
      if (i < count - 1) {
        for (const which of [LITERAL, MATCH, OFFSET]) {
          const t = tables[which];
          states[which] = t.base[states[which]] + stream.read(t.bits[states[which]]);
        }
      }
      if (stream.left < 0) bad("sequences cut short");

      // 3.1.1.5: offsets that are used again.
      const repeat = frame.repeat;
      let offset = value - 3;
      let which = 3;
      if (value <= 3) {
        which = value - 1 + (before === 0 ? 1 : 0);
        offset = which < 3 ? repeat[which] : repeat[0] - 1;
      }
      if (which > 1) repeat[2] = repeat[1];
      if (which > 0) { repeat[1] = repeat[0]; repeat[0] = offset; }

      literal(before);
      room(length);
      if (offset === 0 || offset > frame.n || offset > frame.window) bad("a copy from nowhere");
      for (; length > 0; length--, frame.n++) frame.out[frame.n] = frame.out[frame.n - offset];
    }
    if (stream.left !== 0) bad("sequences too long");
  } else if (at !== block.length) bad("something follows the sequences");
  literal(literals.length - taken);
}

// XXH64 with the seed 0, as the content checksum (3.1.1) is the low half of.
function xxh64(buf) {
  const [p1, p2, p3, p4, p5] = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n];
  const u = (v) => BigInt.asUintN(64, v);
  const rotate = (v, n) => u(v << BigInt(n)) | (v >> BigInt(64 - n));
  const round = (acc, v) => u(rotate(u(acc + v * p2), 31) * p1);
  let at = 0;
  let h;
  if (buf.length >= 32) {
    const acc = [u(p1 + p2), p2, 0n, u(-p1)];
    for (; buf.length - at >= 32; at += 32) for (let i = 0; i < 4; i++) acc[i] = round(acc[i], buf.readBigUInt64LE(at + 8 * i));
    h = u(rotate(acc[0], 1) + rotate(acc[1], 7) + rotate(acc[2], 12) + rotate(acc[3], 18));
    for (const a of acc) h = u((h ^ round(0n, a)) * p1 + p4);
  } else h = p5;
  h = u(h + BigInt(buf.length));
  for (; buf.length - at >= 8; at += 8) h = u(rotate(h ^ round(0n, buf.readBigUInt64LE(at)), 27) * p1 + p4);
  for (; buf.length - at >= 4; at += 4) h = u(rotate(h ^ u(BigInt(buf.readUInt32LE(at)) * p1), 23) * p2 + p3);
  for (; at < buf.length; at++) h = u(rotate(h ^ u(BigInt(buf[at]) * p5), 11) * p1);
  h = u((h ^ (h >> 33n)) * p2);
  h = u((h ^ (h >> 29n)) * p3);
  return h ^ (h >> 32n);
}
