// Consistent hashing: all requests of a user go to the same server, whose cache knows the user. When a server is added or removed,
// only its share of the users moves. A server with 1.25 times its share of the running requests passes users on to the next.
//
//   deno run -A ../mod.ts consistent_hash.config.ts
// The same server three times:
//   curl -s "http://127.0.0.1:6188/?n=[1-3]" -H "x-user: ann" | grep Hello
// Perhaps another server, but also the same three times:
//   curl -s "http://127.0.0.1:6188/?n=[1-3]" -H "x-user: bob" | grep Hello

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
