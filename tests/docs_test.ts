/** The pages of `docs/` and the README say what the program does: options, configurations, links. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../lib/config/config_error.ts";
import { resolveConfig } from "../lib/config/resolve_config.ts";
import { type DocSymbols, optionsOf, readSymbols } from "../tools/doc_types.ts";
import { findTables, formatPage, tablesOf, writeTables } from "../tools/option_tables.ts";

const ROOT = new URL("../", import.meta.url);
const upstreams = ["a:80"];
const STRAY = "zzzzzzzzzzzz";

const inPool = (options: object): object => ({ upstreams: { servers: upstreams, ...options } });
const policy = { key: "ip", limit: 1, window: "1s" };
const redis = { type: "redis", url: "rediss://a" };

/** A stray option in each object that has options, and the interface of that object. */
const PLACES: readonly (readonly [path: string, type: string, ...configs: unknown[]])[] = [
  ["", "ProxyConfig", { upstreams, [STRAY]: 1 }],
  ["listen.", "ListenOptions", { upstreams, listen: { [STRAY]: 1 } }],
  ["listen.timeouts.", "ListenOptions.timeouts", { upstreams, listen: { timeouts: { [STRAY]: 1 } } }],
  ["admin.", "AdminOptions", { upstreams, admin: { [STRAY]: 1 } }],
  ["admin.tls.", "AdminOptions.tls", { upstreams, admin: { tls: { cert: "a", key: "b", [STRAY]: 1 } } }],
  ["admin.readyz.", "AdminOptions.readyz", { upstreams, admin: { readyz: { [STRAY]: 1 } } }],
  ["rollback.", "RollbackOptions", { upstreams, rollback: { errorRate: 1, within: "1s", [STRAY]: 1 } }],
  ["listen.tls.", "ListenTlsOptions", { upstreams, listen: { tls: { cert: "a", key: "b", [STRAY]: 1 } } }],
  [
    "listen.tls.certificates[0].",
    "CertificateOptions",
    { upstreams, listen: { engine: "http1", tls: { certificates: [{ cert: "a", key: "b", [STRAY]: 1 }] } } },
  ],
  [
    "listen.tls.clientCertificates.",
    "ClientCertificateOptions",
    {
      upstreams,
      listen: { engine: "http1", tls: { cert: "a", key: "b", clientCertificates: { ca: "c", [STRAY]: 1 } } },
    },
  ],
  ["upstreams.tls.", "UpstreamTlsOptions", inPool({ tls: { [STRAY]: 1 } })],
  [
    "overload.",
    "OverloadOptions",
    { upstreams, overload: { maxInFlight: 1, [STRAY]: 1 } },
    { upstreams, overload: { maxLoopDelay: "1s", [STRAY]: 1 } },
  ],
  ["upstreams.", "PoolOptions", inPool({ [STRAY]: 1 })],
  ["upstreams[0].", "ServerOptions", { upstreams: [{ address: "a:80", [STRAY]: 1 }] }],
  [
    "upstreams.healthCheck.",
    "ActiveCheckOptions",
    inPool({ healthCheck: { type: "http", [STRAY]: 1 } }),
    inPool({ healthCheck: { type: "custom", check: () => true, [STRAY]: 1 } }),
    inPool({ healthCheck: { type: "grpc", [STRAY]: 1 } }),
  ],
  ["upstreams.timeouts.", "TimeoutOptions", inPool({ timeouts: { [STRAY]: 1 } })],
  ["upstreams.connections.", "PoolOptions.connections", inPool({ connections: { [STRAY]: 1 } })],
  ["upstreams.ejection.", "EjectionOptions", inPool({ ejection: { [STRAY]: 1 } })],
  ["upstreams.slowStart.", "SlowStartOptions", inPool({ slowStart: { [STRAY]: 1 } })],
  ["upstreams.queue.", "QueueOptions", inPool({ queue: { [STRAY]: 1 } })],
  ["upstreams.sticky.", "StickyOptions", inPool({ sticky: { [STRAY]: 1 } })],
  ["upstreams.retries.", "RetryOptions", inPool({ retries: { [STRAY]: 1 } })],
  ["upstreams.retries.budget.", "RetryOptions.budget", inPool({ retries: { budget: { [STRAY]: 1 } } })],
  ["upstreams.retries.backoff.", "RetryOptions.backoff", inPool({ retries: { backoff: { [STRAY]: 1 } } })],
  ["upstreams.webSocket.", "WebSocketOptions", inPool({ webSocket: { [STRAY]: 1 } })],
  ["routes[0].", "RouteOptions", { upstreams, routes: [{ [STRAY]: 1 }] }],
  ["routes[0].match.", "RouteMatch", { upstreams, routes: [{ match: { [STRAY]: 1 } }] }],
  ["routes[0].rewrite.", "RewriteOptions", { upstreams, routes: [{ rewrite: { [STRAY]: 1 } }] }],
  ["trustedProxies.", "TrustedProxiesOptions", { upstreams, trustedProxies: { from: [], [STRAY]: 1 } }],
  ["forwarded.", "ForwardedOptions", { upstreams, forwarded: { [STRAY]: 1 } }],
  ["limiter.", "LimiterPolicy", { upstreams, limiter: { ...policy, [STRAY]: 1 } }],
  ["limiter.store.", "RedisStoreOptions", {
    upstreams,
    limiter: { ...policy, store: { ...redis, [STRAY]: 1 } },
  }],
  ["accessLog.", "AccessLogOptions", { upstreams, accessLog: { [STRAY]: 1 } }],
  ["tracing.", "TracingOptions", { upstreams, tracing: { [STRAY]: 1 } }],
  [
    "upstreams.discovery.",
    "DiscoveryOptions",
    { upstreams: { discovery: { type: "dns", name: "a", record: "A", port: 1, [STRAY]: 1 } } },
    { upstreams: { discovery: { type: "custom", discover: () => [], [STRAY]: 1 } } },
  ],
  ["limiter.store.tls.", "RedisStoreOptions.tls", {
    upstreams,
    limiter: { ...policy, store: { ...redis, tls: { [STRAY]: 1 } } },
  }],
];

