/** All measured programs, in the order of the output. */

import type { Peer } from "./peer.ts";
import { caddy } from "./peers/caddy.ts";
import { haproxy } from "./peers/haproxy.ts";
import { lbproxy } from "./peers/lbproxy.ts";
import { nginx, nginxOfTwo } from "./peers/nginx.ts";
import { pingora } from "./peers/pingora.ts";
import { script } from "./peers/script.ts";

const SMALL = ["12b"];

/** The peers. */
export const ALL_PEERS: readonly Peer[] = [
  lbproxy({ name: "lbproxy", title: "lbproxy", config: "plain" }),
  lbproxy({ name: "lbproxy-limiter", title: "lbproxy, limiter", config: "limiter", scenarios: SMALL }),
  lbproxy({ name: "lbproxy-filters", title: "lbproxy, filters", config: "filters", scenarios: SMALL }),
  lbproxy({
    name: "lbproxy-log",
    title: "lbproxy, access log",
    config: "plain",
    scenarios: SMALL,
    accessLog: true,
  }),
  lbproxy({ name: "lbproxy-refusing", title: "lbproxy, refusing", config: "refusing", scenarios: ["429"] }),
  lbproxy({
    name: "lbproxy-refusing-kept",
    title: "lbproxy, refusing, keepAlive",
    config: "refusing_kept",
    scenarios: ["429"],
  }),
  lbproxy({
    name: "lbproxy-workers",
    title: "lbproxy, 2 workers",
    config: "plain",
    scenarios: SMALL,
    workers: 2,
  }),
  lbproxy({ name: "lbproxy-deno", title: "lbproxy, engine deno", config: "deno" }),
  lbproxy({ name: "lbproxy-fetch", title: "lbproxy, Deno.serve and fetch", config: "fetch" }),
  nginx,
  nginxOfTwo,
  haproxy,
  pingora,
  caddy,
  script({ name: "node-http", title: "node:http", kind: "proxy", file: "node_http.mjs", node: true }),
  script({ name: "deno-fetch", title: "Deno.serve + fetch", kind: "proxy", file: "deno_fetch.ts" }),
  script({
    name: "floor-api",
    title: "Deno.serve, asked, + relay (floor)",
    kind: "floor",
    file: "floor_api.ts",
    scenarios: SMALL,
  }),
  script({
    name: "floor-relay",
    title: "Deno.serve + raw relay (floor)",
    kind: "floor",
    file: "floor_relay.ts",
    scenarios: SMALL,
  }),
  script({
    name: "floor-constant",
    title: "Deno.serve alone (floor)",
    kind: "floor",
    file: "floor_constant.ts",
    scenarios: SMALL,
  }),
];
