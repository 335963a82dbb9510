import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { loadConfig } from "../../../lib/config/load_config.ts";

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
  const { config } = await loadConfig(`${folder.path}/a #1%.ts`);
  assertEquals(config.listen.map(({ port }) => port), [1]);
  assertEquals(config.limiter.length, 1);
  assertEquals(Object.keys(config.filters), ["requestFilter"]);
});

Deno.test("loadConfig() takes a default export, by path and by URL", async () => {
  await using folder = await folderWith({
    "b.ts": `export default { upstreams: ["a:80"] }; export const helper = 1;`,
  });
  for (const source of [`${folder.path}/b.ts`, new URL(`file://${folder.path}/b.ts`)]) {
    assertEquals([...(await loadConfig(source)).config.pools.keys()], ["default"]);
  }
  const inline = "data:text/javascript,export const upstreams = ['b:80']";
  assertEquals((await loadConfig(inline)).config.pools.get("default")?.servers[0]?.id, "b:80");
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
  upstreams is required: an array of "host:port", an object with "servers", or either by name
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
  helper is not a known key; known are "listen", "upstreams", "limiter", "trustedProxies", "forwarded", "paths", "forward", "overload", "tracing", "serverTiming", "accessLog", "metrics", "admin", "gracePeriod", "webSocketGrace", "shutdownDelay", "workers", "rollback", "onListen", "routes", "filters", "newContext", "requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter", "failToConnect", "upstreamResponseFilter", "responseFilter", "responseBodyFilter", "failToProxy", "localReplyFilter", "logging"
  limiter is exported in addition to the default export, and is not read`,
  );
});

const UNLOADABLE: readonly [what: string, text: string, message: string][] = [
  [
    "a default export that is no object",
    "export default () => {};",
    'the default export must be an object with "upstreams", received a function',
  ],
  [
    "a module without exports",
    "",
    'upstreams is required: an array of "host:port", an object with "servers", or either by name',
  ],
  [
    "a default export that is a promise",
    `export default Promise.reject(new Error("later"));`,
    'the default export is a promise; write "export default await ..."',
  ],
  [
    "a promise of servers",
    `export const upstreams = Promise.resolve(["a:80"]);`,
    'upstreams must be an array of "host:port", an object with "servers", or either by name, received a promise (an "await" is missing)',
  ],
  [
    "a whole configuration by a name of its own",
    `export const main = { upstreams: ["a:80"], limiter: {} };`,
    'main is a configuration by a name that nothing reads; write "export default" in place of it',
  ],
  [
    "a whole configuration without servers by its usual name",
    `export const config = { limiter: {} };`,
    'config is a configuration by a name that nothing reads; write "export default" in place of it',
  ],
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

/** Exports that are no keys, and where they belong. */
const MISPLACED: Readonly<Record<string, string>> = {
  rateLimit: 'here it is called "limiter"',
  rateLimiter: 'here it is called "limiter"',
  ratelimits: 'here it is called "limiter"',
  policies: 'here it is called "limiter"',
  throttle: 'here it is called "limiter"',
  window: 'it belongs in "limiter"',
  burst: 'it belongs in "limiter"',
  servers: 'it belongs in "upstreams"',
  server: 'it belongs in "listen" (where clients come in) or "upstreams" (where requests go)',
  backends: 'here it is called "upstreams"',
  backend: 'here it is called "upstreams"',
  healthCheck: 'it belongs in "upstreams"',
  healthcheck: 'it belongs in "upstreams"',
  ejection: 'it belongs in "upstreams"',
  timeouts: 'it belongs in "listen" or "upstreams" or "routes"',
  tls: 'it belongs in "listen" or "upstreams"',
  port: 'it belongs in "listen"',
  hostname: 'it belongs in "listen"',
  bind: 'here it is called "listen"',
  middleware: 'here it is called "filters"',
  logLevel: "it is the option --log-level of the command line",
};

Deno.test("loadConfig() says where names belong that are known and no keys", async () => {
  for (const [name, place] of Object.entries(MISPLACED)) {
    const named = `export const upstreams = ["a:80"]; export const ${name} = {};`;
    assertEquals(await messageOf(named), `${CANNOT}${name} is not a known key; ${place}`);
    const within = `export default { upstreams: ["a:80"], ${name}: {} };`;
    assertEquals(await messageOf(within), `${CANNOT}${name} is not a known key; ${place}`);
    const beside = `export default { upstreams: ["a:80"] }; export const ${name} = {};`;
    assertEquals(
      await messageOf(beside),
      `${CANNOT}${name} is exported in addition to the default export, and is not read; ${place}`,
    );
  }
  assertEquals(
    await messageOf(`export const upstreams = ["a:80"]; export const filter = {};`),
    `${CANNOT}filter is not a known key, did you mean "filters"?`,
  );
});

Deno.test("loadConfig() tells which exports nothing reads", async () => {
  const policy = `{ key: "ip", limit: 1, window: "1s" }`;
  const cases: [text: string, unread: string[]][] = [
    [`export const upstreams = ["a:80"]; export const helper = 1; export function other() {}`, [
      "helper",
      "other",
    ]],
    [`export const upstreams = ["a:80"]; export const PORT = 1, SERVERS = [];`, ["PORT", "SERVERS"]],
    [`export const upstreams = ["a:80"], limiter = ${policy}, window = "1s";`, ["window"]],
    [`export default { upstreams: ["a:80"], limiter: ${policy} }; export const limit = 1;`, ["limit"]],
    [`export const config = { upstreams: ["a:80"] }; export default config;`, []],
    [`export const upstreams = ["a:80"]; export const config = 5;`, ["config"]],
  ];
  for (const [text, unread] of cases) {
    await using folder = await folderWith({ "c.ts": text });
    assertEquals((await loadConfig(`${folder.path}/c.ts`)).unread.toSorted(), unread, text);
  }
});

Deno.test("loadConfig() says of files of other formats that they are no modules", async () => {
  const no = "and a configuration is a module of TypeScript or JavaScript such as proxy.config.ts";
  const yaml = 'listen: "0.0.0.0:6188"';
  for (const name of ["proxy.yaml", "proxy.yml", "proxy.YAML"]) {
    for (const text of [yaml, "upstreams:\n  - a:80\n"]) {
      assertEquals(await messageOf(text, name), `Cannot load FOLDER/${name}: it is YAML, ${no}`);
    }
  }
  assertEquals(await messageOf("a = 1", "proxy.toml"), `Cannot load FOLDER/proxy.toml: it is TOML, ${no}`);
  assertEquals(
    await messageOf('{"upstreams": ["a:80"]}', "proxy.json"),
    `Cannot load FOLDER/proxy.json: it is JSON, ${no}, which can read it: ` +
      'import config from "FOLDER/proxy.json" with { type: "json" }; export default config',
  );
  await using folder = await folderWith({});
  const missing = await assertRejects(() => loadConfig(`${folder.path}/no.yaml`), ConfigError);
  assertEquals(missing.message, `Cannot load ${folder.path}/no.yaml: there is no such file`);
});

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