/** The options that an object can have, by what the problem of the stray one says. */
function optionsAt(path: string, configs: readonly unknown[]): string[] {
  const known = configs.flatMap((config) => {
    const { problems } = assertThrows(() => resolveConfig(config), ConfigError);
    const problem = problems.find((each) => each.path === path + STRAY);
    assert(problem !== undefined, `no problem at ${path}${STRAY}`);
    return problem.message.split("known are ")[1]!.match(/\w+/g)!;
  });
  return [...new Set(known)].sort();
}

async function readPages(): Promise<Map<string, string>> {
  const pages = new Map<string, string>();
  for (
    const name of ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "examples/README.md"]
  ) {
    pages.set(name, await Deno.readTextFile(new URL(name, ROOT)));
  }
  for await (const { name } of Deno.readDir(new URL("docs/", ROOT))) {
    if (name.endsWith(".md")) {
      pages.set(`docs/${name}`, await Deno.readTextFile(new URL(`docs/${name}`, ROOT)));
    }
  }
  return pages;
}

let symbols: Promise<DocSymbols> | undefined;
const documented = (): Promise<DocSymbols> => symbols ??= readSymbols("mod.ts", ROOT.pathname);

Deno.test("the types document the options that the validation knows", async () => {
  const known = await documented();
  for (const [path, type, ...configs] of PLACES) {
    assertEquals(
      optionsOf(known, type).map(({ name }) => name).sort(),
      optionsAt(path, configs),
      `${type} at ${path}`,
    );
  }
});

Deno.test("docs/ has a table of every option, as the types say it (deno task docs writes them)", async () => {
  const known = await documented();
  const shown = new Map<string, Set<string>>();
  const pages = [...await readPages()].filter(([name]) => name.startsWith("docs/"));
  const places = findTables(pages.map(([name, page]) => [name.slice("docs/".length), page]));
  for (const [name, page] of pages) {
    assertEquals(await formatPage(writeTables(page, known, places)), page, `${name}: run deno task docs`);
    for (const [type, options] of tablesOf(page, known)) {
      shown.set(type, new Set([...shown.get(type) ?? [], ...options]));
    }
  }
  const filters = new Set(optionsOf(known, "Filters").map(({ name }) => name));
  for (const [, type] of PLACES) {
    const missing = optionsOf(known, type).map(({ name }) => name)
      .filter((name) => !filters.has(name) && !shown.get(type)?.has(name));
    assertEquals(missing, [], `options of ${type} that no page shows`);
  }
});

