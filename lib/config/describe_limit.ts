/** Limits in plain words. */

import { formatDuration } from "../core/duration.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { describeKey } from "./describe_key.ts";

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
