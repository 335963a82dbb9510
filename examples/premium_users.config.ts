// The tutorial's "dynamic limit", by the user who has signed in: premium users may send ten requests a second and bursts of thirty,
// others one a second. The user is found once for each request and kept in its state.
//
//   deno run -A ../mod.ts premium_users.config.ts
// 200 eleven times:
//   curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/?n=[1-11]" -b session=ann

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

interface User {
  readonly name: string;
  readonly premium: boolean;
}

// A real application keeps its sessions elsewhere.
const SESSIONS = new Map<string, User>([
  ["ann", { name: "ann", premium: true }],
  ["bob", { name: "bob", premium: false }],
]);

function userOf(request: Request): User | null {
  const session = /(?:^|; )session=(\w+)/.exec(request.headers.get("cookie") ?? "")?.[1];
  return SESSIONS.get(session ?? "") ?? null;
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  newContext: userOf,
  limiter: {
    name: "user",
    key: (_request, ctx) => ctx.state?.name ?? null,
    algorithm: "token-bucket",
    limit: (_key, ctx) => ctx.state?.premium ? 10 : 1,
    burst: (_key, ctx) => ctx.state?.premium ? 30 : 1,
    window: "1s",
    // A client that has not signed in is counted by its address.
    onMissingKey: "ip",
  },
});
