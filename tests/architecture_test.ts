/** The rules of ARCHITECTURE.md, for every file of `lib/`; each rule is tried on a tree that breaks it as well. */

import { assertEquals } from "@std/assert";
import {
  findAmbient,
  findCycle,
  findForeignImports,
  findNeedlessCuts,
  findSmallFiles,
  findUnusedExports,
  findUpwardImports,
  readLibrary,
  readSources,
  readTests,
} from "./support/architecture.ts";

/** Lowest first; folders of one layer do not import one another. */
const LAYERS: readonly (readonly string[])[] = [
  ["core"],
  ["http"],
  ["http1", "http2", "observe"],
  ["limiter", "routing", "upstream"],
  ["transport", "redis"],
  ["health"],
  ["balancer"],
  ["filter"],
  ["config"],
  ["filters", "proxy", "simulator"],
  ["engine"],
  ["admin"],
  ["server"],
  ["cli"],
];

/** Folders that every request goes through. */
const HOT_PATH = ["core", "http", "http1", "http2", "limiter", "balancer", "transport", "proxy", "engine"];

/** What breaks a rule, and why it may. An entry that is not needed any more fails the test: take it out. */
type Exceptions = Readonly<Record<string, string>>;

const TO_MEND = "known, and to be mended";

const UPWARD_IMPORTS: Exceptions = {
  "lib/core/version.ts -> deno.json": "the version is written there",
};

/** Imports that are not looked at, since they close a circle. */
const CYCLES: Exceptions = {};

const COMPOSITION = "part of the composition root";
const OF_THE_PROGRAM = "the program, above the composition root";
const AMBIENT: Exceptions = {
  "lib/core/clock.ts: performance.now": "the clock itself",
  "lib/core/clock.ts: Date.now": "the clock itself",
  "lib/core/clock.ts: setTimeout": "the clock itself",
  "lib/core/random.ts: Math.random": "the randomness itself",
  "lib/server/serve_options.ts: systemClock": COMPOSITION,
  "lib/server/serve_options.ts: systemRandom": COMPOSITION,
  "lib/server/rate_limiter.ts: systemClock": COMPOSITION,
  "lib/server/rate_limiter.ts: systemRandom": COMPOSITION,
  "lib/server/running_proxy.ts: setInterval":
    "keeps the process running, for which timers of the clock do not count",
  "lib/cli/main.ts: systemClock": OF_THE_PROGRAM,
  "lib/cli/run_until_stopped.ts: systemClock": OF_THE_PROGRAM,
  "lib/cli/run_until_stopped.ts: systemRandom": OF_THE_PROGRAM,
  "lib/cli/run_until_stopped.ts: setTimeout": OF_THE_PROGRAM,
  "lib/cli/run_admin.ts: setTimeout": OF_THE_PROGRAM,
  "lib/cli/run_worker.ts: systemClock": OF_THE_PROGRAM,
  "lib/cli/run_worker.ts: systemRandom": OF_THE_PROGRAM,
  "lib/balancer/load_balancer.ts: systemClock": "defaults of a class that is public by itself",
  "lib/balancer/load_balancer.ts: systemRandom": "defaults of a class that is public by itself",
  "lib/http/message.ts: setTimeout": "one turn of the event loop, no time",
  "lib/engine/http1/http1_listener.ts: setTimeout": "turns of the event loop, when the proxy stops",
  "lib/engine/deno/deno_listener.ts: setTimeout": "one turn of the event loop, no time",
  "lib/transport/fetch/peer_client.ts: setTimeout": TO_MEND,
  "lib/proxy/local_reply.ts: new Date()": TO_MEND,
  "lib/redis/ioredis_connection.ts: setTimeout":
    "the client library has timers of its own, which these are laid beside",
};

/** As `FOLDER: NAME`, so that it does not matter how files are merged. */
const UNUSED_EXPORTS: Exceptions = {};

const FOREIGN_IMPORTS: Exceptions = {
  ...Object.fromEntries(
    ["tls_acceptor.ts: node:net", "tls_acceptor.ts: node:tls", "secured_socket.ts: node:net"]
      .concat(["secured_socket.ts: node:tls", "certificate_store.ts: node:tls"])
      .concat(["client_certificates.ts: node:tls", "client_certificates.ts: node:crypto"])
      .map((each) => [`lib/engine/tls/${each}`, "TLS with TCP_NODELAY and ALPN, which Deno has from there"]),
  ),
  "lib/engine/certificate.ts: node:crypto": "reads certificates, which Deno has from there, once each",
  "lib/engine/deno/deno_listener.ts: node:timers": "setImmediate, which Deno has from there",
  "lib/balancer/sticky_sessions.ts: node:crypto":
    "HMAC without a promise, once a server and not once a request",
  "lib/balancer/sticky_sessions.ts: @std/http/cookie": "writes the cookie once a server, not once a request",
};

