// The program of the Pingora tutorial, part by part.
//
// It needs the internet: the servers are 1.1.1.1 and 1.0.0.1.
//   deno run -A ../mod.ts tutorial.config.ts
//   curl -v "http://127.0.0.1:6188/" -H "appid: myclient"

import type { ProxyConfig, UpstreamRequest } from "@x/lbproxy";

// lb.add_tcp("0.0.0.0:6188");
export const listen = "0.0.0.0:6188";

// LoadBalancer::try_from_iter(["1.1.1.1:443", "1.0.0.1:443"]), which takes turns (`RoundRobin`);
// HttpPeer::new(upstream, true, "one.one.one.one"): TLS, and the name that the certificate must have;
// TcpHealthCheck::new() with health_check_frequency = Some(Duration::from_secs(1)).
// There is no background service to register: the proxy runs the checks itself, and the first round ends before it listens.
// If all servers are down, clients get 503; the tutorial's `unwrap()` drops their connections.
export const upstreams: ProxyConfig["upstreams"] = {
  servers: ["1.1.1.1:443", "1.0.0.1:443"],
  tls: { serverName: "one.one.one.one" },
  healthCheck: { type: "tcp", interval: "1s" },
};

// RATE_LIMITER = Rate::new(Duration::from_secs(1)), MAX_REQ_PER_SEC = 1, get_request_appid():
// one request a second for each value of the header `appid`; requests without it are not limited.
// The response to the second one is a 429 with X-Rate-Limit-Limit, -Remaining and -Reset.
export const limiter: ProxyConfig["limiter"] = { key: "header:appid", limit: 1, window: "1s" };

// upstream_request.insert_header("Host", "one.one.one.one")
export function upstreamRequestFilter(request: UpstreamRequest): void {
  request.headers.set("host", "one.one.one.one");
}
