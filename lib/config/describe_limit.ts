/** Limits in plain words. */

import { formatDuration } from "../core/duration.ts";
import type { KeySpec } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";

/** Keys that every request has. */
const ALWAYS_THERE = ["ip", "path", "host"];

/** Says what a limit does, one sentence a line: `at most 1 request per 1s for each header appid`. */
export function describeLimit(policy: ResolvedPolicy): readonly string[] {
  const { keySpec, limit, windowMs } = policy;
  const each = describeKey(keySpec);
  const window = formatDuration(windowMs);
  const amount = typeof limit === "function"
    ? `as many requests per ${window} as limit() says`
    : `at most ${limit} ${limit === 1 ? "request" : "requests"} per ${window}`;
  const lines = [`${amount} for each ${each}`];
  if (!ALWAYS_THERE.some((key) => key === keySpec)) lines.push(describeMissingKey(policy, each));
  return lines;
}

function describeKey(key: KeySpec): string {
  if (typeof key === "function") return "key that key() returns";
  if (typeof key !== "string") return key.map((part) => describeKey(part)).join(" and ");
  if (key === "ip") return "client address";
  const colon = key.indexOf(":");
  if (colon < 0) return key;
  const [kind, name] = [key.slice(0, colon), key.slice(colon + 1)];
  return `${kind === "query" ? "query parameter" : kind} ${name}`;
}

function describeMissingKey({ keySpec, onMissingKey }: ResolvedPolicy, each: string): string {
  const without = typeof keySpec === "function" ? "requests without a key" : `requests without ${each}`;
  switch (onMissingKey) {
    case "skip":
      return `${without} are not limited`;
    case "reject":
      return `${without} are refused`;
    case "ip":
      return `${without} are limited for each client address`;
  }
}
