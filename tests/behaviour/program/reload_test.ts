/** The program as an operator reloads it. */

import { assertEquals, assertMatch } from "@std/assert";
import { Gate } from "../../support/gate.ts";
import { ProgramFolder } from "../../support/program.ts";
import { rawClient } from "../../support/raw_client.ts";
import { askAt, readAnswer } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const CONFIG = `
  import { servers } from "./servers.ts";
  export const listen = "127.0.0.1:0";
  export const upstreams = servers;
  export const limiter = { key: "header:user", limit: 2, window: "1h" };
`;

function serversFor(...addresses: string[]): string {
  return `export const servers: string[] = ${JSON.stringify(addresses)};`;
}

Deno.test("lbproxy reads its configuration again at SIGHUP, and what that imports, and keeps its counts", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": CONFIG,
    "servers.ts": serversFor(a.address),
  });
  await using program = folder.start(["--listen", "127.0.0.1:0"]);
  const port = Number((await program.address()).split(":")[1]);
  using open = await rawClient(port);
  await open.write("GET / HTTP/1.1\r\nHost: h\r\nuser: x\r\n\r\n");
  assertEquals((await readAnswer(open)).text, "a");
  await Deno.writeTextFile(`${folder.path}/servers.ts`, serversFor(b.address));
  program.kill("SIGHUP");
  await program.stderrMatch(/info Configuration 2 is in use \(SIGHUP\)\n/);
  await open.write("GET / HTTP/1.1\r\nHost: h\r\nuser: x\r\n\r\n");
  assertEquals((await readAnswer(open)).text, "b");
  assertEquals((await askAt(port, "GET /", ["user: x"])).status, 429);
  await Deno.writeTextFile(`${folder.path}/servers.ts`, `export const servers = ["nowhere"];`);
  program.kill("SIGHUP");
  const [line] = await program.stderrMatch(/error Configuration not loaded.*\n/);
  assertMatch(
    line,
    /\(SIGHUP\), number 2 stays in use: upstreams\[0\] must be "host:port", received "nowhere"\n$/,
  );
  assertEquals((await askAt(port)).text, "b");
  program.kill("SIGTERM");
  assertEquals((await program.ended).code, 0);
});

Deno.test("lbproxy --watch reads its configuration again when a file of it changes, also one that could not be used before", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": CONFIG,
    "servers.ts": serversFor(a.address),
  });
  await using program = folder.start(["--watch"]);
  const port = Number((await program.address()).split(":")[1]);
  assertEquals((await askAt(port)).text, "a");
  await Deno.writeTextFile(`${folder.path}/servers.ts`, "export const servers = [;");
  await program.stderrMatch(
    /error Configuration not loaded \(its files have changed\), number 1 stays in use: syntax error/,
  );
  // As editors write: another file takes the place of the one that is watched.
  await Deno.writeTextFile(`${folder.path}/new`, serversFor(b.address));
  await Deno.rename(`${folder.path}/new`, `${folder.path}/servers.ts`);
  await program.stderrMatch(/info Configuration 2 is in use \(its files have changed\)\n/);
  assertEquals((await askAt(port)).text, "b");
  await Deno.writeTextFile(`${folder.path}/more.ts`, `export const gracePeriod = "1s";`);
  await Deno.writeTextFile(`${folder.path}/proxy.config.ts`, `export * from "./more.ts"; ${CONFIG}`);
  await program.stderrMatch(/info Configuration 3 is in use/);
  await Deno.writeTextFile(`${folder.path}/more.ts`, `export const gracePeriod = "2s";`);
  await program.stderrMatch(/info Configuration 4 is in use/);
  program.kill("SIGTERM");
  await program.stderrMatch(/Stopping \(SIGTERM\)/);
  assertEquals((await program.ended).code, 0);
});

Deno.test({
  name: "lbproxy --watch follows links, as a configuration is mounted into containers",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    const files = (address: string) => `${CONFIG} // ${address}`;
    await using folder = await ProgramFolder.with({});
    const { path } = folder;
    for (const [version, address] of [["1", a.address], ["2", b.address]] as const) {
      await Deno.mkdir(`${path}/${version}`);
      await Deno.writeTextFile(`${path}/${version}/proxy.config.ts`, files(address));
      await Deno.writeTextFile(`${path}/${version}/servers.ts`, serversFor(address));
    }
    await Deno.symlink("1", `${path}/data`);
    for (const name of ["proxy.config.ts", "servers.ts"]) {
      await Deno.symlink(`data/${name}`, `${path}/${name}`);
    }
    await using program = folder.start(["--watch"]);
    const port = Number((await program.address()).split(":")[1]);
    assertEquals((await askAt(port)).text, "a");
    await Deno.symlink("2", `${path}/new`);
    await Deno.rename(`${path}/new`, `${path}/data`);
    await program.stderrMatch(/info Configuration 2 is in use/);
    assertEquals((await askAt(port)).text, "b");
    program.kill("SIGTERM");
    assertEquals((await program.ended).code, 0);
  },
});

