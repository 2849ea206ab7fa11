// Argon2id (RFC 9106, version 0x13) and BLAKE2b (RFC 7693), which Node.js 20
// lacks. On BigInt: fit for checking an example, slow at real costs.

const u = (v) => BigInt.asUintN(64, v);
const rotate = (v, n) => (v >> n) | u(v << (64n - n));
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };

const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
].map((row) => [...row].map((c) => parseInt(c, 16)));
const QUARTERS = [ // what one round mixes: four columns, four diagonals
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

// blake2b without a key, of `length` ≤ 64 bytes.
export function blake2b(data, length) {
  const h = [...IV];
  h[0] ^= 0x01010000n ^ BigInt(length);
  const blocks = Math.max(1, Math.ceil(data.length / 128));
  for (let i = 0; i < blocks; i++) {
    const block = Buffer.alloc(128);
    data.copy(block, 0, i * 128);
    const m = [];
    for (let j = 0; j < 16; j++) m.push(block.readBigUInt64LE(8 * j));
    const last = i === blocks - 1;
    const v = [...h, ...IV];
    v[12] ^= BigInt(last ? data.length : (i + 1) * 128);
    if (last) v[14] ^= 2n ** 64n - 1n;
    for (let r = 0; r < 12; r++) {
      const s = SIGMA[r % 10];
      QUARTERS.forEach(([a, b, c, d], q) => {
        v[a] = u(v[a] + v[b] + m[s[2 * q]]);
        v[d] = rotate(v[d] ^ v[a], 32n);
        v[c] = u(v[c] + v[d]);
        v[b] = rotate(v[b] ^ v[c], 24n);
        v[a] = u(v[a] + v[b] + m[s[2 * q + 1]]);
        v[d] = rotate(v[d] ^ v[a], 16n);
        v[c] = u(v[c] + v[d]);
        v[b] = rotate(v[b] ^ v[c], 63n);
      });
    }
    for (let j = 0; j < 8; j++) h[j] ^= v[j] ^ v[j + 8];
  }
  const out = Buffer.alloc(64);
  h.forEach((w, i) => out.writeBigUInt64LE(w, 8 * i));
  return out.subarray(0, length);
}

// RFC 9106, section 3.3: the hash of variable length.
function longHash(data, length) {
  const input = Buffer.concat([u32(length), data]);
  if (length <= 64) return blake2b(input, length);
  const parts = [];
  let v = blake2b(input, 64);
  let left = length;
  for (; left > 64; left -= 32) {
    parts.push(v.subarray(0, 32));
    v = blake2b(v, left - 32 > 64 ? 64 : left - 32);
  }
  parts.push(v);
  return Buffer.concat(parts);
}

// Section 3.5: the compression function, on blocks of 128 words.
function compress(x, y) {
  const r = x.map((w, i) => w ^ y[i]);
  const z = r.slice();
  const low = 0xffffffffn;
  const mul = (a, b) => u(a + b + 2n * (a & low) * (b & low));
  const round = (at) => {
    for (const q of QUARTERS) {
      const [a, b, c, d] = q.map((i) => at(i));
      z[a] = mul(z[a], z[b]);
      z[d] = rotate(z[d] ^ z[a], 32n);
      z[c] = mul(z[c], z[d]);
      z[b] = rotate(z[b] ^ z[c], 24n);
      z[a] = mul(z[a], z[b]);
      z[d] = rotate(z[d] ^ z[a], 16n);
      z[c] = mul(z[c], z[d]);
      z[b] = rotate(z[b] ^ z[c], 63n);
    }
  };
  for (let i = 0; i < 8; i++) round((j) => 16 * i + j); // rows
  for (let i = 0; i < 8; i++) round((j) => 2 * i + 16 * (j >> 1) + (j & 1)); // columns
  return z.map((w, i) => w ^ r[i]);
}

const words = (bytes) => { const w = new BigUint64Array(128); for (let i = 0; i < 128; i++) w[i] = bytes.readBigUInt64LE(8 * i); return w; };
const bytesOf = (w) => { const b = Buffer.alloc(1024); w.forEach((v, i) => b.writeBigUInt64LE(v, 8 * i)); return b; };

// argon2id of a password and a salt: m KiB, t passes, p lanes.
export function argon2id({ password, salt, m, t, p, length = 32, secret = Buffer.alloc(0), data = Buffer.alloc(0) }) {
  const fields = [password, salt, secret, data].flatMap((x) => [u32(x.length), x]);
  const h0 = blake2b(Buffer.concat([...[p, length, m, t, 0x13, 2].map(u32), ...fields]), 64);
  const segment = Math.floor(m / (4 * p));
  const lane = 4 * segment;
  const memory = [];
  for (let l = 0; l < p; l++) {
    memory.push(new Array(lane));
    for (let i = 0; i < 2; i++) memory[l][i] = words(longHash(Buffer.concat([h0, u32(i), u32(l)]), 1024));
  }

  const zero = new BigUint64Array(128);
  for (let pass = 0; pass < t; pass++) for (let slice = 0; slice < 4; slice++) for (let l = 0; l < p; l++) {
    const independent = pass === 0 && slice < 2;
    let addresses;
    const first = pass === 0 && slice === 0 ? 2 : 0;
    for (let i = first; i < segment; i++) {
      const at = slice * segment + i;
      const before = memory[l][(at + lane - 1) % lane];
      let pseudo = before[0];
      if (independent) {
        if (i === first || i % 128 === 0) {
          const input = new BigUint64Array(128);
          [pass, l, slice, lane * p, t, 2, Math.floor(i / 128) + 1].forEach((v, j) => { input[j] = BigInt(v); });
          addresses = compress(zero, compress(zero, input));
        }
        pseudo = addresses[i % 128];
      }
      const j1 = pseudo & 0xffffffffn;
      const other = pass === 0 && slice === 0 ? l : Number(pseudo >> 32n) % p;

      // Section 3.4.1.2: the blocks that may be referred to, and the one that is.
      let area = pass === 0 ? slice * segment : lane - segment;
      if (other === l) area += i - 1;
      else if (i === 0) area -= 1;
      const back = Number((BigInt(area) * ((j1 * j1) >> 32n)) >> 32n);
      const start = pass === 0 ? 0 : (slice + 1) * segment;
      const made = compress(before, memory[other][(start + area - 1 - back) % lane]);
      memory[l][at] = pass === 0 ? made : made.map((w, k) => w ^ memory[l][at][k]);
    }
  }
  const last = memory.map((blocks) => blocks[lane - 1]).reduce((a, b) => a.map((w, i) => w ^ b[i]));
  return longHash(bytesOf(last), length);
}
