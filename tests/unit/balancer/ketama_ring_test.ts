import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { crc32, KetamaRing, type RingNode } from "../../../lib/balancer/consistent_hash.ts";
import { parseAddress } from "../../../lib/upstream/peer.ts";

function nodes(addresses: readonly string[], weight = 1): RingNode[] {
  return addresses.map((text) => ({ address: parseAddress(text)!.address, weight }));
}

function owner(addresses: readonly string[], ring: KetamaRing, key: string): string {
  return addresses[ring.nodeAt(ring.find(key))]!;
}

/** Ketama by its definition, point by point and in search of the nearest, with no table and no sorting. */
function naiveOwner(list: readonly RingNode[], key: string): number {
  const hash = crc32(key);
  let best = -1;
  let nearest = Infinity;
  list.forEach(({ address, weight }, node) => {
    if (address.kind !== "tcp") return;
    const base = [...new TextEncoder().encode(`${address.hostname}\0${address.port}`)];
    let previous = 0;
    for (let i = 0; i < weight * 160; i++) {
      const bytes = [0, 8, 16, 24].map((shift) => (previous >>> shift) & 0xff);
      previous = crc32(Uint8Array.from([...base, ...bytes]));
      const distance = previous >= hash ? previous - hash : previous - hash + 2 ** 32;
      if (distance >= nearest) continue;
      nearest = distance;
      best = node;
    }
  });
  return best;
}

Deno.test("crc32() gives the check values of the standard", () => {
  assertEquals(crc32(""), 0);
  assertEquals(crc32("123456789"), 0xcbf43926);
  assertEquals(crc32("The quick brown fox jumps over the lazy dog"), 0x414fa339);
});

Deno.test("crc32() of a text is that of its UTF-8 bytes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assertEquals(crc32(text), crc32(new TextEncoder().encode(text)));
    }),
    { seed: 32, numRuns: 200 },
  );
});

Deno.test("KetamaRing.find() owns keys as pingora-ketama does", () => {
  const addresses = ["127.0.0.1:7777", "127.0.0.1:7778"];
  const ring = new KetamaRing(nodes(addresses));
  const expected = {
    "/some/path": "127.0.0.1:7778",
    "/some/longer/path": "127.0.0.1:7777",
    "/sad/zaidoon": "127.0.0.1:7778",
    "/g": "127.0.0.1:7777",
  };
  for (const [key, address] of Object.entries(expected)) {
    assertEquals(owner(addresses, ring, key), address, key);
  }
});

Deno.test("KetamaRing.find() owns keys as nginx does (hash $request_uri consistent, 9 servers of weight 100)", () => {
  // What an nginx of that configuration chose: test data of pingora-ketama, sample-nginx-upstream.csv.
  const chosen: [string, number][] = [
    ["/81fa1d251d605775d647b5b55565e71526d4cef6", 7],
    ["/2fec328e6ccdda6a7edf329f9f780e546ea183b4", 5],
    ["/19fb835d90883a6263ec4279c6da184e3f1a79b2", 4],
    ["/da7a88e542f7aaddc074f988164b9df7e5f7fea6", 4],
    ["/8f87cfd8005306643b6528b3d4125cf005139a7e", 5],
    ["/26d2769eab098458bc3e4e641a4b7d8abffd0aea", 6],
    ["/aa5b5323980f2d3e21246212ebd820c3949c1e88", 7],
    ["/d9c4bc3cc4517c629e8f4c911c2fd8baf260ae65", 1],
    ["/28c1c069a2904bb3b3e0f9731b1ff8de9ab7a76d", 4],
    ["/fe5199bdfeee5cd431ae7e9f77f178164f9995a0", 9],
    ["/43992eee187920c5e8695332f71ca6e23ef6ac4b", 3],
    ["/38528aab753a6f32de86b5a7acdbb0c885137a81", 9],
    ["/77766138aaf0c016bdd1f6b996177fc8ca1d2204", 8],
    ["/860c86b94e04f2648fb164c87fd6166707fd08ff", 6],
    ["/668fd6d99bfb50b85b0928a8915761be2ca19089", 2],
    ["/fefbfb22035c938b44d305dbb71b11d531257af8", 2],
    ["/fc61e21e21c6c0a9e03807a2cad7c1e79a104786", 1],
    ["/8278c52b97c1e805c1c7c1a62123ca0a87e2ea2a", 8],
  ];
  const addresses = Array.from({ length: 9 }, (_, i) => `10.0.0.${i + 1}:443`);
  const ring = new KetamaRing(nodes(addresses, 100));
  for (const [key, server] of chosen) assertEquals(owner(addresses, ring, key), `10.0.0.${server}:443`, key);
});

