import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { fingerprintKey } from "../../../lib/limiter/fingerprint.ts";
import { SEED } from "./arrivals.ts";

/** HalfSipHash-c-d on bytes with 64 bits of result, as the paper's reference has it, with no thought for speed. */
function halfSipHash(
  message: Uint8Array,
  k0: number,
  k1: number,
  c: number,
  d: number,
  finish = 0xee,
): [number, number] {
  const v = [k0, k1 ^ 0xee, 0x6c796765 ^ k0, 0x74656462 ^ k1];
  const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
  const rounds = (count: number): void => {
    for (let i = 0; i < count; i++) {
      v[0] = (v[0]! + v[1]!) | 0;
      v[1] = rotate(v[1]!, 5) ^ v[0];
      v[0] = rotate(v[0], 16);
      v[2] = (v[2]! + v[3]!) | 0;
      v[3] = rotate(v[3]!, 8) ^ v[2];
      v[0] = (v[0] + v[3]) | 0;
      v[3] = rotate(v[3], 7) ^ v[0];
      v[2] = (v[2] + v[1]) | 0;
      v[1] = rotate(v[1], 13) ^ v[2];
      v[2] = rotate(v[2], 16);
    }
  };
  const padded = new Uint8Array(Math.floor(message.length / 4) * 4 + 4);
  padded.set(message);
  padded[padded.length - 1] = message.length;
  const view = new DataView(padded.buffer);
  for (let i = 0; i < padded.length; i += 4) {
    const word = view.getInt32(i, true);
    v[3]! ^= word;
    rounds(c);
    v[0]! ^= word;
  }
  v[2]! ^= finish;
  rounds(d);
  const low = v[1]! ^ v[3]!;
  v[1]! ^= 0xdd;
  rounds(d);
  return [low, v[1]! ^ v[3]!];
}

function fingerprint(key: string, low = 1, high = 2): [number, number] {
  const into = { low: 0, high: 0 };
  fingerprintKey(key, low, high, into);
  return [into.low, into.high];
}

Deno.test("the test's own HalfSipHash gives the first vectors of the reference", () => {
  // HalfSipHash-2-4, 64 bits, key 00 01 ... 07, messages "" and 00.
  const bytes = (pair: [number, number]): string => {
    const view = new DataView(new ArrayBuffer(8));
    pair.forEach((half, i) => view.setInt32(4 * i, half, true));
    return new Uint8Array(view.buffer).toHex();
  };
  assertEquals(bytes(halfSipHash(new Uint8Array(), 0x03020100, 0x07060504, 2, 4)), "218d1f59b9b83cc8");
  assertEquals(bytes(halfSipHash(new Uint8Array(1), 0x03020100, 0x07060504, 2, 4)), "be552412f8387315");
});

Deno.test("fingerprintKey() is HalfSipHash-1-3 of the text in Latin-1", () => {
  const latin1 = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 40,
  });
  fc.assert(
    fc.property(latin1, fc.integer(), fc.integer(), (key, k0, k1) => {
      const bytes = Uint8Array.from(key, (character) => character.charCodeAt(0));
      assertEquals(fingerprint(key, k0, k1), halfSipHash(bytes, k0, k1, 1, 3));
    }),
    SEED,
  );
});

Deno.test("fingerprintKey() hashes text beyond Latin-1 as UTF-16, apart from the same bytes in Latin-1", () => {
  const key = "ключ€";
  const bytes = new Uint8Array(Uint16Array.from(key, (character) => character.charCodeAt(0)).buffer);
  assertEquals(fingerprint(key), halfSipHash(bytes, 1, 2, 1, 3, 0xed));
  assertNotEquals(fingerprint("\u0201"), fingerprint("\x01\x02"));
});

Deno.test("fingerprintKey() spreads keys that differ in one character over all bits", () => {
  const seen = new Set<string>();
  const ones = new Array<number>(64).fill(0);
  const count = 20_000;
  for (let i = 0; i < count; i++) {
    const [low, high] = fingerprint(`client${i}`);
    seen.add(`${low},${high}`);
    for (let bit = 0; bit < 32; bit++) {
      ones[bit]! += (low >>> bit) & 1;
      ones[32 + bit]! += (high >>> bit) & 1;
    }
  }
  assertEquals(seen.size, count);
  // Five standard deviations of a fair coin.
  for (const sum of ones) assert(Math.abs(sum - count / 2) < 5 * Math.sqrt(count / 4));
});
