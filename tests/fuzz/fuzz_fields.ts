/** Structured fields (RFC 9651) that the proxy writes beside those of servers, read back by a naive parser. */

import { type Random, seededRandom } from "../../lib/core/random.ts";
import { HeaderFields } from "../../lib/http/header_fields.ts";
import { LimitHeaders } from "../../lib/limiter/limit_headers.ts";
import { RateLimiter } from "../../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../../lib/limiter/policy.ts";
import { FakeClock } from "../support/fake_clock.ts";
import type { Ending } from "./fuzz.ts";
import { oneOf, textOf } from "./make_text.ts";

const SOURCE = {
  request: new Request("http://h/"),
  clientIp: "192.0.2.1",
  target: "/",
  host: "h",
};
const NAMES = [
  "default",
  "default-proxy",
  "default-proxy-proxy",
  "a",
  'a"b',
  "a\\b",
  "a;b",
  "a,b",
  "per user",
  "a=b",
];
const NAME_PIECES = ["a", "-", "proxy", '"', "\\", ";", ",", "=", " ", "default", "~"];

/** A list of items that are texts with parameters of whole numbers or texts; `null` when it is none. */
function parseList(field: string): { name: string; params: Map<string, string> }[] | null {
  const items: { name: string; params: Map<string, string> }[] = [];
  let at = 0;
  const skip = () => {
    while (field[at] === " " || field[at] === "\t") at++;
  };
  for (;;) {
    skip();
    if (field[at++] !== '"') return null;
    let name = "";
    for (;; at++) {
      const character = field[at];
      if (character === undefined || character < " " || character > "~") return null;
      if (character === '"') break;
      if (character === "\\" && !/["\\]/.test(field[++at] ?? "")) return null;
      name += field[at];
    }
    at++;
    const params = new Map<string, string>();
    while (field[at] === ";") {
      at++;
      while (field[at] === " ") at++;
      const [whole, key, value] =
        /^([a-z*][a-z0-9_\-.*]*)=(-?\d{1,15}|"(?:[^"\\]|\\["\\])*")/.exec(field.slice(at)) ?? [];
      if (whole === undefined) return null;
      params.set(key!, value!);
      at += whole.length;
    }
    items.push({ name, params });
    skip();
    if (at === field.length) return items;
    if (field[at++] !== ",") return null;
  }
}

function quoted(name: string): string {
  return `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function policiesOf(random: Random): LimiterPolicy[] {
  const names = new Set<string>();
  for (let left = 1 + Math.floor(random() * 3); left > 0; left--) {
    const name = random() < 0.6 ? oneOf(random, NAMES) : textOf(random, NAME_PIECES, 6).trim();
    if (name !== "" && name.length <= 64) names.add(name);
  }
  return Array.from(names, (name): LimiterPolicy => ({
    name,
    key: "ip",
    limit: 1 + Math.floor(random() * 10 ** Math.floor(random() * 9)),
    window: 1 + Math.floor(random() * 1e7),
    algorithm: oneOf(random, ["fixed-window", "sliding-window", "token-bucket"]),
    headers: ["draft-11"],
  }));
}

/** The fields of a decision beside lists of a server. */
export function fuzzFields(seed: number): Ending {
  const random = seededRandom(seed);
  const policies = policiesOf(random);
  if (policies.length === 0) return { outcome: "no policy", reason: "", messages: 0 };
  using limiter = new RateLimiter(policies, { clock: new FakeClock(), random, maxKeys: 8 });
  const theirs = Array.from({ length: Math.floor(random() * 4) }, () => oneOf(random, NAMES));
  const list = [...new Set(theirs)].map((name) => `${quoted(name)};q=5;w=60`).join(", ");
  const fields = new HeaderFields(list === "" ? [] : [["ratelimit-policy", list]]);
  const decision = limiter.check(SOURCE);
  new LimitHeaders(limiter.policies).apply(decision, fields);
  const policyField = fields.get("ratelimit-policy");
  const limitField = fields.get("ratelimit");
  const written = policyField === null ? null : parseList(policyField);
  const limits = limitField === null ? null : parseList(limitField);
  if (written === null || limits === null) throw new Error(`no lists: ${policyField} and ${limitField}`);
  const names = written.map(({ name }) => name);
  if (new Set(names).size !== names.length) throw new Error(`one name twice: ${policyField}`);
  for (const name of new Set(theirs)) {
    if (!names.includes(name)) throw new Error(`${name} is gone: ${policyField}`);
  }
  for (const { name, params } of limits) {
    if (!names.includes(name)) throw new Error(`${limitField} is of no policy of ${policyField}`);
    if (!/^\d+$/.test(params.get("r") ?? "")) throw new Error(`${limitField} says nothing of what remains`);
  }
  return { outcome: theirs.length === 0 ? "alone" : "beside others", reason: "", messages: names.length };
}
