/** Targets and routes, beside naive models of what servers make of a path. */

import { RequestError } from "../../lib/core/errors.ts";
import { type Random, seededRandom } from "../../lib/core/random.ts";
import { normalEncoding, normalPath, pathReadings } from "../../lib/http/normal_path.ts";
import { readTarget, shapeOfPath } from "../../lib/http/request_target.ts";
import { type FindableRoute, RouteFinder } from "../../lib/routing/route_finder.ts";
import type { Ending } from "./fuzz.ts";
import { oneOf, textOf } from "./make_text.ts";

const NAMES = ["a", "b", "admin", "A", "public"] as const;
const PIECES = [
  ...["/", "/", "/", "/", "/admin", "/admin/", "/a", "/b", "/public"],
  ...NAMES,
  ...". .. /. /.. /./ /../ // ; ;x %2e %2E %2f %2F %5c %5C \\ %00 %3b %61 %61dmin %25 %2561 % %4 %zz %C3%A9 %40 @ : ~ %7e + ! \xe9 \u{1f600}"
    .split(" "),
];
const QUERIES = ["", "", "?", "?a=b", "?/admin/x", "?a?b", "?%00"];
const HOSTS = [
  "h",
  "h:80",
  "H",
  "[::1]",
  "[::1]:80",
  "a.example",
  "h/x",
  "u@h",
  "h i",
  "",
  "h:80:80",
  "h#x",
  "h?x",
];
const BAD = [" ", "\t", "#", "\x00", "\x7f", "\r\n"];

/** What a server makes of the path of a request line; `null` where it refuses it. */
type Model = (path: string) => string | null;

/** nginx: decodes once, merges slashes, resolves dot segments, and refuses what leads above the root. */
const nginx: Model = (path) => {
  if (/%(?![0-9A-Fa-f]{2})|%00/.test(path)) return null;
  const decoded = path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  const segments = decoded.split("/");
  const kept: string[] = [];
  segments.forEach((segment, i) => {
    const last = i === segments.length - 1;
    if (segment === "..") {
      if (kept.pop() === undefined) kept.push("\0above");
      if (last) kept.push("");
    } else if (segment === "." || segment === "") {
      if (last) kept.push("");
    } else kept.push(segment);
  });
  return kept.includes("\0above") ? null : `/${kept.join("/")}`;
};

/** Node with `new URL(request.url, base).pathname`, which most frameworks had or have. */
const nodeByUrl: Model = (path) => {
  try {
    return new URL(path, "http://base/").pathname;
  } catch {
    return null;
  }
};

/** The same, decoded after that. */
const nodeDecoded: Model = (path) => {
  try {
    return decodeURIComponent(nodeByUrl(path) ?? "%");
  } catch {
    return null;
  }
};

/** A framework that compares the target as it stands. */
const nodeByTarget: Model = (path) => path;

const MODELS: Readonly<Record<string, Model>> = { nginx, nodeByUrl, nodeDecoded, nodeByTarget };

function pathOf(random: Random): string {
  return `/${textOf(random, PIECES, 7)}`;
}

