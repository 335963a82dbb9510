import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FilterError } from "../../../lib/core/errors.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { LimitHeaders, limitProblem } from "../../../lib/limiter/limit_headers.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { AlgorithmName, HeaderStyle, LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { SEED } from "./arrivals.ts";

const REQUEST: KeySource = {
  request: new Request("http://a.example/"),
  clientIp: "192.0.2.1",
  target: "/",
  host: "a.example",
};

/** The fields of the last of several answers, in order. */
function fieldsAfter(
  requests: number,
  policies: LimiterPolicy | LimiterPolicy[],
  upstream: Record<string, string> = {},
  advanceMs = 0,
): string[][] {
  const clock = new FakeClock();
  using limiter = new RateLimiter(policies, { clock, random: seededRandom(1), maxKeys: 10 });
  const writer = new LimitHeaders(limiter.policies);
  for (let i = 1; i < requests; i++) limiter.check(REQUEST);
  clock.tick(advanceMs);
  const fields = new HeaderFields(upstream);
  writer.apply(limiter.check(REQUEST), fields);
  return [...fields];
}

function policy(
  limit: number,
  window: string,
  headers: readonly HeaderStyle[],
  more: Partial<LimiterPolicy> = {},
): LimiterPolicy {
  return { key: "ip", limit, window, headers, ...more };
}

Deno.test("LimitHeaders writes the tutorial's fields on a refusal, after Retry-After, and draft 11 on every answer", () => {
  const tutorial: LimiterPolicy = { key: "ip", limit: 1, window: "1s" };
  const draft = [["ratelimit-policy", '"default";q=1;w=1'], ["ratelimit", '"default";r=0;t=1']];
  assertEquals(fieldsAfter(1, tutorial), draft);
  assertEquals(fieldsAfter(2, tutorial), [
    ["retry-after", "1"],
    ["x-rate-limit-limit", "1"],
    ["x-rate-limit-remaining", "0"],
    ["x-rate-limit-reset", "1"],
    ...draft,
  ]);
});

Deno.test("LimitHeaders rounds seconds up and never says to come back at once", () => {
  const [retryAfter] = fieldsAfter(2, policy(1, "10s", []), {}, 8500);
  assertEquals(retryAfter, ["retry-after", "2"]);
  assertEquals(fieldsAfter(2, policy(1, "10s", []), {}, 9999), [["retry-after", "1"]]);
});

Deno.test("LimitHeaders writes nothing about requests that are not limited, nor for policies on a dry run", () => {
  const limiter = new LimitHeaders([]);
  const fields = new HeaderFields();
  limiter.apply({ kind: "unlimited" }, fields);
  assertEquals([...fields], []);
  assertEquals(fieldsAfter(5, policy(1, "1s", ["draft-11"], { dryRun: true })), []);
});

Deno.test("LimitHeaders writes draft 7, draft 6 and the old fields as each is defined", () => {
  assertEquals(fieldsAfter(83, policy(100, "60s", ["draft-7"]), {}, 18_000), [
    ["ratelimit", "limit=100, remaining=17, reset=42"],
    ["ratelimit-policy", "100;w=60"],
  ]);
  assertEquals(fieldsAfter(83, policy(100, "60s", ["draft-6"]), {}, 18_000), [
    ["ratelimit-limit", "100"],
    ["ratelimit-remaining", "17"],
    ["ratelimit-reset", "42"],
    ["ratelimit-policy", "100;w=60"],
  ]);
  assertEquals(fieldsAfter(83, policy(100, "60s", ["x-ratelimit"]), {}, 18_000), [
    ["x-ratelimit-limit", "100"],
    ["x-ratelimit-remaining", "17"],
    ["x-ratelimit-reset", "42"],
  ]);
});

Deno.test("LimitHeaders lists all policies of draft 11 and the remainder of the tightest", () => {
  const tiers = [
    policy(20, "1s", ["draft-11"], { name: "burst" }),
    policy(1000, "1h", ["draft-11"], { name: "hour" }),
    policy(5, "1s", [], { name: "hidden" }),
  ];
  assertEquals(fieldsAfter(1, tiers.slice(0, 2)), [
    ["ratelimit-policy", '"burst";q=20;w=1, "hour";q=1000;w=3600'],
    ["ratelimit", '"burst";r=19;t=1'],
  ]);
  assertEquals(fieldsAfter(1, tiers), []);
});

Deno.test("LimitHeaders leaves policies out that do not apply, and limits that depend on the key unless theirs is told", () => {
  const skipped = policy(5, "1s", ["draft-11"], { name: "skipped", key: "header:x" });
  const plan = policy(5, "1s", ["draft-11"], { name: "plan", limit: () => 2 });
  const wide = policy(900, "1s", ["draft-11"], { name: "wide" });
  assertEquals(fieldsAfter(1, [skipped, plan, wide])[0], [
    "ratelimit-policy",
    '"plan";q=2;w=1, "wide";q=900;w=1',
  ]);
  assertEquals(fieldsAfter(1, [policy(1, "1s", ["draft-11"], { name: "one" }), plan])[0], [
    "ratelimit-policy",
    '"one";q=1;w=1',
  ]);
});

Deno.test("LimitHeaders tells of a bucket what a client can keep to", () => {
  const bucket = policy(1, "1s", ["draft-11"], { algorithm: "token-bucket", burst: 100 });
  assertEquals(fieldsAfter(51, bucket), [["ratelimit-policy", '"default";q=100;w=100'], [
    "ratelimit",
    '"default";r=49;t=49',
  ]]);
  // Nothing left of an admitted request: until the next token.
  const slow = policy(6, "1m", ["draft-11"], { algorithm: "token-bucket", burst: 1 });
  assertEquals(fieldsAfter(1, slow)[1], ["ratelimit", '"default";r=0;t=10']);
  assertEquals(fieldsAfter(2, slow).slice(0, 3), [
    ["retry-after", "10"],
    ["ratelimit-policy", '"default";q=1;w=10'],
    ["ratelimit", '"default";r=0;t=10'],
  ]);
});

Deno.test("LimitHeaders tells of concurrency without a time", () => {
  const conc = policy(10, "1h", ["draft-11"], { name: "conc", algorithm: "concurrency" });
  assertEquals(fieldsAfter(10, conc), [
    ["ratelimit-policy", '"conc";q=10;qu="concurrent-requests"'],
    ["ratelimit", '"conc";r=0'],
  ]);
});

Deno.test("LimitHeaders quotes names as structured fields want it", () => {
  const named = policy(1, "1s", ["draft-11"], { name: 'a "b" \\c, d;e' });
  assertEquals(fieldsAfter(1, named)[1], ["ratelimit", '"a \\"b\\" \\\\c, d;e";r=0;t=1']);
});

Deno.test("LimitHeaders adds to the server's own lists and takes another name than theirs", () => {
  const ours = policy(5, "1s", ["draft-11"]);
  assertEquals(fieldsAfter(1, ours, { "ratelimit-policy": '"api";q=9;w=1', "ratelimit": '"api";r=3;t=1' }), [
    ["ratelimit-policy", '"api";q=9;w=1'],
    ["ratelimit", '"api";r=3;t=1'],
    ["ratelimit-policy", '"default";q=5;w=1'],
    ["ratelimit", '"default";r=4;t=1'],
  ]);
  assertEquals(fieldsAfter(1, ours, { "ratelimit-policy": '"default";q=9;w=1' }).slice(1), [
    ["ratelimit-policy", '"default-proxy";q=5;w=1'],
    ["ratelimit", '"default-proxy";r=4;t=1'],
  ]);
});

Deno.test("LimitHeaders gives no item a name that a server's list has, whichever of the policies it is of", () => {
  const ours = [policy(5, "1s", ["draft-11"]), policy(9, "1s", ["draft-11"], { name: "wide" })];
  // Of a proxy behind this one that has the same names, and of one behind that.
  const both = { "ratelimit-policy": '"default";q=9;w=1, "default-proxy";q=9;w=1' };
  assertEquals(fieldsAfter(1, ours, both).slice(1), [
    ["ratelimit-policy", '"default-proxy-proxy";q=5;w=1'],
    ["ratelimit", '"default-proxy-proxy";r=4;t=1'],
  ]);
  assertEquals(fieldsAfter(1, ours, { "ratelimit-policy": '"wide";q=9;w=1' }).slice(1), [
    ["ratelimit-policy", '"default";q=5;w=1'],
    ["ratelimit", '"default";r=4;t=1'],
  ]);
});

Deno.test("LimitHeaders replaces single values of the server only by stricter ones", () => {
  const old = policy(5, "60s", ["x-ratelimit"]);
  const theirs = { "x-ratelimit-limit": "9", "x-ratelimit-remaining": "3", "x-ratelimit-reset": "7" };
  assertEquals(fieldsAfter(1, old, theirs), Object.entries(theirs));
  assertEquals(fieldsAfter(4, old, theirs).map(([, value]) => value), ["5", "1", "60"]);
  const seven = policy(5, "60s", ["draft-7"]);
  const draft = { "ratelimit": "limit=9, remaining=3, reset=7", "ratelimit-policy": "9;w=9" };
  assertEquals(fieldsAfter(1, seven, draft), Object.entries(draft));
  assertEquals(fieldsAfter(4, seven, draft)[0], ["ratelimit", "limit=5, remaining=1, reset=60"]);
});

Deno.test("LimitHeaders leaves fields of the server alone that are of another draft", () => {
  const eleven = { "ratelimit": '"api";r=3;t=1', "ratelimit-policy": '"api";q=9;w=1' };
  assertEquals(fieldsAfter(4, policy(4, "60s", ["draft-7"]), eleven), Object.entries(eleven));
  assertEquals(fieldsAfter(4, policy(4, "60s", ["draft-6"]), eleven), [
    ...Object.entries(eleven),
    ["ratelimit-limit", "4"],
    ["ratelimit-remaining", "0"],
    ["ratelimit-reset", "60"],
  ]);
});

/** Numbers of every kind, of which functions may return some. */
const anyNumber = fc.oneof(
  fc.constantFrom(0, -0, 1, 0.5, 2.5, 1e9, 1e9 + 1, 1e15, 1e300, -1, NaN, Infinity, -Infinity, 5e-324),
  fc.double(),
  fc.integer({ min: 0, max: 100 }),
);

Deno.test("LimitHeaders writes whole numbers, whatever the functions of a policy return", () => {
  const styles: HeaderStyle[] = ["x-rate-limit", "draft-11", "draft-7", "draft-6", "x-ratelimit"];
  const algorithms: AlgorithmName[] = ["fixed-window", "sliding-window", "token-bucket", "concurrency"];
  fc.assert(
    fc.property(
      anyNumber,
      anyNumber,
      anyNumber,
      fc.constantFrom(...styles),
      fc.constantFrom(...algorithms),
      fc.boolean(),
      (limit, burst, cost, style, algorithm, penalize) => {
        const change: Partial<LimiterPolicy> = {
          algorithm,
          limit: () => limit,
          cost: () => cost,
          ...(algorithm === "token-bucket" ? { burst: () => burst } : {}),
          ...(algorithm === "concurrency" ? {} : { penalize }),
        };
        for (const count of [1, 2, 3]) {
          let fields: string[][];
          try {
            fields = fieldsAfter(count, policy(1, "1s", [style], change));
          } catch (error) {
            assertInstanceOf(error, FilterError);
            return;
          }
          const text = fields.map(([, value]) => value).join("\n");
          assert(!/NaN|Infinity|undefined|\d\.\d|-\d|e\+|\d{16}/.test(text), text);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("LimitHeaders writes fields that a parser of structured fields reads back", () => {
  const name = fc.string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(
      name,
      fc.integer({ min: 1, max: 1e9 }),
      fc.integer({ min: 1, max: 1e8 }),
      (name, limit, windowMs) => {
        const fields = new Map(
          fieldsAfter(1, { key: "ip", name, limit, window: windowMs, headers: ["draft-11"] }) as [
            string,
            string,
          ][],
        );
        const seconds = Math.ceil(windowMs / 1000);
        const read = (field: string): [string, string][] => {
          const match = /^"((?:[^"\\]|\\["\\])*)"((?:;[a-z]+=\d+)*)$/.exec(fields.get(field)!)!;
          return [
            ["", match[1]!.replace(/\\(.)/g, "$1")],
            ...match[2]!.split(";").slice(1).map((part) => part.split("=") as [string, string]),
          ];
        };
        assertEquals(read("ratelimit-policy"), [["", name], ["q", `${limit}`], ["w", `${seconds}`]]);
        assertEquals(read("ratelimit"), [["", name], ["r", `${limit - 1}`], ["t", `${seconds}`]]);
      },
    ),
    { ...SEED, numRuns: 100 },
  );
});

Deno.test("LimitHeaders refuses to write two drafts at once", () => {
  using limiter = new RateLimiter(
    [policy(1, "1s", ["draft-6"], { name: "a" }), policy(1, "1s", ["draft-7"], { name: "b" })],
    { clock: new FakeClock(), random: seededRandom(1), maxKeys: 1 },
  );
  assertThrows(() => new LimitHeaders(limiter.policies), TypeError, "draft-6 and as draft-7");
});

Deno.test("limitProblem() names the policies and the registered type", () => {
  using limiter = new RateLimiter(
    { key: "ip", limit: 0, window: "1s", name: "peruser" },
    { clock: new FakeClock(), random: seededRandom(1), maxKeys: 10 },
  );
  const type = "https://iana.org/assignments/http-problem-types";
  const refused = limiter.check(REQUEST);
  assert(refused.kind === "limited");
  assertEquals(limitProblem(refused), { type: `${type}#quota-exceeded`, "violated-policies": ["peruser"] });
  limiter.ban("192.0.2.1", 1000);
  const banned = limiter.check(REQUEST);
  assert(banned.kind === "limited");
  assertEquals(limitProblem(banned).type, `${type}#abnormal-usage-detected`);
  const fields = new HeaderFields();
  using rejecting = new RateLimiter(
    { key: "header:x", limit: 1, window: "1s", onMissingKey: "reject" },
    { clock: new FakeClock(), random: seededRandom(1), maxKeys: 10 },
  );
  const missing = rejecting.check(REQUEST);
  assert(missing.kind === "limited");
  new LimitHeaders(rejecting.policies).apply(missing, fields);
  // Waiting does not help, so nothing says how long.
  assertEquals([...fields], []);
  assertEquals(limitProblem(missing).type, undefined);
});

Deno.test("LimitHeaders remembers 256 sets of policies that clients choose, and writes the others anew", () => {
  const COUNT = 9;
  const policies = Array.from({ length: COUNT }, (_, i): LimiterPolicy => ({
    name: `p${i}`,
    key: `header:k${i}`,
    limit: 1000,
    window: "1m",
    headers: ["draft-11"],
  }));
  using limiter = new RateLimiter(policies, {
    clock: new FakeClock(),
    random: seededRandom(1),
    maxKeys: 1000,
  });
  const writer = new LimitHeaders(limiter.policies);
  // Twice: what is remembered says the same as what is not.
  for (let set = 1; set < 2 ** (COUNT + 1); set++) {
    const chosen = policies.filter((_, i) => (set & (1 << i)) !== 0);
    if (chosen.length === 0) continue;
    const headers = chosen.map(({ key }): [string, string] => [String(key).slice("header:".length), "x"]);
    const fields = new HeaderFields();
    writer.apply(
      limiter.check({ ...REQUEST, request: new Request("http://a.example/", { headers }) }),
      fields,
    );
    assertEquals(
      fields.get("ratelimit-policy"),
      chosen.map(({ name }) => `"${name}";q=1000;w=60`).join(", "),
    );
  }
  assertEquals(writer.remembered, 256);
});