/** Fails for what is found and not excepted, and for exceptions of what is not found any more. */
function expectOnly(found: readonly string[], exceptions: Exceptions): void {
  const known = Object.keys(exceptions);
  assertEquals(
    {
      broken: found.filter((each) => !known.includes(each)),
      needless: known.filter((each) => !found.includes(each)),
    },
    { broken: [], needless: [] },
  );
}

const LAZY = "loaded only where it is configured";
const NAMED = "a thing of its own, found by its name";
const SMALL_FILES: Exceptions = {
  "lib/filters/jwt_verifier.ts": LAZY,
  "lib/server/deno_tracer.ts": NAMED,
  "lib/admin/page_files.ts": NAMED,
  "lib/proxy/client_request.ts": NAMED,
};

const ROOT = new URL("../", import.meta.url);
const library = await readLibrary(ROOT);
const tests = await readTests(ROOT);

Deno.test("files of lib/ import their own folder and lower layers", () => {
  expectOnly(findUpwardImports(library, LAYERS), UPWARD_IMPORTS);
});

Deno.test("no file of lib/ imports itself by way of others, types included", () => {
  const cuts = Object.keys(CYCLES);
  assertEquals(findCycle(library, cuts), null);
  assertEquals(findNeedlessCuts(library, cuts), []);
});

Deno.test("time and randomness are arguments everywhere in lib/ but in the composition root", () => {
  expectOnly(findAmbient(library), AMBIENT);
});

Deno.test("every export of lib/ is used by another file of lib/ or by mod.ts, or is a part with a test of its own", () => {
  const found = findUnusedExports(library, tests).map((each) =>
    each.replace(/^lib\/([^/]+)\/.*(: .*)$/, "$1$2")
  );
  expectOnly(found, UNUSED_EXPORTS);
});

Deno.test("a file of lib/ has two importers, a test of its own, or more than a page of lines", () => {
  expectOnly(findSmallFiles(library, tests, 120), SMALL_FILES);
});

Deno.test("the folders that every request goes through depend on nothing but Deno", () => {
  expectOnly(findForeignImports(library, HOT_PATH), FOREIGN_IMPORTS);
});

Deno.test("findUpwardImports() finds imports of the same layer, of higher ones, from outside, and folders without one", () => {
  const layers = [["low"], ["left", "right"], ["high"]];
  const files = readSources({
    "lib/low/a.ts": 'import type { B } from "../high/b.ts";',
    "lib/low/own/a.ts": 'import "../a.ts";\nimport "node:path";',
    "lib/left/a.ts": 'export { low } from "../low/a.ts";\nconst right = await import("../right/a.ts");',
    "lib/right/a.ts": 'type Tool = import("../../tests/tool.ts").Tool;',
    "lib/high/b.ts": 'import { a } from "../left/a.ts";\nexport * from "../low/a.ts";',
    "lib/new/a.ts": "",
    "mod.ts": 'export * from "./lib/high/b.ts";',
  });
  assertEquals(findUpwardImports(files, layers), [
    "lib/low/a.ts -> lib/high/b.ts",
    "lib/left/a.ts -> lib/right/a.ts",
    "lib/right/a.ts -> tests/tool.ts",
    "lib/new/a.ts is in no layer",
  ]);
});

Deno.test("findCycle() finds the shortest one, those of types too, and findNeedlessCuts() cuts that cut none", () => {
  const files = readSources({
    "lib/a.ts": 'import { b } from "./b.ts";',
    "lib/b.ts": 'import { c } from "./c.ts";',
    "lib/c.ts": 'import { a } from "./a.ts";\nimport type { D } from "./d.ts";',
    "lib/d.ts": 'import { type C } from "./c.ts";',
    "lib/e.ts": 'import "./a.ts";',
  });
  assertEquals(findCycle(files), ["lib/c.ts", "lib/d.ts", "lib/c.ts"]);
  const one = "lib/d.ts -> lib/c.ts";
  assertEquals(findCycle(files, [one]), ["lib/a.ts", "lib/b.ts", "lib/c.ts", "lib/a.ts"]);
  const other = "lib/b.ts -> lib/c.ts";
  assertEquals(findCycle(files, [one, other]), null);
  assertEquals(findNeedlessCuts(files, [one, other]), []);
  assertEquals(findNeedlessCuts(files, [one, other, "lib/e.ts -> lib/a.ts", "lib/gone.ts -> lib/a.ts"]), [
    "lib/e.ts -> lib/a.ts",
    "lib/gone.ts -> lib/a.ts",
  ]);
  assertEquals(findCycle(readSources({ "lib/a.ts": 'import "./a.ts";' })), ["lib/a.ts", "lib/a.ts"]);
});

