import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { isAmbiguous, normalEncoding, normalPath, pathReadings } from "../../../lib/http/normal_path.ts";
import { type FindableRoute, type FoundRoute, RouteFinder } from "../../../lib/routing/route_finder.ts";
import type { PathMode } from "../../../lib/routing/route_match.ts";

const request = { method: "GET", host: "h", fields: new HeaderFields() };

interface Given {
  path?: string;
  paths?: PathMode;
  normalized?: boolean;
  treatment?: number;
  guards?: readonly string[];
}

function finderOf(...routes: Given[]): RouteFinder {
  return new RouteFinder(
    routes.map((
      { path, paths = "normalize", normalized = false, treatment, guards = [] },
      i,
    ): FindableRoute => ({
      match: path === undefined ? {} : { path },
      paths,
      normalized,
      treatment: treatment ?? i,
      guards,
    })),
  );
}

/** What is found, as text: the place, and what else there is to say. */
function found(finder: RouteFinder, path: string): string {
  const { order, normalized, ambiguous }: FoundRoute = finder.findWritten(request, path);
  return ambiguous ? "ambiguous" : `${order}${normalized ? " normalized" : ""}`;
}

Deno.test("RouteFinder takes paths in their normal form, and tells what servers could take for another route's", () => {
  const finder = finderOf({ path: "/admin/*", guards: ["password"] }, { path: "/public/*" }, {});
  const table: [string, string][] = [
    ["/./admin/x", "0"],
    ["//admin/x", "0"],
    ["/%61dmin/x", "0"],
    ["/%2e/admin/x", "0"],
    ["/y/../admin/x", "0"],
    ["/y/%2e%2e/admin/x", "0"],
    ["/public/../admin/x", "0"],
    ["/admin//x/./y", "0"],
    ["/./public/x", "1"],
    ["/public/%7e", "1"],
    ["/caf%c3%a9", "2"],
    ["/.well-known/x", "2"],
    ["/ADMIN/x", "2"],
    // It could evade the password at a server that resolves nothing, or resolves before it merges slashes.
    ["/admin/../public/x", "1 normalized"],
    ["/admin/../x", "2 normalized"],
    ["/admin//../../x", "2 normalized"],
    ["//h/admin/x", "2 normalized"],
    ["///h/admin/x", "2 normalized"],
    ["/admin%2fx", "ambiguous"],
    ["/%2fadmin%2fx", "ambiguous"],
    ["/x/..%2fadmin/x", "ambiguous"],
    ["/public/..%2fadmin/x", "ambiguous"],
    ["/public/..;/admin/x", "ambiguous"],
    ["/public\\..\\admin\\x", "ambiguous"],
    ["/\\h/admin/x", "ambiguous"],
    ["/admin;x/y", "ambiguous"],
    ["/x/..%5cadmin/x", "ambiguous"],
    ["/admin/%00", "0"],
    ["/admin%00/x", "ambiguous"],
    ["/admin/%2e%2e%2fx", "ambiguous"],
    // Whatever it is, it is below /admin/, or nothing else.
    ["/admin/a%2Fb;c", "0"],
    ["/public/a%2Fb/c%40d", "1"],
    ["/x;y/z%2Fz", "2"],
    ["/./x;y", "2 normalized"],
  ];
  for (const [path, expected] of table) assertEquals(found(finder, path), expected, path);
});

Deno.test("RouteFinder lets pass what is read in several ways where that makes no difference", () => {
  const alike = finderOf({ path: "/a/*", treatment: 1 }, { treatment: 1 });
  for (const path of ["/a%2fb", "/a;x/b", "/x/..%2fa/b", "/%40"]) {
    assertEquals(found(alike, path), "1", path);
  }
  assertEquals(found(alike, "/a/../b"), "1");
  // Where none takes it, nothing is exposed, and where another one may, it has to be told.
  const some = finderOf({ path: "/a/*" });
  assertEquals([found(some, "/b%2fc"), found(some, "/a%2fb"), found(some, "/a/..%2fb")], [
    "-1",
    "ambiguous",
    "ambiguous",
  ]);
  assertEquals([found(some, "/b/../a/x"), found(some, "/a/../b")], ["0 normalized", "-1"]);
});

Deno.test("RouteFinder sends the normal form where a server that reads paths as they stand finds another route", () => {
  const finder = finderOf({ path: "/public/*" }, { guards: ["password"] });
  const table: [string, string][] = [
    ["/%70ublic/x", "0 normalized"],
    ["/./public/x", "0 normalized"],
    ["/%70ublic/a\\b", "0 normalized"],
    ["/public/%61", "0"],
    ["/public/a\\b", "0"],
    ["/%61", "1"],
  ];
  for (const [path, expected] of table) assertEquals(found(finder, path), expected, path);
});

