/** The program with so few descriptors that it runs out of them. */

import { assertEquals, assertMatch } from "@std/assert";
import { certificateFiles } from "../../support/certificate_files.ts";
import { ENGINE } from "../../support/engine.ts";
import { closeQuietly } from "../../support/close_quietly.ts";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { rawClient } from "../../support/raw_client.ts";
import { askAt, readAnswer } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { PATIENCE_MS } from "../../support/recorder.ts";

const PERMISSIONS = ["--allow-net", "--allow-read"];
const DESCRIPTORS = 256;
/** More than fit. */
const CLIENTS = 300;

/** Signals that neither the program nor the runtime uses: at SIGUSR1 that would start a thread, and take a descriptor. */
const TAKE = "SIGALRM";
const GIVE_BACK = "SIGVTALRM";
const WAIT = "SIGWINCH";

/** Has a configuration take every descriptor, and give them back. */
const HOG = `
  const held = [];
  let taking;
  Deno.addSignalListener("${TAKE}", () => {
    // Again and again, until what checks still hold has come back.
    let inVain = 0;
    taking = setInterval(() => {
      try {
        for (;;) {
          held.push(Deno.openSync(new URL(import.meta.url)));
          inVain = 0;
        }
      } catch {
        if (++inVain === 20) console.error("taken");
      }
    }, 1);
  });
  Deno.addSignalListener("${GIVE_BACK}", () => {
    clearInterval(taking);
    for (const file of held.splice(0)) file.close();
    console.error("given back");
  });`;

const portOf = (address: string): number => Number(address.split(":").at(-1));

function startProgram(folder: ProgramFolder): RunningProgram {
  return folder.start(["proxy.config.js", "--log-format", "text"], PERMISSIONS, {}, DESCRIPTORS);
}

/** Opens connections that never ask anything; some are refused, or cut, where there are too many. */
async function connectIdle(port: number, count = CLIENTS): Promise<Deno.Conn[]> {
  const pending = Array.from({ length: count }, () => Deno.connect({ hostname: "127.0.0.1", port }));
  const settled = await Promise.allSettled(pending);
  return settled.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
}

/** Asks until there is a response; a connection is refused, or cut, while there is no descriptor for it. */
async function untilAnswered(port: number, program: RunningProgram): Promise<number> {
  let ended = false;
  program.ended.then(() => ended = true);
  for (const endAt = Date.now() + PATIENCE_MS;;) {
    try {
      return (await askAt(port)).status;
    } catch (error) {
      if (ended || Date.now() > endAt) throw error;
    }
  }
}

Deno.test("lbproxy outlives more idle connections than it has descriptors, and says so once", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({
    "proxy.config.js": `
      export const listen = "127.0.0.1:0";
      export const upstreams = ["${upstream.address}"];`,
  });
  await using program = startProgram(folder);
  const port = portOf(await program.address());
  const idle = await connectIdle(port);
  await program.stderrMatch(
    /error Cannot accept connections on \S+: Too many open files \(os error 24\) \(0 running requests\)/,
  );
  for (const connection of idle) closeQuietly(connection);
  assertEquals(await untilAnswered(port, program), 200);
  await program.stderrMatch(/info Accepting connections on \S+ again after /);
  assertEquals(await untilAnswered(port, program), 200);
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  assertEquals([code, stderr.match(/Cannot accept/g)?.length], [0, 1]);
});

Deno.test("lbproxy gives idle connections up for new ones, and finishes an upload that runs", async () => {
  const [first, second] = ["a".repeat(70_000), "b".repeat(70_000)];
  const arrived = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async (request) => {
      if (request.method === "GET") return new Response();
      arrived.resolve();
      return new Response(await request.text());
    },
  });
  await using folder = await ProgramFolder.with({
    "proxy.config.js": `
      export const listen = "127.0.0.1:0";
      export const upstreams = ["${upstream.address}"];`,
  });
  await using program = startProgram(folder);
  const port = portOf(await program.address());
  using upload = await rawClient(port);
  await upload.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 140000\r\n\r\n${first}`);
  await arrived.promise;
  const idle = await connectIdle(port);
  await program.stderrMatch(/Cannot accept connections/);
  await upload.write(second);
  assertEquals((await readAnswer(upload, "POST")).text, first + second);
  // Nobody of the flood has let go.
  assertEquals(await untilAnswered(port, program), 200);
  for (const connection of idle) closeQuietly(connection);
});

Deno.test("lbproxy takes its own lack of descriptors for no failure of a server", async () => {
  await using a = startUpstream();
  await using b = startUpstream();
  const pools = ["http1", "fetch"].flatMap((transport) =>
    ["127.0.0.1", "localhost"].map((host) => ({
      name: `${transport}-${host}`,
      transport,
      servers: [`${host}:${a.port}`, `${host}:${b.port}`],
      healthCheck: { type: "http", interval: "300ms" },
    }))
  );
  await using folder = await ProgramFolder.with({
    "proxy.config.js": `
      export const listen = "127.0.0.1:0";
      export const upstreams = Object.fromEntries(
        ${JSON.stringify(pools)}.map(({ name, ...pool }) => [name, pool]),
      );
      export const routes = Object.keys(upstreams).map((name) => ({ match: { path: "/" + name }, upstream: name }));
      export const filters = [{
        requestFilter: (request) => request.url.endsWith("/ready") ? new Response("ready") : undefined,
      }];
      ${HOG}`,
  });
  await using program = startProgram(folder);
  using client = await rawClient(portOf(await program.address()));
  const ask = async (path: string) => {
    await client.write(`GET /${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
    return await readAnswer(client);
  };
  assertEquals((await ask("ready")).status, 200);
  program.kill(TAKE);
  await program.stderrMatch(/taken/);
  const lack = String.raw`Too many open files \(os error 24\)`;
  for (const { name } of pools) {
    await program.stderrMatch(
      new RegExp(`error Cannot check server \\S+ of pool ${name}: ${lack}; its health stays as it was`),
    );
    // As often as would have both servers ejected.
    for (let i = 0; i < 10; i++) {
      const { status, field } = await ask(name);
      assertEquals([status, field("retry-after"), field("proxy-status")], [
        503,
        "1",
        'lbproxy; error=proxy_internal_error; details="out_of_resources"',
      ]);
    }
    await program.stderrMatch(
      new RegExp(`error GET /${name} failed at \\S+ with 503 out_of_resources: .*${lack}`),
    );
    await program.stdoutMatch(
      new RegExp(`GET "/${name}" 503 .*error=out_of_resources`),
    );
  }
  program.kill(GIVE_BACK);
  await program.stderrMatch(/given back/);
  for (const { name } of pools) assertEquals((await ask(name)).status, 200);
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  assertEquals([code, stderr.match(/unhealthy|ejected|Cannot accept/g)], [0, null]);
  assertMatch(stderr, /Stopped: all requests finished/);
});