/** Options whose default a resolved configuration does not show, and the file whose destructuring has it. */
const IN_CODE: Readonly<Record<string, string>> = {
  "upstreams.loadFactor": "lib/balancer/load_balancer.ts",
  "upstreams.healthCheck.headers": "lib/health/http_check.ts",
  "upstreams.healthCheck.maxBodyBytes": "lib/health/http_check.ts",
  "upstreams.healthCheck.reuseConnection": "lib/health/http_check.ts",
  "upstreams.connections.maxStreams": "lib/transport/select_transport.ts",
  "trustedProxies.field": "lib/http/trusted_proxies.ts",
};
/** Where the options of a class or a function have their defaults, if not in the file of the type. */
const CODE_OF: Readonly<Record<string, string>> = {
  BalancingOptions: "lib/config/balancing_options.ts",
  LoadBalancerOptions: "lib/balancer/load_balancer.ts",
};
/** Values of these options that are other than the default, where {@linkcode othersOf} finds none. */
const OTHERS: Readonly<Record<string, unknown>> = {
  "listen": "127.0.0.1:7",
  "filters": [{ logging() {} }],
  "forwarded": { via: true },
  "listen.timeouts": { head: "7s" },
  "admin.listen": "127.0.0.1:7",
  "admin.readyz": { minServers: 7 },
  "upstreams.connections": { maxIdle: 7 },
  "upstreams.timeouts": { connect: "7s" },
  "routes[0].filters": [{ logging() {} }],
  "limiter.store": redis,
  "limiter.store.tls": { caCerts: ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] },
};
/** Options that a type has to have for one of its kinds alone. */
const FOR_ONE_KIND = ["DiscoveryOptions.name", "DiscoveryOptions.record", "DiscoveryOptions.discover"]
  .concat("ActiveCheckOptions.check");

Deno.test("the default that a docstring states is the one that the configuration gets", async () => {
  const known = await documented();
  let compared = 0;
  const wrong: string[] = [];
  const unseen: string[] = [];
  for (const [path, type, ...configs] of PLACES) {
    for (const { name, type: values, defaultValue } of optionsOf(known, type)) {
      const stated = literalOf(defaultValue);
      if (stated === undefined || configs.every((config) => resolvedAs(config, {}, name) === undefined)) {
        continue;
      }
      const option = `${path}${name}`;
      let seen = false;
      for (const config of configs) {
        const absent = resolvedAs(config, {}, name);
        if (absent === undefined) continue;
        if (absent === resolvedAs(config, { [name]: stated.value })) {
          const others = option in OTHERS ? [OTHERS[option]] : othersOf(stated.value, values);
          seen ||= others.some((other) => {
            const resolved = resolvedAs(config, { [name]: other });
            return resolved !== undefined && resolved !== absent;
          });
        } else if (resolvedAs(config, { [name]: stated.value }) !== undefined) wrong.push(option);
      }
      if (!seen && !wrong.includes(option)) unseen.push(option);
      compared++;
    }
  }
  assertEquals(wrong, [], "other defaults than the docstrings state");
  assertEquals(
    unseen.filter((option) => !(option in IN_CODE)),
    [],
    "no value of these options changes anything",
  );
  for (const option of Object.keys(IN_CODE)) {
    assert(unseen.includes(option), `${option} need not be in IN_CODE`);
  }
  assert(compared > 100);
});

Deno.test("the default that a docstring states is the one in the code, where no configuration shows it", async () => {
  const known = await documented();
  const checked = Object.entries(IN_CODE).map(([option, file]) => {
    const name = option.split(".").at(-1)!;
    const [, type] = PLACES.find(([path]) => option === path + name)!;
    return [name, type, file] as const;
  });
  const covered = PLACES.map(([, type]) => type);
  for (const [type, { location }] of known) {
    if (!/Options$/.test(type) || covered.includes(type)) continue;
    const file = CODE_OF[type] ?? location.filename.slice(ROOT.href.length);
    checked.push(...optionsOf(known, type).map(({ name }) => [name, type, file] as const));
  }
  const wrong: string[] = [];
  let compared = 0;
  for (const [name, type, file] of checked) {
    const { defaultValue } = optionsOf(known, type).find((option) => option.name === name)!;
    const stated = literalOf(defaultValue);
    if (stated === undefined) continue;
    compared++;
    const found = defaultsIn(await Deno.readTextFile(new URL(file, ROOT)), name);
    if (!found.some((value) => Deno.inspect(value) === Deno.inspect(stated.value))) {
      wrong.push(`${type}.${name}: ${defaultValue}, in ${file} ${Deno.inspect(found)}`);
    }
  }
  assertEquals(wrong, []);
  assert(compared > 40);
});