Deno.test("KetamaRing.find() agrees with the definition for any servers, weights and keys", () => {
  const node = fc.record({
    address: fc.record({
      kind: fc.constant("tcp" as const),
      hostname: fc.ipV4(),
      port: fc.integer({ min: 1, max: 65535 }),
    }),
    weight: fc.integer({ min: 1, max: 3 }),
  });
  const list = fc.uniqueArray(node, {
    minLength: 1,
    maxLength: 5,
    selector: ({ address }) => address.hostname,
  });
  fc.assert(
    fc.property(list, fc.array(fc.string(), { minLength: 1, maxLength: 10 }), (list, keys) => {
      const ring = new KetamaRing(list);
      for (const key of keys) assertEquals(ring.nodeAt(ring.find(key)), naiveOwner(list, key));
    }),
    { seed: 160, numRuns: 8 },
  );
});

Deno.test("KetamaRing moves only the keys of a node that goes, and about its share when one comes", () => {
  const addresses = Array.from({ length: 10 }, (_, i) => `10.0.0.${i + 1}:80`);
  const all = new KetamaRing(nodes(addresses));
  const fewer = new KetamaRing(nodes(addresses.slice(0, 9)));
  let moved = 0;
  for (let i = 0; i < 10_000; i++) {
    const before = owner(addresses, all, `key ${i}`);
    const after = owner(addresses, fewer, `key ${i}`);
    if (before === after) continue;
    assertEquals(before, "10.0.0.10:80");
    moved++;
  }
  assertEquals(moved > 700 && moved < 1300, true, String(moved));
});

Deno.test("KetamaRing is bounded whatever the weights, and keeps their proportions", () => {
  const addresses = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
  const weights = [65535, 32768, 1];
  const ring = new KetamaRing(nodes(addresses).map((node, i) => ({ ...node, weight: weights[i]! })));
  assertEquals(ring.length <= 1 << 20, true, String(ring.length));
  const points = [0, 0, 0];
  for (let point = 0; point < ring.length; point++) points[ring.nodeAt(point)]!++;
  const ratio = points[0]! / points[1]!;
  assertEquals(ratio > 1.98 && ratio < 2.02 && points[2]! >= 1, true, String(points));
});

Deno.test("KetamaRing at its bound moves about as many keys as a node that comes gets", () => {
  const addresses = Array.from({ length: 5 }, (_, i) => `10.0.0.${i + 1}:80`);
  const all = new KetamaRing(nodes(addresses, 65535));
  const fewer = new KetamaRing(nodes(addresses.slice(0, 4), 65535));
  let moved = 0;
  for (let i = 0; i < 10_000; i++) {
    if (owner(addresses, all, `key ${i}`) !== owner(addresses, fewer, `key ${i}`)) moved++;
  }
  assertEquals(moved > 1500 && moved < 4000, true, String(moved));
});

Deno.test("KetamaRing knows IPv6 addresses, unix sockets and no node at all", () => {
  const addresses = ["[::1]:80", "[::2]:80", "unix:/run/a.sock"];
  const ring = new KetamaRing(nodes(addresses));
  assertEquals(
    new Set(Array.from({ length: 100 }, (_, i) => owner(addresses, ring, `${i}`))),
    new Set(addresses),
  );
  assertEquals(new KetamaRing([]).find("key"), -1);
});