/** One target as the runtime gives it. */
export function fuzzTarget(seed: number): Ending {
  const random = seededRandom(seed);
  const path = random() < 0.1
    ? textOf(random, [...PIECES, ...BAD], 6)
    : pathOf(random) + (random() < 0.05 ? oneOf(random, BAD) : "");
  const query = oneOf(random, QUERIES);
  const authority = random() < 0.2 ? oneOf(random, HOSTS) : "h";
  const host = random() < 0.2 ? oneOf(random, [...HOSTS, null]) : authority;
  const url = `${
    random() < 0.1 ? oneOf(random, ["HTTP://", "ftp://", ""]) : "http://"
  }${authority}${path}${query}`;
  let read: ReturnType<typeof readTarget>;
  try {
    read = readTarget(url, host, "fallback", random() < 0.5);
  } catch (error) {
    if (!(error instanceof RequestError) || error.status !== 400) throw error;
    return { outcome: "refused", reason: error.message.replace(/received.*$/s, ""), messages: 0 };
  }
  const { target, received } = read;
  if (!/^\/[\x21-\x22\x24-\x7e]*$/.test(target)) throw new Error(`target ${JSON.stringify(target)}`);
  if (!/^(?:[A-Za-z0-9\-._~%!$&'()*+;=]+|\[[0-9a-f:.]+\])(?::\d*)?$/i.test(read.host)) {
    throw new Error(`host ${read.host}`);
  }
  if (!url.endsWith(received.slice(1))) {
    throw new Error(`received ${JSON.stringify(received)} is not what came`);
  }
  const { end, plain } = shapeOfPath(target);
  const written = target.slice(0, end);
  if (written.includes("?")) throw new Error("a query in the path");
  const normal = normalPath(written);
  if (normalPath(normal) !== normal) throw new Error(`${normal} is not its own normal form`);
  if (plain && normal !== written) throw new Error(`${written} is plain, and ${normal} in its normal form`);
  const encoded = normalEncoding(written);
  if (normalEncoding(encoded) !== encoded) throw new Error(`${encoded} is written in another way`);
  // What is plain is one thing to every server.
  if (plain) {
    for (const [name, model] of Object.entries(MODELS)) {
      const seen = model(written);
      if (seen !== null && seen !== decodedBy(model, written)) {
        throw new Error(`${name} reads ${seen} in ${written}`);
      }
    }
  }
  void pathReadings(encoded);
  return { outcome: plain ? "plain" : "marked", reason: "", messages: 1 };
}

/** A plain path as a model writes it: nothing in it is encoded or resolved. */
function decodedBy(_model: Model, path: string): string {
  return path;
}

const PATTERNS = ["/admin/*", "/admin", "/a/*", "/b", "/public/*", "/a/b/*", "/*", "/admin/a"] as const;

/** Routes, each with a guard of its own or none. */
function routesOf(random: Random): { routes: FindableRoute[]; patterns: string[] } {
  const patterns = Array.from(
    { length: 1 + Math.floor(random() * 3) },
    () => oneOf(random, PATTERNS) as string,
  );
  if (random() < 0.7) patterns.push("/*");
  const routes = patterns.map((path, i): FindableRoute => ({
    match: { path },
    paths: "normalize",
    normalized: random() < 0.2,
    treatment: i,
    guards: random() < 0.5 ? [i] : [],
  }));
  return { routes, patterns };
}

function naiveMatch(patterns: readonly string[], path: string): number {
  return patterns.findIndex((pattern) =>
    pattern.endsWith("/*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern
  );
}

/** Routes and one path: whether a server can take it for that of a route that would have treated it otherwise. */
export function fuzzRoutes(seed: number): Ending {
  const random = seededRandom(seed);
  const { routes, patterns } = routesOf(random);
  const finder = new RouteFinder(routes);
  const path = encodeRest(pathOf(random));
  const request = { method: "GET", host: "h", fields: { get: () => null } };
  const { plain } = shapeOfPath(path);
  const found = plain
    ? { order: finder.find(request, path), normalized: false, ambiguous: false }
    : finder.findWritten(request, path);
  if (found.ambiguous) return { outcome: "refused", reason: "", messages: 0 };
  const { order } = found;
  if (order < 0) return { outcome: "no route", reason: "", messages: 0 };
  const sent = found.normalized ? normalPath(path) : path;
  for (const [name, model] of Object.entries(MODELS)) {
    const seen = model(sent);
    if (seen === null) continue;
    const meant = naiveMatch(patterns, seen);
    if (meant === order) continue;
    const evaded = meant < 0 || meant < order ||
      routes[meant]!.guards.some((guard) => !routes[order]!.guards.includes(guard));
    if (evaded) {
      const to = meant < 0 ? "none" : patterns[meant];
      throw new Error(
        `${path} goes to ${patterns[order]} of ${patterns} as ${sent}, which ${name} reads as ${seen}: ${to}`,
      );
    }
  }
  return { outcome: sent === path ? "as it came" : "in its normal form", reason: "", messages: 1 };
}

/** As every engine hands it over: what is not ASCII is encoded. */
function encodeRest(path: string): string {
  return path.replace(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character));
}
