// Dry run: try a limit on real traffic before it refuses requests. It decides and counts as usual, but lets every request pass; the
// log says what it would have refused.
//
//   deno run -A ../mod.ts dry_run.config.ts
// 200 each:
//   curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/?n=[1-3]"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { name: "planned", key: "ip", limit: 2, window: "1m", dryRun: true },
  logging({ limits, client, target }) {
    const refusing = limits.filter(({ outcome }) => outcome === "would-refuse").map(({ policy }) =>
      policy.name
    );
    // deno-lint-ignore no-console
    if (refusing.length > 0) console.log(`${refusing} would have refused ${client.ip} ${target}`);
  },
});
