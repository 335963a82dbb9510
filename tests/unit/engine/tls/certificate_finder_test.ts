import { assertEquals } from "@std/assert";
import type { SecureContext } from "node:tls";
import type { CertificateLookup } from "../../../../lib/config/listen_tls.ts";
import type { Certificate } from "../../../../lib/engine/certificate.ts";
import { CertificateFinder } from "../../../../lib/engine/tls/certificate_store.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { testCa } from "../../../support/test_ca.ts";

const pair = await (await testCa()).issue({ names: ["a.example"] });

/** A finder whose contexts are numbered. */
class TestFinder {
  readonly clock = new FakeClock();
  readonly asked: string[] = [];
  readonly errors: unknown[] = [];
  readonly finder: CertificateFinder;
  #made = 0;

  constructor(lookup: CertificateLookup) {
    this.finder = new CertificateFinder({
      clock: this.clock,
      lookup: (name) => {
        this.asked.push(name);
        return lookup(name);
      },
      makeContext: (_: Certificate) => ++this.#made as unknown as SecureContext,
      onError: (error) => this.errors.push((error as Error).message),
    });
  }

  async find(name: string): Promise<unknown> {
    return await this.finder.find(name);
  }
}

Deno.test("CertificateFinder keeps what was found, and uses it on while it is looked up again", async () => {
  let result: typeof pair | null | Error = pair;
  const test = new TestFinder(() => {
    if (result instanceof Error) throw result;
    return result;
  });
  assertEquals(await test.find("a.example"), 1);
  await test.clock.advance(299_000);
  assertEquals(await test.find("a.example"), 1);
  assertEquals(test.asked.length, 1);
  await test.clock.advance(2_000);
  assertEquals(test.finder.find("a.example"), 1 as unknown as SecureContext);
  await test.clock.advance(0);
  assertEquals(await test.find("a.example"), 2);
  assertEquals(test.asked.length, 2);
  result = new Error("boom");
  await test.clock.advance(301_000);
  assertEquals(await test.find("a.example"), 2);
  await test.clock.advance(0);
  assertEquals(await test.find("a.example"), 2);
  assertEquals([test.asked.length, test.errors], [3, ["boom"]]);
  result = null;
  await test.clock.advance(11_000);
  assertEquals(await test.find("a.example"), 2);
  await test.clock.advance(0);
  assertEquals(await test.find("a.example"), null);
});

Deno.test("CertificateFinder believes for ten seconds that a name has none", async () => {
  const test = new TestFinder(() => null);
  assertEquals(await test.find("a.example"), null);
  assertEquals(test.finder.find("a.example"), null);
  await test.clock.advance(9_999);
  assertEquals(test.finder.find("a.example"), null);
  assertEquals(test.asked.length, 1);
  await test.clock.advance(2);
  assertEquals(await test.find("a.example"), null);
  assertEquals(test.asked.length, 2);
});

Deno.test("CertificateFinder gives up a function that does not settle, and tells of that once in ten seconds", async () => {
  const test = new TestFinder(() => new Promise(() => {}));
  const found = [test.find("a.example"), test.find("b.example")];
  await test.clock.advance(10_000);
  assertEquals(await Promise.all(found), [null, null]);
  assertEquals(test.errors, ["a.example was not found within 10000 ms"]);
});

Deno.test("CertificateFinder bounds what it remembers, and made-up names displace none in use", async () => {
  const test = new TestFinder((name) => name === "a.example" ? pair : null);
  assertEquals(await test.find("a.example"), 1);
  for (let i = 0; i < 3000; i++) assertEquals(await test.find(`x${i}.example`), null);
  assertEquals(test.finder.find("a.example"), 1 as unknown as SecureContext);
  const before = test.asked.length;
  assertEquals(await test.find("x0.example"), null);
  assertEquals(test.asked.length, before + 1);
});

Deno.test("CertificateFinder looks up no more than 64 names at a time, and none that is no name", async () => {
  const gate = Promise.withResolvers<null>();
  const test = new TestFinder(() => gate.promise);
  const found = Array.from({ length: 100 }, (_, i) => test.find(`x${i}.example`));
  assertEquals(test.asked.length, 64);
  gate.resolve(null);
  assertEquals(new Set(await Promise.all(found)), new Set([null]));
  for (const name of ["", "a b", "a/../b", "ä.example", "a".repeat(300)]) {
    assertEquals(test.finder.find(name), null);
  }
  assertEquals(test.asked.length, 64);
});
