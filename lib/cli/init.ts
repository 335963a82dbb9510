/** `lbproxy --init`: writes the first configuration of a user. */

import { VERSION } from "../core/version.ts";
import { UsageError } from "./io.ts";

const CONFIG = `// The configuration of the proxy: "deno task check" describes it, "deno task start" runs it.

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  // The address for clients. "0.0.0.0:80" listens at every address of this machine. With a certificate, write
  // { hostname: "127.0.0.1", port: 8443, tls: { cert: "cert.pem", key: "key.pem" } }.
  listen: "127.0.0.1:8080",

  // Write the addresses of your servers here. Requests go to them in turn. A server that accepts no connection gets no
  // requests until it accepts one again.
  upstreams: {
    servers: ["127.0.0.1:9001", "127.0.0.1:9002"],
    healthCheck: { type: "tcp", interval: "5s" },
  },

  // How many requests each client address may send; further requests get 429.
  limiter: { key: "ip", limit: 100, window: "1m" },

  // The dashboard, metrics and "lbproxy ctl", for this machine only.
  // admin: "127.0.0.1:6189",

  // Edits each response before it goes to the client. There are filters for requests, content and errors too.
  responseFilter(response) {
    response.headers.set("x-served-by", "lbproxy");
  },
});
`;

const TEST = `// "deno task test" tests the configuration, with a server of the test in place of yours.

import { type ProxyServer, serve } from "@x/lbproxy";
import { assertEquals } from "@std/assert";
import config from "./proxy.config.ts";

const server = () => Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello"));

/** Starts the proxy at a free port. */
async function start(upstream: Deno.HttpServer<Deno.NetAddr>): Promise<ProxyServer> {
  const upstreams = [\`127.0.0.1:\${upstream.addr.port}\`];
  return await serve({ ...config, listen: "127.0.0.1:0", upstreams });
}

Deno.test("responses come from the server, with a field of the proxy", async () => {
  await using upstream = server();
  await using proxy = await start(upstream);
  const response = await fetch(\`http://\${proxy.addresses[0]}/\`);
  assertEquals([await response.text(), response.headers.get("x-served-by")], ["hello", "lbproxy"]);
});

Deno.test("a client that sends too many requests gets 429", async () => {
  await using upstream = server();
  await using proxy = await start(upstream);
  // As many as proxy.config.ts allows in a window.
  const limit = 100;
  const statuses: number[] = [];
  for (let i = 0; i <= limit; i++) {
    const response = await fetch(\`http://\${proxy.addresses[0]}/\`);
    await response.body?.cancel();
    statuses.push(response.status);
  }
  assertEquals([statuses[limit - 1], statuses[limit]], [200, 429]);
});
`;

/** URL of this package. */
const ROOT = new URL("../../", import.meta.url);

/**
 * Writes a configuration, a test of it and a `deno.json` into a folder; creates the folder if it is missing.
 *
 * The `deno.json` imports the published package by its name. If this code is a clone of the repository, the tasks use the
 * clone's `deno.json` instead, which resolves the package and its imports.
 *
 * @param root URL of this package
 * @returns the text to print
 * @throws {UsageError} when one of the files exists; nothing is written then
 */
export async function writeStarter(folder: string, root: URL = ROOT): Promise<string> {
  const files = {
    "proxy.config.ts": CONFIG,
    "proxy.config_test.ts": TEST,
    "deno.json": `${JSON.stringify(root.protocol === "file:" ? cloned(root) : published(), null, 2)}\n`,
  };
  await Deno.mkdir(folder, { recursive: true });
  const existing: string[] = [];
  for (const name of Object.keys(files)) if (await exists(`${folder}/${name}`)) existing.push(name);
  if (existing.length > 0) {
    throw new UsageError(`--init overwrites no files, and ${folder} has ${existing.join(", ")}`);
  }
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
  const [place, go] = folder === "." ? ["", ""] : [` into ${folder}`, `  cd ${folder}\n`];
  return `Wrote ${Object.keys(files).join(", ")}${place}. Next:\n${go}  deno task check\n  deno task test\n` +
    "  deno task start\n";
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function published(): object {
  const program = `jsr:@x/lbproxy@^${VERSION}`;
  return {
    imports: { "@x/lbproxy": program, "@std/assert": "jsr:@std/assert@^1.0.19" },
    tasks: tasksFor("", program),
  };
}

function cloned(root: URL): object {
  return {
    tasks: tasksFor(` --config=${quoted(new URL("deno.json", root))}`, quoted(new URL("mod.ts", root))),
  };
}

/** @param config an option, with a space in front */
function tasksFor(config: string, program: string): Record<string, string> {
  // The variable is for the token of an admin listener.
  const run =
    `deno run${config} --allow-net --allow-read --allow-env=LBPROXY_ADMIN_TOKEN ${program} proxy.config.ts`;
  return {
    start: run,
    dev: `${run} --watch`,
    check: `deno check${config} proxy.config.ts proxy.config_test.ts && ${run} --check`,
    test: `deno test${config} --allow-net --allow-read --allow-env=LBPROXY_ADMIN_TOKEN proxy.config_test.ts`,
  };
}

function quoted(url: URL): string {
  const path = decodeURIComponent(url.pathname);
  return /^[\w./-]+$/.test(path) ? path : `"${path.replaceAll(/["\\$`]/g, "\\$&")}"`;
}
