/** Cost of finding the route of a request: `deno bench bench/routes_bench.ts`. */

import { HeaderFields } from "../lib/http/header_fields.ts";
import type { RouteMatch } from "../lib/routing/route_match.ts";
import { RouteMatcher } from "../lib/routing/route_finder.ts";

const COUNT = 1000;

function bench(name: string, match: (n: number) => RouteMatch, last: { host: string; path: string }): void {
  const matcher = new RouteMatcher(Array.from({ length: COUNT }, (_, n) => match(n)));
  const { host, path } = last;
  const request = { method: "GET", fields: new HeaderFields(), host };
  if (matcher.find(request, path) !== COUNT - 1) {
    throw new Error(`${name}: the last route must take the request`);
  }
  Deno.bench(name, { group: "1,000 routes, the last one matches" }, () => {
    matcher.find(request, path);
  });
}

bench("paths below", (n) => ({ path: `/service-${n}/*` }), { host: "h", path: "/service-999/users/5" });
bench("paths", (n) => ({ path: `/service-${n}/health` }), { host: "h", path: "/service-999/health" });
bench("hosts", (n) => ({ host: `shop-${n}.example`, path: "/api/*" }), {
  host: "shop-999.example:8080",
  path: "/api/users",
});
bench("hosts by suffix", (n) => ({ host: `*.shop-${n}.example` }), {
  host: "www.shop-999.example",
  path: "/",
});
bench("ten patterns before 990 paths", (n) => ({ path: n < 10 ? `/users-${n}/:id` : `/service-${n}/*` }), {
  host: "h",
  path: "/service-999/users/5",
});