Deno.test("RouteFinder compares delimiters encoded or not", () => {
  const finder = finderOf({ path: "/@fs/*" }, { path: "/a%2Ab" }, {});
  const table: [string, string][] = [
    ["/@fs/x", "0"],
    ["/%40fs/x", "ambiguous"],
    ["/a%2ab", "1"],
    ["/a*b", "1"],
    ["/x%40y", "2"],
  ];
  for (const [path, expected] of table) assertEquals(found(finder, path), expected, path);
});

Deno.test("RouteFinder forwards the normal form where a route says so", () => {
  const finder = finderOf({ path: "/a/*", normalized: true }, {});
  const table: [string, string][] = [
    ["/./a/x", "0 normalized"],
    ["/a/x%2fy", "0 normalized"],
    ["/./b", "1"],
    // The server cannot read it in another way.
    ["/b/../a/x", "0 normalized"],
  ];
  for (const [path, expected] of table) assertEquals(found(finder, path), expected, path);
});

Deno.test("RouteFinder gives raw routes paths as they stand, among others that get the normal form", () => {
  const finder = finderOf(
    { path: "/repos/:name", paths: "raw" },
    { path: "/repos/*" },
    { path: "/%61/*", paths: "raw" },
    {},
  );
  const table: [string, string][] = [
    ["/repos/a%2Fb", "0"],
    ["/repos/..%2Fx", "0"],
    ["/repos/..", "0"],
    ["/repos/a/b%2Fc", "1"],
    ["/./repos/a/b", "1"],
    ["/%61/x", "2"],
    ["//repos/x", "1 normalized"],
  ];
  for (const [path, expected] of table) assertEquals(found(finder, path), expected, path);
  const raw = finderOf({ path: "/admin/*", paths: "raw" }, { paths: "raw" });
  for (const path of ["//admin/x", "/%61dmin/x", "/x/../admin/x", "/admin%2Fx", "/admin;/x"]) {
    assertEquals(found(raw, path), "1", path);
  }
});

Deno.test("RouteFinder finds the same for a plain path whichever way it is asked", () => {
  const finder = finderOf({ path: "/a/:x", paths: "raw" }, { path: "/a/*" }, { path: "/b" });
  for (const path of ["/a/b", "/a/b/c", "/b", "/c"]) {
    assertEquals(found(finder, path), String(finder.find(request, path)));
  }
});

const piece = fc.constantFrom(
  ...[
    "a",
    "b",
    "c",
    "..",
    ".",
    "",
    "%2e%2e",
    "..;",
    ";x",
    "a;x",
    "%2f",
    "%2F..%2f",
    "%5c",
    "\\",
    "%00",
    "%61",
    "@",
    "%40",
    "h",
  ],
);
const path = fc.array(fc.array(piece, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 4 })
  .map((segments) => `/${segments.map((pieces) => pieces.join("")).join("/")}`);
const route: fc.Arbitrary<Given> = fc.record({
  path: fc.constantFrom("/a/*", "/a{/*}?", "/b/*", "/a/b", "/:x/b", "/@*", "/a/b/*", "/c"),
  normalized: fc.boolean(),
  treatment: fc.nat(3),
  guards: fc.subarray(["x", "y"]),
}, { requiredKeys: ["normalized", "treatment"] });

Deno.test("RouteFinder lets nothing pass that evades a route at any server", () => {
  fc.assert(
    fc.property(fc.array(route, { minLength: 1, maxLength: 5 }), path, (routes, text) => {
      const finder = finderOf(...routes);
      const { order, normalized, ambiguous } = finder.findWritten(request, text);
      assertEquals(order, finder.find(request, normalPath(text)));
      if (ambiguous || order < 0) return;
      const sent = normalized ? normalPath(text) : normalEncoding(text);
      for (const reading of pathReadings(sent)!) {
        // A segment `.` and slashes that are not merged are in the way of no route.
        const place = reading.replace(/(?:\/\.)+\/|\/\.$/g, "/").replace(/\/+/g, "/");
        const other = finder.find(request, place);
        const [own, evaded] = [routes[order]!, routes[other]];
        if (own.treatment === evaded?.treatment) continue;
        assert(!isAmbiguous(sent), `${text} as ${reading}: ${order}, ${other}`);
        assert(evaded !== undefined && other > order, `${text} as ${reading}: ${order}, ${other}`);
        assert((evaded.guards ?? []).every((guard) => own.guards?.includes(guard)), `${text} as ${reading}`);
      }
    }),
    { seed: 606, numRuns: 20_000 },
  );
});
