import { assertEquals } from "@std/assert";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { LEDGER_BYTES, PermitLedger } from "../../../lib/limiter/permits.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("PermitLedger says what is held, so that another process can give it back", () => {
  const clock = new FakeClock();
  const policy = { key: "header:k", algorithm: "concurrency", limit: 3, window: "1m" } as const;
  using limiter = new RateLimiter(policy, { clock, random: () => 0.5 });
  const ledger = new PermitLedger(new ArrayBuffer(LEDGER_BYTES * 2), 1);
  limiter.table.permits.keep(ledger);
  const source = {
    request: new Request("http://h/", { headers: { k: "x" } }),
    clientIp: "",
    target: "/",
    host: "h",
  };
  const check = () => limiter.check(source);
  const decisions = [check(), check(), check()];
  assertEquals(check().kind, "limited");
  const [first] = decisions;
  if (first?.kind === "allowed") first.lease?.release();
  // Two are held still, which are written down whatever was given back before them.
  limiter.table.permits.giveBackAll(ledger);
  assertEquals([check(), check(), check(), check()].map(({ kind }) => kind), [
    "allowed",
    "allowed",
    "allowed",
    "limited",
  ]);
});

Deno.test("PermitLedger writes down 4,096 permits, and writes nowhere else for more", () => {
  const memory = new ArrayBuffer(LEDGER_BYTES * 2);
  const ledger = new PermitLedger(memory);
  for (let i = 0; i < 5000; i++) {
    ledger.count = i + 1;
    ledger.set(i, { low: i, high: 1, cost: 1, windowUs: 1, expiresAt: 1 });
  }
  assertEquals(ledger.take().map(({ low }) => low), Array.from({ length: 4096 }, (_, i) => i));
  assertEquals(new Uint8Array(memory, LEDGER_BYTES).some((byte) => byte !== 0), false);
});
