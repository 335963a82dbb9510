// Plans: the limit of a client depends on its plan, which is found by its API key.
//
//   deno run -A ../mod.ts plans.config.ts
// Gold, 100 a minute:
//   curl -i "http://127.0.0.1:6188/" -H "x-api-key: key-of-ann"
// Free, 5 a minute:
//   curl -i "http://127.0.0.1:6188/" -H "x-api-key: key-of-bob"
// 429 without a key:
//   curl -i "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const LIMIT_OF_PLAN = { free: 5, gold: 100, partner: Infinity } as const;

// A real program reads this from a database at its start, and again when it changes.
const PLAN_OF_KEY = new Map<string, keyof typeof LIMIT_OF_PLAN>([
  ["key-of-ann", "gold"],
  ["key-of-bob", "free"],
  ["key-of-cid", "partner"],
]);

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: {
    name: "plan",
    key: "header:x-api-key",
    limit: (key) => LIMIT_OF_PLAN[PLAN_OF_KEY.get(key) ?? "free"],
    window: "1m",
    onMissingKey: "reject",
  },
});
