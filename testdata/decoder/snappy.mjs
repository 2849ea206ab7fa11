// The Snappy block format, as in google/snappy's format_description.txt: no
// framing, and none of the extensions of S2.

import { Malformed } from "./malformed.mjs";

// decodeSnappy gives the `want` bytes that a block holds. Anything else that the
// block may hold is Malformed, and never more than `want` bytes are produced.
export function decodeSnappy(src, want) {
  let at = 0;
  const byte = () => {
    if (at >= src.length) throw new Malformed("snappy: cut short");
    return src[at++];
  };

  let declared = 0;
  for (let shift = 0; ; shift += 7) {
    if (shift > 28) throw new Malformed("snappy: length of more than 32 bits");
    const b = byte();
    declared += (b & 0x7f) * 2 ** shift;
    if (b < 0x80) break;
  }
  if (declared !== want) throw new Malformed("snappy: another length");

  const out = Buffer.alloc(want);
  let n = 0;
  while (at < src.length) {
    const tag = byte();
    if ((tag & 3) === 0) { // a literal
      let length = (tag >> 2) + 1;
      if (length > 60) {
        const bytes = length - 60;
        length = 1;
        for (let i = 0; i < bytes; i++) length += byte() * 2 ** (8 * i);
      }
      if (length > want - n || length > src.length - at) throw new Malformed("snappy: literal too long");
      src.copy(out, n, at, at + length);
      at += length;
      n += length;
      continue;
    }
    let length, offset;
    if ((tag & 3) === 1) {
      length = ((tag >> 2) & 7) + 4;
      offset = ((tag >> 5) << 8) + byte();
    } else {
      length = (tag >> 2) + 1;
      offset = byte() + byte() * 2 ** 8;
      if ((tag & 3) === 3) offset += byte() * 2 ** 16 + byte() * 2 ** 24;
    }
    if (offset === 0 || offset > n) throw new Malformed("snappy: copy from nowhere"); // 0 is a repeat in S2
    if (length > want - n) throw new Malformed("snappy: copy too long");
    for (; length > 0; length--, n++) out[n] = out[n - offset];
  }
  if (n !== want) throw new Malformed("snappy: too little");
  return out;
}
