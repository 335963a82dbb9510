import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { hostnameOf } from "../../../lib/http/request_target.ts";
import { listOf, opaquePath, type RoutedRequest, type RouteMatch } from "../../../lib/routing/route_match.ts";
import { RouteMatcher } from "../../../lib/routing/route_finder.ts";

/** What the matcher has to give: the list, tried in order, each pattern by `URLPattern`. */
function naive(routes: readonly RouteMatch[], request: RoutedRequest, path: string): number {
  return routes.findIndex(({ host, path: paths, method, headers = {} }) =>
    (listOf(host)?.some((hostname) =>
      new URLPattern({ hostname }).test({ hostname: hostnameOf(request.host) })
    ) ??
      true) &&
    (listOf(paths)?.some((pathname) => new URLPattern({ pathname }).test({ pathname: opaquePath(path) })) ??
      true) &&
    (listOf(method)?.includes(request.method) ?? true) &&
    Object.entries(headers).every(([name, wanted]) => {
      const value = request.fields.get(name);
      return typeof wanted === "boolean" ? (value !== null) === wanted : value === wanted;
    })
  );
}

const segment = fc.constantFrom(
  "a",
  "b",
  "ab",
  "..",
  ".",
  "%2e%2E",
  "..%2Fb",
  "..;",
  "",
  "a%2Fb",
  "A",
  "a\\b",
  "~",
  "..~",
);
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join("/")}`);
const plain = fc.array(fc.constantFrom("a", "b", "ab", "a%2Fb", "..;", ""), { minLength: 1, maxLength: 3 })
  .map((parts) => `/${parts.join("/")}`);
const pathPattern = fc.oneof(
  plain,
  plain.map((text) => `${text}/*`),
  plain.map((text) => `${text}*`),
  plain.map((text) => `${text}{/*}?`),
  plain.map((text) => `${text}/:name`),
  plain.map((text) => `${text}/:name/b`),
  plain.map((text) => `/:first${text}`),
  fc.constantFrom("*", "/*", "/", "/(a|b)/*", "/a/../b", "/:x?", "/%2e%2e/*"),
);
const host = fc.constantFrom("a.b", "A.b:80", "x.a.b", "y.x.a.b.", "b", "a-b");
const hostPattern = fc.constantFrom("a.b", "*.a.b", "*", "b", ":sub.a.b", "A.b", "(a|x).*");
const someOf = <Value>(value: fc.Arbitrary<Value>) =>
  fc.oneof(value, fc.array(value, { minLength: 1, maxLength: 3 }));
const route: fc.Arbitrary<RouteMatch> = fc.record({
  host: someOf(hostPattern),
  path: someOf(pathPattern),
  method: someOf(fc.constantFrom("GET", "POST")),
  headers: fc.dictionary(fc.constantFrom("x-a", "x-b"), fc.constantFrom("1", "2", true, false)),
}, { requiredKeys: [] });
const request: fc.Arbitrary<RoutedRequest> = fc.record({
  method: fc.constantFrom("GET", "POST"),
  host,
  fields: fc.constantFrom({}, { "x-a": "1" }, { "x-b": "2", "x-a": "2" }).map((fields) =>
    new HeaderFields(fields)
  ),
});

Deno.test("RouteMatcher finds what URLPattern finds, tried in order", () => {
  fc.assert(
    fc.property(
      fc.array(route, { maxLength: 12 }),
      fc.array(fc.tuple(request, path), { minLength: 1, maxLength: 8 }),
      (routes, requests) => {
        const matcher = new RouteMatcher(routes, () => true);
        for (const each of requests) assertEquals(matcher.find(...each), naive(routes, ...each));
      },
    ),
    { numRuns: 150, seed: 61 },
  );
});

const ask = (more: Partial<RoutedRequest> = {}): RoutedRequest => ({
  method: "GET",
  host: "h",
  fields: new HeaderFields(),
  ...more,
});

Deno.test("RouteMatcher compares the path with patterns as they are written where that is wanted", () => {
  const routes = [{ path: "/admin/*" }, { path: "/a/:x/c" }, { path: "/a/*" }, { path: "*" }];
  const matcher = new RouteMatcher(routes, () => true);
  const table: [string, number][] = [
    ["/admin/x", 0],
    ["/ADMIN/x", 3],
    ["/a/../admin/x", 2],
    ["/a/%2e%2e/admin/x", 2],
    ["/%61dmin/x", 3],
    ["//admin/x", 3],
    ["/./admin/x", 3],
    ["/a/..%2Fadmin", 2],
    ["/a/..;/admin", 2],
    ["/a/../c", 1],
    ["/a/b%2Fc/c", 1],
    ["/a/b\\c/c", 1],
  ];
  for (const [path, expected] of table) assertEquals(matcher.find(ask(), path), expected, path);
});

Deno.test("RouteMatcher compares the path with the normal form of patterns", () => {
  const table: [pattern: string, matching: string[], others: string[]][] = [
    ["/%61dmin//x", ["/admin/x"], ["/%61dmin//x"]],
    ["/./a/../b/*", ["/b/", "/b/x"], ["/b"]],
    ["/caf%c3%a9{/*}?", ["/caf%C3%A9", "/caf%C3%A9/x"], ["/caf%C3%A9s"]],
    ["/café", ["/caf%C3%A9"], []],
    ["/日本/:id", ["/%E6%97%A5%E6%9C%AC/5"], []],
    ["/%40fs/*", ["/@fs/x", "/%40fs/x"], []],
    ["/a%2ab/:id", ["/a*b/1", "/a%2Ab/1"], ["/aab/1"]],
    ["/a%2Fb/*", ["/a%2Fb/x"], ["/a/b/x"]],
    ["/a|b", ["/a%7Cb"], []],
    ["/100%", ["/100%25"], []],
    ["/a/.*", ["/a/.git", "/a/.x/y"], ["/a/git"]],
    ["/a%2e*", ["/a.x"], []],
    ["/:x/%7eann", ["/a/~ann"], []],
    ["/(x|y)/%41", ["/x/A"], ["/z/A"]],
    ["*", ["/"], []],
  ];
  for (const [path, matching, others] of table) {
    const matcher = new RouteMatcher([{ path }]);
    for (const each of matching) assertEquals(matcher.find(ask(), each), 0, `${path} ${each}`);
    for (const each of others) assertEquals(matcher.find(ask(), each), -1, `${path} ${each}`);
  }
});

Deno.test("RouteMatcher compares hosts without case, port and final dot", () => {
  const matcher = new RouteMatcher([{ host: "Shop.example" }, { host: "*.example" }, { host: "[::1]" }]);
  const table: [string, number][] = [
    ["shop.example", 0],
    ["SHOP.EXAMPLE:8080", 0],
    ["shop.example.", 0],
    ["a.example", 1],
    ["example", -1],
    ["[::1]:80", 2],
    ["shop.example.evil", -1],
  ];
  for (const [host, expected] of table) assertEquals(matcher.find(ask({ host }), "/"), expected, host);
});

Deno.test("RouteMatcher tests fields by pattern, without remembering", () => {
  const matcher = new RouteMatcher([{ headers: { "X-Version": /^2\./g } }]);
  const find = (version: string) =>
    matcher.find(ask({ fields: new HeaderFields({ "x-version": version }) }), "/");
  for (let n = 0; n < 3; n++) assertEquals(find("2.1"), 0);
  assertEquals(find("1.2."), -1);
});

Deno.test("RouteMatcher refuses what is no pattern", () => {
  assertThrows(() => new RouteMatcher([{ path: "/((" }]), TypeError);
});
