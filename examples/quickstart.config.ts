// The quick start: two demo servers in this process get requests in turn, and each `appid` may send one request a second.
//
//   deno task start
// With generated requests, so that the dashboard shows some:
//   deno task start --demo-load

import { startDemoUpstream } from "./demo_upstream.ts";

export const listen = "127.0.0.1:6188";

const servers = [startDemoUpstream("one"), startDemoUpstream("two")];

export const upstreams = {
  servers,
  healthCheck: { type: "tcp", interval: "1s" },
} as const;

export const limiter = { key: "header:appid", limit: 1, window: "1s" } as const;

export function onListen(addresses: readonly string[]): void {
  const url = `http://${addresses[0]}/`;
  const hasLoad = Deno.args.includes("--demo-load");
  const traffic = hasLoad ? "" : '\n  ("deno task start --demo-load" sends requests, so that it shows some)';
  const admin = Deno.args.findIndex((word) => /^--admin(=|$)/.test(word));
  const place = Deno.args.slice(admin, admin + 2).join("=").match(/^--admin=+([^-=][^=]*)/)?.[1] ??
    "127.0.0.1:6189";
  const dashboard = admin < 0 ? "" : `\nThe dashboard is at http://${place}/${traffic}\n`;
  // deno-lint-ignore no-console
  console.log(`
lbproxy listens on ${url}
  It sends requests to the demo servers ${servers.join(" and ")} in turn, checks them every second,
  and allows 1 request a second for each value of the header "appid".
${dashboard}
Try it in another terminal.
Without an appid, requests are not limited:
  curl -v "${url}"
With an appid, the first request gets 200, and a second one within a second gets 429:
  curl -v "${url}" -H "appid: myclient"
  curl -v "${url}" -H "appid: myclient"

Ctrl-C stops it.
`);
}
