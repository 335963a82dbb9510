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
  ["overload.", "OverloadOptions", { upstreams, overload: { maxInFlight: 1, [STRAY]: 1 } }],
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
