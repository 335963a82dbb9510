/** The table of permissions in SECURITY.md: each row runs with what it says and nothing more, and not with less. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { certificateFiles } from "../../support/certificate_files.ts";
import { deadPort } from "../../support/dead_port.ts";
import { DnsServer } from "../../support/dns_server.ts";
import { ProgramFolder } from "../../support/program.ts";
import { redisTest } from "../../support/redis_server.ts";
import { startUpstream, type Upstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { trustingClient } from "../../support/tls_client.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

const LISTEN = "127.0.0.1:0";

/** A program that is to run with few permissions. */
interface Feature {
  /** Exports of the configuration. */
  readonly config: string;
  /** Hosts and ports for `--allow-net`. */
  readonly net: readonly string[];
  /** Files for `--allow-read`, beside the configuration. */
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  /** Further flags. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What the program needs of these in order to work: without one of them the request must fail. */
  readonly without?: readonly ("net" | "read" | "write" | "flags")[];
  /** Asks the proxy at its address, as its log says it; rejects, or returns another status than 200, when that fails. */
  readonly ask?: (address: string) => Promise<number>;
}

async function askPlainly(address: string): Promise<number> {
  const response = await fetch(`http://${address}/`);
  await response.body?.cancel();
  return response.status;
}

function flagsOf(path: string, { net, read = [], write = [], flags = [] }: Feature, left?: string): string[] {
  const reads = [`${path}/proxy.config.js`, ...(left === "read" ? [] : read)];
  return [
    `--allow-read=${reads.join()}`,
    ...(left === "net" ? [] : [`--allow-net=${net.join()}`]),
    ...(write.length === 0 || left === "write" ? [] : [`--allow-write=${write.join()}`]),
    ...(left === "flags" ? [] : flags),
  ];
}

/** Status of one request; 0 when the program does not get as far, or the client. */
async function statusWith(folder: ProgramFolder, feature: Feature, left?: string): Promise<number> {
  await using program = folder.start(["proxy.config.js"], flagsOf(folder.path, feature, left), feature.env);
  try {
    return await (feature.ask ?? askPlainly)(await program.address());
  } catch {
    return 0;
  }
}

async function testFeature(featureOf: (path: string) => Feature): Promise<void> {
  await using folder = await ProgramFolder.with({});
  const feature = featureOf(folder.path);
  await Deno.writeTextFile(`${folder.path}/proxy.config.js`, feature.config);
  assertEquals(await statusWith(folder, feature), 200);
  for (const left of feature.without ?? []) {
    assertNotEquals(await statusWith(folder, feature, left), 200, left);
  }
}

function plain({ address }: Upstream): string {
  return `export const listen = "${LISTEN}"; export const upstreams = ["${address}"];`;
}

Deno.test("Program with --check needs to read its configuration and nothing else", async () => {
  await using folder = await ProgramFolder.with({ "proxy.config.js": `export const upstreams = ["a:80"];` });
  const { code, stderr } = await folder.run(["proxy.config.js", "--check"], [
    `--allow-read=${folder.path}/proxy.config.js`,
  ]);
  assertEquals([code, stderr], [0, ""]);
  assertNotEquals((await folder.run(["proxy.config.js", "--check"], [])).code, 0);
});

Deno.test("Program with --check --types needs to run deno, and to read the configuration and nothing else", async () => {
  await using folder = await ProgramFolder.with({ "proxy.config.ts": `export const upstreams = ["a:80"];` });
  const read = `--allow-read=${folder.path}/proxy.config.ts`;
  const args = ["proxy.config.ts", "--check", "--types"];
  const { code, stderr } = await folder.run(args, [read, `--allow-run=${Deno.execPath()}`]);
  assertEquals([code, stderr], [0, ""]);
  assertEquals((await folder.run(args, [read])).code, 2);
});

Deno.test("Program with an admin token in a variable needs to listen for it, and to read the variable", async () => {
  await using upstream = startUpstream();
  const token = "a-token-of-a-test-0123456789";
  const admin = `127.0.0.1:${deadPort()}`;
  await testFeature(() => ({
    config: `${
      plain(upstream)
    } export const admin = { listen: "${admin}", tokens: { ops: { env: "TEST_TOKEN" } } };`,
    net: [LISTEN, upstream.address, admin],
    flags: ["--allow-env=TEST_TOKEN"],
    env: { TEST_TOKEN: token },
    without: ["net", "flags"],
    ask: async () => {
      const response = await fetch(`http://${admin}/pools/default/servers/${upstream.address}/drain`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: "{}",
      });
      await response.body?.cancel();
      return response.status;
    },
  }));
});