Deno.test({
  name: "lbproxy answers 503 with its last descriptor, and waits for others",
  ignore: ENGINE === "deno",
  async fn() {
    await using upstream = startUpstream();
    await using folder = await ProgramFolder.with({
      "proxy.config.js": `
        export const listen = "127.0.0.1:0";
        export const upstreams = ["${upstream.address}"];
        ${HOG}`,
    });
    await using program = startProgram(folder);
    const port = portOf(await program.address());
    program.kill(TAKE);
    await program.stderrMatch(/taken/);
    const { status, field } = await askAt(port);
    assertEquals([status, field("connection"), field("retry-after"), field("proxy-status")], [
      503,
      "close",
      "1",
      'lbproxy; error=proxy_internal_error; details="out_of_resources"',
    ]);
    await program.stderrMatch(/error Cannot accept connections on \S+: Too many open files/);
    // Whoever comes now is served as soon as that is possible.
    const later = askAt(port);
    program.kill(GIVE_BACK);
    await program.stderrMatch(/given back/);
    assertEquals([(await later).status, await untilAnswered(port, program)], [200, 200]);
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended;
    assertEquals([code, stderr.match(/Cannot accept/g)?.length], [0, 1]);
  },
});

Deno.test({
  name: "lbproxy takes no more connections than it has descriptors for, where it may look that up",
  ignore: ENGINE === "deno",
  async fn() {
    await using upstream = startUpstream();
    await using folder = await ProgramFolder.with({
      "proxy.config.js": `
        export const listen = "127.0.0.1:0";
        export const upstreams = ["${upstream.address}"];`,
    });
    await using program = folder.start(["proxy.config.js", "--log-format", "text"], ["-A"], {}, DESCRIPTORS);
    const port = portOf(await program.address());
    const idle = await connectIdle(port);
    // Room is made for each, although nobody of them lets go.
    for (let i = 0; i < 3; i++) assertEquals((await askAt(port)).status, 200);
    for (const connection of idle) closeQuietly(connection);
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended;
    // Half of what is left beside 64 for other purposes.
    assertEquals([code, stderr.match(/Cannot accept.*?: .*? \(/g)?.map((text) => text.split(": ")[1])], [0, [
      "all 96 connections are in use (",
    ]]);
  },
});

Deno.test("lbproxy says that it accepts connections again when it has a descriptor for one", async () => {
  await using upstream = startUpstream();
  await using certificate = await certificateFiles(["localhost"]);
  await using folder = await ProgramFolder.with({
    "proxy.config.js": `
      const tls = ${JSON.stringify({ cert: certificate.cert, key: certificate.key })};
      export const listen = ["127.0.0.1:0", { hostname: "127.0.0.1", port: 0, tls }];
      export const upstreams = ["${upstream.address}"];
      ${HOG}
      // Longer than it takes to look at the certificate, or to find that the listener stays open.
      Deno.addSignalListener("${WAIT}", () => setTimeout(() => console.error("waited"), 1200));`,
  });
  await using program = startProgram(folder);
  const [, address] = await program.stderrMatch(/Listening on ([^,]+)/);
  const port = portOf(address!);
  program.kill(TAKE);
  await program.stderrMatch(/taken/);
  const refused = await connectIdle(port, 1);
  await program.stderrMatch(/Cannot accept/);
  for (const connection of refused) closeQuietly(connection);
  program.kill(WAIT);
  await program.stderrMatch(/waited/);
  program.kill(GIVE_BACK);
  assertEquals(await untilAnswered(port, program), 200);
  await program.stderrMatch(/again after/);
  program.kill("SIGTERM");
  const { stderr } = await program.ended;
  // Other things that lack a descriptor may say so in between.
  const [before = "", behind = ""] = stderr.split("given back");
  assertEquals([/Cannot accept/.test(before), /again after/.test(before), /again after/.test(behind)], [
    true,
    false,
    true,
  ]);
});
