// Dry run: try a limit on real traffic before it refuses anybody. It decides and counts as if it were in force; what it
// would have refused is in the log.
//
//   deno run -A jsr:@x/lbproxy dry_run.config.ts
// 200 each:
//   for i in 1 2 3; do curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/"; done

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