Deno.test("Program needs --allow-net for where it listens and for its servers", async () => {
  await using upstream = startUpstream();
  await testFeature(() => ({ config: plain(upstream), net: [LISTEN, upstream.address], without: ["net"] }));
  await testFeature(() => ({ config: plain(upstream), net: [LISTEN, upstream.address] }));
});

Deno.test("Program does not reach a server that --allow-net does not name", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({ "proxy.config.js": plain(upstream) });
  assertEquals(await statusWith(folder, { config: "", net: [LISTEN] }), 502);
  assertEquals(upstream.seen.length, 0);
});

Deno.test("Program needs nothing more for limits, checks, ejection and sticky sessions", async () => {
  await using upstream = startUpstream();
  await testFeature(() => ({
    config: `export const listen = "${LISTEN}";
      export const limiter = { key: "ip", limit: 10, window: "1m" };
      export const upstreams = { servers: ["${upstream.address}"], sticky: { secret: "${"s".repeat(32)}" },
        healthCheck: { type: "http", path: "/" } };`,
    net: [LISTEN, upstream.address],
  }));
});

Deno.test("Program with an access log in a file needs to read and write it", async () => {
  await using upstream = startUpstream();
  for (const maxSize of [undefined, "1MB"]) {
    await testFeature((path) => {
      const file = `${path}/access.log`;
      return {
        config: `export const listen = "${LISTEN}"; export const upstreams = ["${upstream.address}"];
          export const accessLog = { to: ${JSON.stringify({ file, maxSize })} };`,
        net: [LISTEN, upstream.address],
        read: [file],
        write: [file],
        without: maxSize === undefined ? ["write"] : ["read", "write"],
      };
    });
  }
});

for (const engine of ["http1", "deno"]) {
  Deno.test(`Program with TLS by engine ${engine} needs to read certificate and key`, async () => {
    await using upstream = startUpstream();
    await using files = await certificateFiles(["localhost"]);
    using client = await trustingClient();
    // Not port 0, which would allow any other listener of a moment too.
    const port = deadPort();
    await testFeature(() => ({
      config: `export const listen = { hostname: "127.0.0.1", port: ${port}, engine: "${engine}",
          tls: ${JSON.stringify({ cert: files.cert, key: files.key })} };
        export const upstreams = ["${upstream.address}"];`,
      net: [`127.0.0.1:${port}`, upstream.address],
      read: [files.cert, files.key],
      without: ["read"],
      ask: async (address) => {
        const response = await fetch(`https://localhost:${address.split(":").at(-1)}/`, {
          client,
        });
        await response.body?.cancel();
        return response.status;
      },
    }));
  });
}

Deno.test("Program with servers by TLS needs nothing more, except by fetch and HTTP/2 a tunnel and the name", async () => {
  await using upstream = await tlsUpstream();
  const { cert } = await testCa();
  const port = deadPort();
  const configFor = (protocol: string, transport = "auto"): string =>
    `export const listen = "127.0.0.1:${port}"; export const upstreams = { servers: ["${upstream.address}"],
       protocol: "${protocol}", transport: "${transport}", tls: ${
      JSON.stringify({ serverName: "one.one.one.one", caCerts: [cert] })
    } };`;
  const narrow = [`127.0.0.1:${port}`, upstream.address];
  await testFeature(() => ({ config: configFor("http1"), net: narrow }));
  await testFeature(() => ({ config: configFor("h2"), net: narrow }));
  await testFeature(() => ({ config: configFor("h2", "fetch"), net: ["127.0.0.1", "one.one.one.one:443"] }));
  await using folder = await ProgramFolder.with({ "proxy.config.js": configFor("h2", "fetch") });
  for (const net of [narrow, ["127.0.0.1"]]) {
    assertNotEquals(await statusWith(folder, { config: "", net }), 200);
  }
});