Deno.test("findAmbient() finds time and randomness, and not what is called the same or only spoken of", () => {
  const files = readSources({
    "lib/taken.ts": `
      import { systemClock, type Clock } from "./clock.ts";
      export const roll = (random = Math.random) => random() + Date.now() + performance.now();
      export const today = () => [new Date(), globalThis.setInterval];
      export const later = { setTimeout };
    `,
    "lib/given.ts": `
      /** Neither Math.random nor setTimeout(). */
      export interface Timers { setTimeout(callback: () => void): void; setInterval: number }
      export const wait = (timers: Timers, text = "Date.now()") => timers.setTimeout(() => text);
      export const day = (ms: number) => new Date(ms);
      export type Timer = ReturnType<typeof setTimeout>;
      export const own = { setTimeout: 1 };
      export class Clock { setTimeout(): void {} }
    `,
  });
  assertEquals(
    findAmbient(files),
    [
      "systemClock",
      "Math.random",
      "Date.now",
      "performance.now",
      "new Date()",
      "setInterval",
      "setTimeout",
    ].map((name) => `lib/taken.ts: ${name}`),
  );
});

Deno.test("findUnusedExports() finds what no other file takes, of all kinds", () => {
  const files = readSources({
    "lib/x/a.ts": `
      export const one = 1, two = 2;
      export function three(): void {}
      export class Four {}
      export interface Five {}
      export type Six = Five;
      const seven = 7, eight = 8;
      export { seven, eight as nine };
      export default seven;
    `,
    "lib/x/b.ts": 'import { one as other, type Six, nine } from "./a.ts";\nexport { three } from "./a.ts";',
    "lib/x/all.ts": "export const each = 1;",
    "lib/x/lazy.ts": "export const later = 1;",
    "lib/x/c.ts": 'import * as all from "./all.ts";\nconst lazy = () => import("./lazy.ts");',
    "lib/x/d.ts": 'let five: import("./a.ts").Five;',
    "mod.ts": 'export { Four } from "./lib/x/a.ts";',
  });
  const unused = ["lib/x/a.ts: two", "lib/x/a.ts: seven", "lib/x/a.ts: default", "lib/x/b.ts: three"];
  assertEquals(findUnusedExports(files, []), unused);
  const test = readSources({ "tests/x/a_test.ts": 'import { seven, two } from "../../lib/x/a.ts";' });
  assertEquals(findUnusedExports(files, test), unused.filter((each) => each !== "lib/x/a.ts: seven"));
});

Deno.test("findSmallFiles() finds short files with one importer and no test", () => {
  const files = readSources({
    "lib/x/short.ts": "export const a = 1;\n",
    "lib/x/shared.ts": "export const b = 1;\n",
    "lib/x/tested.ts": "export const c = 1;\n",
    "lib/x/long.ts": "export const d = 1;\n\n\n\n",
    "lib/x/user.ts":
      'import { a } from "./short.ts";\nimport { b } from "./shared.ts";\nimport { c } from "./tested.ts";\nimport { d } from "./long.ts";\n',
    "lib/x/other.ts": 'import { b } from "./shared.ts";\n\n\n\n',
  });
  const test = readSources({ "tests/x/tested_test.ts": 'import { c } from "../../lib/x/tested.ts";' });
  assertEquals(findSmallFiles(files, test, 3), ["lib/x/short.ts"]);
});

Deno.test("findForeignImports() finds what comes from outside, in the folders that it is asked for", () => {
  const files = readSources({
    "lib/hot/a.ts":
      'import { assert } from "@std/assert";\nimport type { Socket } from "node:net";\nimport "./b.ts";',
    "lib/hot/deep/b.ts": 'const lazy = () => import("npm:lazy");',
    "lib/cold/c.ts": 'import "node:net";',
  });
  assertEquals(findForeignImports(files, ["hot"]), [
    "lib/hot/a.ts: @std/assert",
    "lib/hot/a.ts: node:net",
    "lib/hot/deep/b.ts: npm:lazy",
  ]);
});
