import { assertEquals, assertThrows } from "@std/assert";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { findProblems } from "../../../lib/core/options.ts";
import { POLICY, resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";

const resolvePolicy = (policy: LimiterPolicy) => resolvePolicies(policy)[0]!;
const GOOD: LimiterPolicy = { key: "ip", limit: 5, window: "1s" };

Deno.test("resolvePolicy() fills in the defaults, freezes and leaves the original alone", () => {
  const policy = Object.freeze({ ...GOOD });
  const { key, ...rest } = resolvePolicy(policy);
  assertEquals(typeof key, "function");
  assertEquals(rest, {
    name: "default",
    scope: "",
    keySpec: "ip",
    limit: 5,
    windowMs: 1000,
    algorithm: "fixed-window",
    burst: null,
    cost: 1,
    charge: null,
    onMissingKey: "skip",
    exempt: null,
    exemptNetworks: null,
    dryRun: false,
    penalize: false,
    keepAlive: false,
    headers: ["x-rate-limit", "draft-11"],
    ipv6Prefix: 64,
    maxKeys: 100_000,
    store: null,
    response: null,
  });
  assertThrows(() => Object.assign(resolvePolicy(policy), { limit: 6 }), TypeError);
  assertEquals(resolvePolicy({ ...GOOD, headers: false }).headers, []);
});

Deno.test("resolvePolicy() holds a place of a concurrency policy for an hour unless it says otherwise", () => {
  assertEquals(resolvePolicy({ key: "ip", limit: 5, algorithm: "concurrency" }).windowMs, 3_600_000);
});

Deno.test("POLICY names the option, and what is no policy at all", () => {
  const bad: [Record<string, unknown>, string, string][] = [
    [{ limit: undefined }, "limit", "is required: a whole number from 0 to 1000000000, or a function"],
    [
      { limit: Infinity },
      "limit",
      "must be a whole number from 0 to 1000000000, or a function, received Infinity",
    ],
    [{ window: undefined }, "window", "is required"],
    [{ window: 5e10 }, "window", "must be from 1ms to 366 days long, received 50000000000"],
    [{ name: "" }, "name", 'must be a name of at most 64 printable ASCII characters, received ""'],
  ];
  for (const [change, path, message] of bad) {
    assertEquals(findProblems(POLICY, { ...GOOD, ...change }), [{ path, message }]);
  }
  for (const none of [null, 5, "ip", []]) assertEquals(findProblems(POLICY, none).length, 1);
});

Deno.test("resolvePolicy() exempts the networks of a list, however an address is written", () => {
  const { exempt, exemptNetworks } = resolvePolicy({ ...GOOD, exempt: ["10.0.0.0/8", "::1"] });
  const source = { request: new Request("http://h/"), target: "/", host: "h" };
  const exempts = (clientIp: string): boolean => exempt!({ ...source, clientIp });
  assertEquals(["10.1.2.3", "::ffff:10.1.2.3", "::1"].map(exempts), [true, true, true]);
  assertEquals(["11.0.0.1", "::2", ""].map(exempts), [false, false, false]);
  assertEquals(exemptNetworks, ["10.0.0.0/8", "::1"]);
});

Deno.test("resolvePolicy() tells all problems at once", () => {
  assertThrows(
    () => resolvePolicy({ ...GOOD, limit: -1, cost: -2 }),
    TypeError,
    '"limit" must be a whole number from 0 to 1000000000, or a function, received -1; "cost" must be',
  );
});

Deno.test("resolvePolicies() names by position and refuses two of one name", () => {
  assertEquals(
    resolvePolicies([GOOD, GOOD, { ...resolvePolicy(GOOD), name: "third" }]).map(({ name }) => name),
    [
      "default",
      "default-2",
      "third",
    ],
  );
  assertEquals(resolvePolicies([GOOD, GOOD], "api").map(({ name, scope }) => [name, scope]), [
    ["api", "api"],
    ["api-2", "api"],
  ]);
  assertThrows(
    () => resolvePolicies([{ ...GOOD, name: "a" }, { ...GOOD, name: "a" }]),
    TypeError,
    'the name "a"',
  );
});