Deno.test("Program at a unix socket, and with a server at one, needs net, read and write for their paths", async () => {
  await testFeature((path) => {
    const front = `${path}/front.sock`;
    const back = `${path}/back.sock`;
    return {
      config: `export const listen = "unix:${front}"; export const upstreams = ["unix:${back}"];`,
      net: [`unix:${front}`, `unix:${back}`],
      read: [front, back],
      write: [front, back],
      without: ["net", "read", "write"],
      ask: async () => {
        await using _server = Deno.serve({ path: back, onListen() {} }, () => new Response("hello"));
        using client = Deno.createHttpClient({ proxy: { transport: "unix", path: front } });
        const response = await fetch("http://localhost/", { client });
        await response.body?.cancel();
        return response.status;
      },
    };
  });
});

Deno.test("Program with servers by DNS needs --allow-net for the name server and the servers", async () => {
  await using upstream = startUpstream();
  await using dns = await DnsServer.start();
  dns.records.set("api.internal", [{ type: "A", address: "127.0.0.1" }]);
  await testFeature(() => ({
    config: `export const listen = "${LISTEN}";
      export const upstreams = { discovery: { type: "dns", record: "A", name: "api.internal", port: ${upstream.port},
        resolver: "${dns.address}" } };`,
    net: [LISTEN, upstream.address, dns.address],
    without: ["net"],
  }));
});

redisTest("Program with limits in Redis needs --allow-net for it and --ignore-env", async (redis) => {
  await using upstream = startUpstream();
  await testFeature(() => ({
    config: `export const listen = "${LISTEN}";
      export const limiter = { key: "ip", limit: 10, window: "1m", 
        store: { type: "redis", url: "${redis.url}", timeout: "5s", onStoreError: "closed" } };
      export const upstreams = ["${upstream.address}"];`,
    net: [LISTEN, upstream.address, `127.0.0.1:${redis.port}`],
    flags: ["--ignore-env"],
    without: ["net", "flags"],
  }));
});

Deno.test("Program never asks for run, ffi, sys, import or write access of its own accord", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({ "proxy.config.js": plain(upstream) });
  const denied = ["run", "ffi", "sys", "import", "write", "env"].map((name) => `--deny-${name}`);
  const feature: Feature = { config: "", net: [LISTEN, upstream.address], flags: denied };
  await using program = folder.start(["proxy.config.js"], flagsOf(folder.path, feature));
  assertEquals(await askPlainly(await program.address()), 200);
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  assertEquals(code, 0);
  assert(!/NotCapable|requires .* access/.test(stderr), stderr);
});

// A prompt that nobody answers would hold up the start; without a terminal Deno denies at once, and nothing is seen.
Deno.test("Program in a terminal asks for no permission that it can do without", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const upstreams = ["127.0.0.1:9"];
      export const listen = "127.0.0.1:0";
      export const admin = { listen: "127.0.0.1:0" };
      export const onListen = () => Deno.exit(7);`,
    "tls.config.ts": `
      export const upstreams = ["127.0.0.1:9"];
      export const listen = { port: 0, tls: { cert: "cert.pem", key: "key.pem" } };
      export const admin = { tokens: { a: { env: "TOKEN" }, b: { file: "token" } } };
      export const accessLog = { to: { file: "/nowhere/access.log" } };`,
  });
  const main = new URL("../../../mod.ts", import.meta.url).pathname;
  const net = "--allow-net --allow-read";
  const cases: readonly [permissions: string, args: string, code: number][] = [
    [net, "proxy.config.ts", 7],
    [net, "ctl status --admin 127.0.0.1:1", 1],
    [net, "top --admin 127.0.0.1:1", 1],
    [`--allow-read='${folder.path}/tls.config.ts'`, "tls.config.ts --check", 2],
    [`--allow-read='${folder.path}/proxy.config.ts'`, "proxy.config.ts --check", 0],
  ];
  for (const [permissions, args, code] of cases) {
    const command = `'${Deno.execPath()}' run ${permissions} '${main}' ${args}`;
    const process = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", command, "/dev/null"],
      cwd: folder.path,
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const limit = setTimeout(() => process.kill("SIGKILL"), 30_000);
    const text = await new Response(process.stdout).text();
    const ended = await process.status;
    clearTimeout(limit);
    await process.stdin.close();
    assertEquals([/Allow\?/.test(text), ended.code], [false, code], text);
  }
});
