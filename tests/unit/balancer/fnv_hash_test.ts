import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { fnv1a, fnv1aAgain, type Hash64, remainder } from "../../../lib/balancer/fnv_hash.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";

function big({ high, low }: Hash64): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

/** FNV-1a as its authors write it down. */
function naive(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash;
}

Deno.test("fnv1a() gives the published values", () => {
  assertEquals(big(fnv1a("")), 0xcbf29ce484222325n);
  assertEquals(big(fnv1a("a")), 0xaf63dc4c8601ec8cn);
  assertEquals(big(fnv1a("foobar")), 0x85944171f73967e8n);
});

Deno.test("fnv1a() agrees with the definition for any text, bytes and divisor", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 1, max: 2 ** 26 }), (text, divisor) => {
      const bytes = new TextEncoder().encode(text);
      const hash = naive(bytes);
      assertEquals([big(fnv1a(text)), big(fnv1a(bytes))], [hash, hash]);
      assertEquals(BigInt(remainder(fnv1a(text), divisor)), hash % BigInt(divisor));
      const again = naive(new Uint8Array(new BigUint64Array([hash]).buffer));
      assertEquals(big(fnv1aAgain(fnv1a(text))), again);
    }),
    { seed: 64, numRuns: 300 },
  );
});

Deno.test("FnvHash.pick() takes the place that the remainder names, by weight", () => {
  using balancer = LoadBalancer.from([{ address: "10.0.0.1:80", weight: 3 }, "10.0.0.2:80"], {
    balance: "fnv-hash",
  });
  for (let i = 0; i < 200; i++) {
    const place = Number(naive(new TextEncoder().encode(`key ${i}`)) % 4n);
    assertEquals(balancer.select(`key ${i}`)!.id, place < 3 ? "10.0.0.1:80" : "10.0.0.2:80");
  }
});

Deno.test("FnvHash.pick() moves only keys of a server that is down, to all others", () => {
  using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"], {
    balance: "fnv-hash",
  });
  const keys = Array.from({ length: 400 }, (_, i) => `key ${i}`);
  const before = keys.map((key) => balancer.select(key)!.id);
  balancer.pool.servers[1]!.setHealth("down");
  const after = keys.map((key) => balancer.select(key)!.id);
  before.forEach((id, i) => assertEquals(after[i] === id, id !== "10.0.0.2:80"));
  assertEquals(new Set(after.filter((_, i) => before[i] === "10.0.0.2:80")).size, 3);
  for (const server of balancer.pool.servers) server.setHealth(server.id === "10.0.0.4:80" ? "up" : "down");
  assert(keys.every((key) => balancer.select(key)?.id === "10.0.0.4:80"));
});
