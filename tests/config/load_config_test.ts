import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigError } from "../../lib/config/config_error.ts";
import { loadConfig } from "../../lib/config/load_config.ts";

/** Writes modules into a folder of their own and returns it. */
async function folderWith(
  files: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${path}/${name}`, text);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The message that loading this module gives, with `FOLDER` for where it is. */
async function messageOf(text: string, name = "proxy.config.ts"): Promise<string> {
  await using folder = await folderWith({ [name]: text });
  const error = await assertRejects(() => loadConfig(`${folder.path}/${name}`), ConfigError);
  return error.message.replaceAll(folder.path, "FOLDER");
}

const CANNOT = "Cannot load FOLDER/proxy.config.ts: ";

Deno.test("loadConfig() takes named exports, and leaves helpers alone", async () => {
  await using folder = await folderWith({
    "a #1%.ts": `
      export const listen = 1;
      export const upstreams = ["a:80"];
      export const limit = 5;
      export const limiter = { key: "ip", limit, window: "1s" };
      export function requestFilter() {}
      export function helper() {}
      export type Nothing = number;`,
  });
  const config = await loadConfig(`${folder.path}/a #1%.ts`);
  assertEquals(config.listen, [{ hostname: "0.0.0.0", port: 1 }]);
  assertEquals(config.limiter.length, 1);
  assertEquals(Object.keys(config.filters), ["requestFilter"]);
});

Deno.test("loadConfig() takes a default export, by path and by URL", async () => {
  await using folder = await folderWith({
    "b.ts": `export default { upstreams: ["a:80"] }; export const helper = 1;`,
  });
  for (const source of [`${folder.path}/b.ts`, new URL(`file://${folder.path}/b.ts`)]) {
    assertEquals([...(await loadConfig(source)).pools.keys()], ["default"]);
  }
  const inline = "data:text/javascript,export const upstreams = ['b:80']";
  assertEquals((await loadConfig(inline)).pools.get("default")?.servers[0]?.id, "b:80");
});

Deno.test("loadConfig() refuses exports that look misspelt, with everything else that is wrong", async () => {
  const text = `
    export const upstream = ["a:80"];
    export const limitter = {};
    export function responseTrailerFilter() {}
    export const listen = "x";`;
  assertEquals(
    await messageOf(text),
    `${CANNOT}5 problems
  listen must be "host:port", "unix:/path" or a port number, received "x"
  upstreams is required
  limitter is not a known key, did you mean "limiter"?
  responseTrailerFilter is not a known key, did you mean "responseFilter"?
  upstream is not a known key, did you mean "upstreams"?`,
  );
});

Deno.test("loadConfig() refuses unknown keys and stray configuration beside a default export", async () => {
  const text = `
    export default { upstreams: ["a:80"], helper: 1 };
    export const limiter = { key: "ip", limit: 1, window: "1s" };`;
  assertEquals(
    await messageOf(text),
    `${CANNOT}2 problems
  helper is not a known key; known are "listen", "upstreams", "limiter", "trustedProxies", "forwarded", "paths", "forward", "gracePeriod", "onListen", "routes", "filters", "newContext", "requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter", "failToConnect", "upstreamResponseFilter", "responseFilter", "responseBodyFilter", "failToProxy", "ownResponseFilter", "logging"
  limiter is exported beside the default export, which nothing reads`,
  );
});

const UNLOADABLE: readonly [what: string, text: string, message: string][] = [
  [
    "a default export that is no object",
    "export default () => {};",
    'the default export must be an object with "upstreams", received a function',
  ],
  ["a module without exports", "", "upstreams is required"],
  ["a syntax error", "export const a = ;", "syntax error: Expression expected (line 1, column 18)"],
  [
    "a module that throws",
    "\nthrow new Error('no database');",
    "it threw an error: no database (line 2, column 7)",
  ],
  [
    "a module that throws a class",
    "nothing();",
    "it threw ReferenceError: nothing is not defined (line 1, column 1)",
  ],
  ["a module that throws no error", "throw 'a\\nb';", "it threw no error but: a"],
  [
    "a missing import",
    'import "./nothing.ts";',
    "it imports file://FOLDER/nothing.ts, which does not exist (line 1, column 8)",
  ],
  [
    "a missing name",
    'import { nothing } from "data:text/javascript,export {}"; export { nothing };',
    "syntax error: The requested module 'data:text/javascript,export {}' does not provide an export named 'nothing' (line 1, column 10)",
  ],
];

for (const [what, text, message] of UNLOADABLE) {
  Deno.test(`loadConfig() tells of ${what} in one line`, async () => {
    assertEquals(await messageOf(text), CANNOT + message);
  });
}

Deno.test("loadConfig() tells of an error in an imported file with its name", async () => {
  await using folder = await folderWith({ "a.ts": 'import "./b.ts";', "b.ts": "let = 1 2" });
  const error = await assertRejects(() => loadConfig(`${folder.path}/a.ts`), ConfigError);
  assertEquals(/ syntax error: .* \(file:.*\/b\.ts:1:\d+\)$/.test(error.message), true, error.message);
});

Deno.test("loadConfig() tells of missing files and of directories", async () => {
  await using folder = await folderWith({});
  const missing = await assertRejects(() => loadConfig(`${folder.path}/no.ts`), ConfigError);
  assertEquals(missing.message, `Cannot load ${folder.path}/no.ts: there is no such file`);
  const directory = await assertRejects(() => loadConfig(folder.path), ConfigError);
  assertEquals(directory.message, `Cannot load ${folder.path}: it is a directory`);
});

Deno.test("loadConfig() tells why the system does not let it read a file", async () => {
  await using folder = await folderWith({ "a.ts": 'import "./loop.ts";' });
  // Unlike permissions, a link to itself stops the superuser too.
  await Deno.symlink("loop.ts", `${folder.path}/loop.ts`);
  const loop = await assertRejects(() => loadConfig(`${folder.path}/loop.ts`), ConfigError);
  const reason = "Too many levels of symbolic links";
  assertEquals(loop.message, `Cannot load ${folder.path}/loop.ts: it cannot be read: ${reason}`);
  const { message } = await assertRejects(() => loadConfig(`${folder.path}/a.ts`), ConfigError);
  assertStringIncludes(message, `it imports file://${folder.path}/loop.ts, which cannot be read: ${reason}`);
});
