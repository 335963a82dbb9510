import { assertEquals, assertThrows } from "@std/assert";
import {
  findPolicyProblems,
  type LimiterPolicy,
  resolvePolicies,
  resolvePolicy,
} from "../../lib/limiter/policy.ts";

const GOOD: LimiterPolicy = { key: "ip", limit: 5, window: "1s" };

Deno.test("resolvePolicy() fills in the defaults, freezes and leaves the original alone", () => {
  const policy = Object.freeze({ ...GOOD });
  const { key, ...rest } = resolvePolicy(policy);
  assertEquals(typeof key, "function");
  assertEquals(rest, {
    name: "default",
    keySpec: "ip",
    limit: 5,
    windowMs: 1000,
    algorithm: "fixed-window",
    burst: null,
    cost: 1,
    onMissingKey: "skip",
    exempt: null,
    dryRun: false,
    penalize: false,
    headers: ["x-rate-limit", "draft-11"],
    ipv6Prefix: 64,
  });
  assertThrows(() => Object.assign(resolvePolicy(policy), { limit: 6 }), TypeError);
  assertEquals(resolvePolicy({ ...GOOD, headers: false }).headers, []);
});

Deno.test("resolvePolicy() holds a place of a concurrency policy for an hour unless it says otherwise", () => {
  assertEquals(resolvePolicy({ key: "ip", limit: 5, algorithm: "concurrency" }).windowMs, 3_600_000);
});

Deno.test("findPolicyProblems() names each bad option and what is accepted", () => {
  const bad: [Record<string, unknown>, string, string][] = [
    [{ key: "apid" }, "key", 'received "apid", expected "ip", "path"'],
    [{ limit: -1 }, "limit", "received -1, expected a whole number from 0 to 1000000000, or a function"],
    [{ limit: 1.5 }, "limit", "received 1.5"],
    [{ limit: Infinity }, "limit", "received Infinity"],
    [{ window: undefined }, "window", "received undefined, expected a duration such as"],
    [{ window: "0s" }, "window", "from 1ms to 366d"],
    [{ window: 5e10 }, "window", "from 1ms to 366d"],
    [{ algorithm: "leaky" }, "algorithm", '"sliding-window"'],
    [{ burst: 5 }, "burst", 'only the algorithm "token-bucket" has a burst'],
    [{ algorithm: "token-bucket", burst: 0 }, "burst", "received 0, expected a whole number from 1"],
    [{ cost: "1" }, "cost", 'received "1"'],
    [{ onMissingKey: "ignore" }, "onMissingKey", '"skip", "reject", "ip"'],
    [{ exempt: true }, "exempt", "expected a function"],
    [{ dryRun: 1 }, "dryRun", "true or false"],
    [{ penalize: "yes" }, "penalize", "true or false"],
    [{ headers: ["draft-3"] }, "headers", "false or an array of"],
    [{ headers: ["draft-6", "draft-7"] }, "headers", "choose one"],
    [{ ipv6Prefix: 129 }, "ipv6Prefix", "from 1 to 128"],
    [{ name: "naïve" }, "name", "printable ASCII"],
    [{ name: "" }, "name", "printable ASCII"],
  ];
  for (const [change, option, message] of bad) {
    const problems = findPolicyProblems({ ...GOOD, ...change });
    assertEquals(problems.map((problem) => problem.option), [option], JSON.stringify(change));
    assertEquals(problems[0]!.message.includes(message), true, problems[0]!.message);
  }
  for (const none of [null, 5, "ip", []]) assertEquals(findPolicyProblems(none).length, 1);
});

Deno.test("resolvePolicy() tells all problems at once", () => {
  assertThrows(
    () => resolvePolicy({ ...GOOD, limit: -1, cost: -2 }),
    TypeError,
    "limit: received -1, expected a whole number from 0 to 1000000000, or a function; cost: received -2",
  );
});

Deno.test("resolvePolicies() names by position and refuses two of one name", () => {
  assertEquals(resolvePolicies([GOOD, GOOD, resolvePolicy(GOOD, 2)]).map(({ name }) => name), [
    "default",
    "default-2",
    "default-3",
  ]);
  assertThrows(
    () => resolvePolicies([{ ...GOOD, name: "a" }, { ...GOOD, name: "a" }]),
    TypeError,
    'the name "a"',
  );
});
