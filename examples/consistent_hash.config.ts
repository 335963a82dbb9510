// Consistent hashing: each user's requests go to the same server, whose cache knows them. When a server is added or
// goes, only its share of the users moves. One that has a quarter more than its share at the moment passes users on.
//
//   deno run -A jsr:@x/lbproxy consistent_hash.config.ts
//   for u in ann bob cid ann bob cid; do curl -s "http://127.0.0.1:6188/" -H "x-user: $u" | head -1; done

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: ["one", "two", "three", "four"].map(startDemoUpstream),
    balance: "consistent-hash",
    key: "header:x-user",
    loadFactor: 1.25,
  },
});