Deno.test("lbproxy --watch ends up with what stands in its files, however they were written", async () => {
  await using a = startUpstream("a");
  const pathOf = (name: string) => `${folder.path}/${name}`;
  const textOf = (name: string) => `${CONFIG} console.error("LOADED ${name}");`;
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": textOf("first"),
    "servers.ts": serversFor(a.address),
  });
  const config = pathOf("proxy.config.ts");
  await using program = folder.start(["--watch"]);
  await program.address();
  const replace = async (name: string) => {
    await Deno.writeTextFile(pathOf(`.${name}.swp`), textOf(name));
    await Deno.rename(pathOf(`.${name}.swp`), config);
  };
  const writes: Readonly<Record<string, (name: string) => Promise<void>>> = {
    "truncated and written": (name) => Deno.writeTextFile(config, textOf(name)),
    "replaced": replace,
    "written in pieces": async (name) => {
      using file = await Deno.open(config, { write: true, truncate: true });
      for (const byte of textOf(name)) await file.write(new TextEncoder().encode(byte));
    },
    "removed and written": async (name) => {
      await Deno.remove(config);
      await Deno.writeTextFile(config, textOf(name));
    },
    "moved away and written": async (name) => {
      await Deno.rename(config, `${config}~`);
      await Deno.writeTextFile(config, textOf(name));
    },
    "replaced many times": async (name) => {
      for (let i = 0; i < 50; i++) await replace(i < 49 ? `${name}-${i}` : name);
    },
  };
  for (const [how, write] of Object.entries(writes)) {
    await write(how.replaceAll(" ", "-"));
    await program.stderrMatch(new RegExp(`LOADED ${how.replaceAll(" ", "-")}\n`));
  }
  // While another one is loaded.
  await Deno.writeTextFile(
    config,
    `${textOf("slow")} await new Promise((resolve) => setTimeout(resolve, 300));`,
  );
  await program.stderrMatch(/LOADED slow/);
  await replace("behind-it");
  await program.stderrMatch(/LOADED behind-it\n/);
});

Deno.test("lbproxy --watch notices what was written while it started", async () => {
  await using gate = new Gate();
  const configOf = (more: string) => `
    export const listen = "127.0.0.1:0";
    export const upstreams = {
      servers: ["${gate.upstream.address}"],
      healthCheck: { type: "http", path: "/", interval: "1h", timeout: "1h" },
    };
    ${more}`;
  await using folder = await ProgramFolder.with({ "proxy.config.ts": configOf("") });
  await using program = folder.start(["--watch"]);
  // It has been loaded, and its servers are checked.
  await gate.untilWaiting(1);
  await Deno.writeTextFile(`${folder.path}/proxy.config.ts`, configOf(`export const gracePeriod = "1s";`));
  gate.answer();
  await program.stderrMatch(/info Configuration 2 is in use \(its files have changed\)/);
});

Deno.test({
  name: "lbproxy --watch notices that the folder was replaced by another one",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using a = startUpstream("a");
    await using folder = await ProgramFolder.with({});
    const { path } = folder;
    for (const version of ["1", "2"]) {
      await Deno.mkdir(`${path}/${version}`);
      await Deno.writeTextFile(`${path}/${version}/proxy.config.ts`, `${CONFIG} // ${version}`);
      await Deno.writeTextFile(`${path}/${version}/servers.ts`, serversFor(a.address));
    }
    await Deno.symlink("1", `${path}/current`);
    await using program = folder.start(["current/proxy.config.ts", "--watch"]);
    await program.address();
    await Deno.symlink("2", `${path}/new`);
    await Deno.rename(`${path}/new`, `${path}/current`);
    await program.stderrMatch(/info Configuration 2 is in use \(its files have changed\)/);
  },
});

Deno.test("lbproxy exits 1 when requests were cut off at the end of the grace period", async () => {
  const arrived = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: () => {
      arrived.resolve();
      return new Promise<Response>(() => {});
    },
  });
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = "127.0.0.1:0"; export const upstreams = ["${upstream.address}"];
      export const gracePeriod = "50ms";`,
  });
  await using program = folder.start([]);
  using client = await rawClient(Number((await program.address()).split(":")[1]));
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await arrived.promise;
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  assertEquals(code, 1);
  assertMatch(stderr, /warn Stopped: 1 request did not finish in time/);
});