/** What stands for an option that is left out where it is destructured, as far as it is written there or in a constant. */
function defaultsIn(code: string, name: string): unknown[] {
  const value = String.raw`(\[[^\]]*\]|\{\}|"[^"]*"|[\w.]+)`;
  const defaults = code.matchAll(new RegExp(String.raw`[{,(]\s*${name}(?:: \w+)? = ${value}`, "g"));
  return Array.from(defaults, ([, found]) => found!).flatMap((found) => {
    const constant = /^[A-Z][A-Z_]+$/.test(found)
      ? new RegExp(String.raw`const ${found}(?::[^=]*)? =\s*(?:Object\.freeze(?:<[^>]*>)?\()?${value}`).exec(
        code,
      )?.[1]
      : undefined;
    const literal = literalOf(`\`${constant ?? found}\``);
    return literal === undefined ? [] : [literal.value];
  });
}

/** The value that a text of code is; `undefined` for words, such as the name of another option. */
function literalOf(text: string): { readonly value: unknown } | undefined {
  const code = /^`(.*)`$/s.exec(text)?.[1];
  if (code === undefined || !/^(?:["[{\d]|true|false|Infinity)/.test(code)) return undefined;
  try {
    return { value: new Function(`return (${code});`)() };
  } catch {
    return undefined;
  }
}

/**
 * A configuration with options in the place of the stray one, resolved and written out.
 *
 * @param without an option that must not be there
 * @returns `undefined` when the configuration is refused, or has that option
 */
function resolvedAs(config: unknown, options: object, without = STRAY): string | undefined {
  let has = false;
  const complete = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(complete);
    if (typeof value !== "object" || value === null) return value;
    const { [STRAY]: stray, ...rest } = value as Record<string, unknown>;
    const completed = Object.fromEntries(Object.entries(rest).map(([name, each]) => [name, complete(each)]));
    if (stray === undefined) return completed;
    has ||= without in completed;
    return { ...completed, ...options };
  };
  try {
    const completed = complete(config);
    if (has) return undefined;
    const { pools, ...resolved } = resolveConfig(completed);
    // `way` keeps what was written, for servers that are added later.
    return Deno.inspect({ ...resolved, pools: Array.from(pools.values(), ({ way: _, ...pool }) => pool) }, {
      depth: 20,
      iterableLimit: Infinity,
      strAbbreviateSize: Infinity,
    });
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** Values of other meaning than the default, of which some may be refused. */
function othersOf(value: unknown, type: string): readonly unknown[] {
  const words = Array.from(type.matchAll(/"([^"]*)"/g), ([, word]) => word);
  switch (typeof value) {
    case "boolean":
      return [!value, ...words];
    case "number":
      return [7, 0.5, 3, 0, true, false];
    case "string":
      return [...words.filter((word) => word !== value), "7s", "7KiB", "/seven", "seven", true, false];
    default:
      return [[], ...words.map((word) => [word]), ["10.0.0.7"], ["PATCH"], [777], { a: "b" }, false, true];
  }
}

Deno.test("an editor shows of every option what it means, its unit, and its default", async () => {
  const known = await documented();
  const types = [...known.keys()].filter((name) =>
    /^(?!Resolved).*(?:Options|Config|Policy|Match)$/.test(name)
  )
    .concat(PLACES.map(([, type]) => type).filter((type) => type.includes(".")));
  const phases = new Set(optionsOf(known, "Filters").map(({ name }) => name));
  const missing: string[] = [];
  for (const type of types) {
    for (const option of optionsOf(known, type)) {
      const { name, summary, details, required, defaultValue } = option;
      if (summary === "") missing.push(`${type}.${name} has no docstring`);
      if (
        !required && defaultValue === "" && !phases.has(name) && !FOR_ONE_KIND.includes(`${type}.${name}`)
      ) missing.push(`${type}.${name} has no @default`);
      const texts = `${name} ${summary} ${details}`;
      if (option.type.split(" | ").includes("number") && !COUNTED.test(texts)) {
        missing.push(`${type}.${name} does not say of what it is a number`);
      }
    }
  }
  assertEquals(missing, []);
  for (const [name, unit] of [["Duration", "milliseconds"], ["ByteSize", "bytes"]] as const) {
    assert(known.get(name)?.jsDoc?.doc?.includes(unit), `${name} does not say what a number of it is`);
  }
});

/** What numbers of options are numbers of. */
const COUNTED =
  /\b(?:milliseconds|seconds?|bytes|percent|shares?|parts?|times|ports?|status(?:es)?|version|level)\b|requests|retries|connections|streams|servers|keys|failures|passes|successes|bits|attempts|processes|workers|lines|files|instances|refusals|copies|often/i;

Deno.test("every configuration in the documentation is valid", async () => {
  let count = 0;
  for (const [name, page] of await readPages()) {
    for (const [, code] of page.matchAll(/```ts\n(.*?)```/gs)) {
      if (!/export (?:default|const upstreams)/.test(code!)) continue;
      const module = await import(`data:application/typescript,${encodeURIComponent(code!)}`);
      const config = module.default ?? { ...module };
      try {
        resolveConfig(config);
      } catch (error) {
        throw new Error(`${name}:\n${code}`, { cause: error });
      }
      count++;
    }
  }
  assert(count > 10);
});

Deno.test("every link inside the repository leads somewhere", async () => {
  const pages = await readPages();
  const broken: string[] = [];
  for (const [name, page] of pages) {
    const text = page.replaceAll(/```.*?```/gs, "").replaceAll(/`[^`\n]*`/g, "");
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue;
      const [path, anchor] = link!.split("#");
      const url = path === "" ? new URL(name, ROOT) : new URL(path!, new URL(name, ROOT));
      const target = url.pathname.slice(ROOT.pathname.length);
      if (!await exists(url)) broken.push(`${name}: ${link}`);
      else if (anchor !== undefined && pages.has(target) && !anchors(pages.get(target)!).has(anchor)) {
        broken.push(`${name}: ${link} (no such heading)`);
      }
    }
  }
  assertEquals(broken, []);
});

Deno.test("docs/troubleshooting.md quotes messages as the program writes them", async () => {
  const page = await Deno.readTextFile(new URL("docs/troubleshooting.md", ROOT));
  const [, table] = /^## By message$(.*?)^## /ms.exec(page)!;
  const quoted = Array.from(table!.matchAll(/^\| `([^`]+)` +\|/gm), ([, message]) => message!);
  assert(quoted.length > 10);
  const written = await readSources(new URL("lib/", ROOT));
  // Three dots stand for what differs from message to message.
  const parts = quoted.flatMap((message) => message.split("...")).map((part) =>
    part.replace(/^[:;,]/, "").trim()
  )
    .filter((part) => part.length > 3 && part !== "Cannot load proxy.config.ts:");
  assertEquals(parts.filter((part) => !written.includes(part)), []);
});

/** The text of every module in a folder and below. */
async function readSources(folder: URL): Promise<string> {
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) text += await readSources(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) text += await Deno.readTextFile(new URL(name, folder));
  }
  return text;
}

Deno.test("commands in the documentation can be pasted into any shell", async () => {
  for (const [name, page] of await readPages()) {
    for (const [, code] of page.matchAll(/```sh\n(.*?)```/gs)) {
      for (const line of code!.split("\n")) {
        // zsh takes # for an argument, and ? and * for patterns of files that have to be there.
        const bare = line.replaceAll(/"[^"]*"|'[^']*'/g, "");
        assert(!/(?:^|\s)#|[?*]/.test(bare), `${name}: ${line}`);
      }
    }
  }
});

/** The anchors of the headings, as code forges make them, and those of tables. */
function anchors(page: string): Set<string> {
  const headings = Array.from(
    page.replaceAll(/```.*?```/gs, "").matchAll(/^#+ (.+)$/gm),
    ([, text]) => text!,
  );
  const slugs = headings.map((text) =>
    text.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
  return new Set([...slugs, ...Array.from(page.matchAll(/<a id="([^"]+)">/g), ([, id]) => id!)]);
}

async function exists(url: URL): Promise<boolean> {
  try {
    await Deno.stat(url);
    return true;
  } catch {
    return false;
  }
}
