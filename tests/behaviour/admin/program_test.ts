import { assert, assertEquals, assertMatch } from "@std/assert";
import type { KeyStatus, Status } from "../../../lib/admin/status.ts";
import { AdminClient, TOKEN } from "../../support/admin_client.ts";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** A client of the admin listener that a program says it has. */
async function clientOf(program: RunningProgram): Promise<AdminClient> {
  const address = (await program.stderrMatch(/Admin page at http:\/\/(\S+)\//))[1]!;
  return new AdminClient({ server: { adminAddress: address } });
}

function configOf(upstream: string, limit: number): string {
  return `export const listen = "127.0.0.1:0";
export const upstreams = ["${upstream}"];
export const limiter = { name: "app", key: "header:appid", limit: ${limit}, window: "1h" };
export const admin = { listen: "127.0.0.1:0", tokens: { ops: { file: "token" } } };
`;
}

Deno.test("lbproxy with an admin listener: a limit is changed by a reload, and the log says more and less, without a restart", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configOf(upstream.address, 1),
    "token": TOKEN,
  });
  await using program = folder.start([]);
  const address = await program.address();
  const admin = await clientOf(program);
  const ask = async (): Promise<number> => {
    const response = await fetch(`http://${address}/`, { headers: { appid: "me" } });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals([await ask(), await ask()], [200, 429]);
  assertEquals((await admin.status()).configuration.source, "proxy.config.ts");

  await Deno.writeTextFile(`${folder.path}/proxy.config.ts`, configOf(upstream.address, 5));
  const reloaded = await admin.post("/reload");
  assertEquals([reloaded.status, reloaded.json.result], [200, { generation: 2 }]);
  assertEquals([await ask(), (await admin.status()).limits[0]?.limit], [200, 5]);

  await Deno.writeTextFile(`${folder.path}/proxy.config.ts`, "export const upstreams = 5;");
  const refused = await admin.post("/reload");
  assertEquals(refused.status, 409);
  assertMatch(refused.json.detail, /upstreams/);
  const { lastReload, generation } = (await admin.status()).configuration;
  assertEquals([generation, lastReload?.applied], [2, false]);
  assertMatch(lastReload?.message ?? "", /upstreams/);

  assertEquals((await admin.status()).logLevel, "info");
  await admin.post("/log-level", { level: "error" });
  assertEquals((await admin.status()).logLevel, "error");
  await fetch(`http://${address}/unseen`).then((response) => response.body?.cancel());
  await admin.post("/log-level", { level: "info" });
  await fetch(`http://${address}/seen`).then((response) => response.body?.cancel());
  await program.stdoutMatch(/"\/seen"/);
  program.kill("SIGTERM");
  const { code, stdout, stderr } = await program.ended;
  assertEquals(code, 0);
  assertEquals(stdout.includes("/unseen"), false);
  assertMatch(stderr, /ops: reload the configuration/);
  assertMatch(stderr, /ops: set the log level to info/);
});

Deno.test("lbproxy --admin opens the listener where the configuration has none, and --check names tokens that are missing", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `export const listen = "127.0.0.1:0"; export const upstreams = ["127.0.0.1:9"];`,
    "tokens.config.ts": `export const upstreams = ["127.0.0.1:9"];
export const admin = { tokens: { ops: { file: "nowhere" } } };`,
  });
  await using program = folder.start(["--admin", "127.0.0.1:0"]);
  const admin = await clientOf(program);
  assertEquals((await admin.get("/")).status, 200);
  const checked = await folder.run(["--check", "tokens.config.ts"]);
  assertEquals(checked.code, 2);
  assertMatch(checked.stderr, /admin\.tokens\.ops names the file "nowhere", which cannot be read/);
  const open = await folder.run(["--admin", "0.0.0.0:0"]);
  assertEquals(open.code, 2);
  assertMatch(open.stderr, /--admin must not be 0\.0\.0\.0:0 without admin\.tokens/);
});

Deno.test("lbproxy --workers: the admin listener names keys of all workers, and tells of each process", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configOf(upstream.address, 10),
    "token": TOKEN,
  });
  await using program = folder.start(["--workers", "2"], ["-A"]);
  const address = await program.address();
  const admin = await clientOf(program);
  const status = async (): Promise<Status> => (await admin.get("/status")).json;
  const { workers: [supervisor, ...workers] } = await status();
  assertEquals([supervisor?.role, supervisor?.id, supervisor?.requests], ["supervisor", 0, 0]);
  assertEquals(
    workers.map(({ id, role, state, generation, restarts }) => [id, role, state, generation, restarts]),
    [
      [1, "worker", "serving", 1, 0],
      [2, "worker", "serving", 1, 0],
    ],
  );
  assertEquals(new Set([supervisor, ...workers].map((each) => each!.pid)).size, 3);

  // At the same time, on connections that the kernel gives to both.
  const asked = async (appid: string): Promise<void> => {
    const response = await fetch(`http://${address}/`, { headers: { appid } });
    await response.body?.cancel();
  };
  const names = Array.from({ length: 24 }, (_, i) => `<b>key ${i}</b>`);
  for (let i = 0; i < 2; i++) await Promise.all(names.map(asked));
  await until(
    status,
    ({ requests, workers }) =>
      requests.total["200"] === 48 &&
      workers.every((each) => each.role === "supervisor" || each.requests! > 0),
  );
  const named = async (): Promise<KeyStatus[]> => (await admin.get("/limits/app/keys?top=100")).json.keys;
  const keys = await until(named, ({ length }) => length === names.length);
  assertEquals(keys.map(({ key }) => key).toSorted(), names.toSorted());
  assertEquals(new Set(keys.map(({ used }) => used)), new Set([2]));
  assertEquals((await status()).limits[0]?.hottest.length, 10);

  await Deno.writeTextFile(`${folder.path}/proxy.config.ts`, configOf(upstream.address, 20));
  assertEquals((await admin.post("/reload")).status, 200);
  await asked(names[0]!);
  const reloaded = await until(status, ({ limits }) => limits[0]?.hottest.length === 1);
  const [hottest] = reloaded.limits[0]!.hottest;
  assertEquals([hottest?.key, hottest?.used, hottest?.limit], [names[0], 3, 20]);

  const [first, second] = (await status()).workers.slice(1);
  assertEquals(first!.requests! + second!.requests!, 49);
  for (const { rssBytes, uptimeMs } of [first!, second!]) {
    assert(rssBytes! > 10_000_000 && rssBytes! < 2_000_000_000);
    assert(uptimeMs > 0);
  }
  const { text } = await admin.get("/metrics");
  for (const name of ["requests_total", "requests_in_flight", "resident_memory_bytes", "cpu_seconds_total"]) {
    assertEquals(
      text.match(new RegExp(`^lbproxy_worker_${name}\\{worker="[12]"\\} `, "gm"))?.length,
      2,
      name,
    );
  }
  assertMatch(text, /^lbproxy_worker_event_loop_delay_seconds_count\{worker="1"\} [1-9]/m);

  Deno.kill(first!.pid, "SIGKILL");
  const replaced = await until(status, ({ workers }) => {
    const again = workers.find(({ id }) => id === 1)!;
    return again.pid !== first!.pid && again.state === "serving" && again.restarts === 1;
  });
  assertEquals(replaced.workers.find(({ id }) => id === 2)?.pid, second!.pid);
});

Deno.test("lbproxy --workers: a worker that hangs holds up nobody who looks", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configOf(upstream.address, 10),
    "token": TOKEN,
  });
  await using program = folder.start(["--workers", "2"], ["-A"]);
  await program.address();
  const admin = await clientOf(program);
  const { workers } = await admin.status();
  const { pid } = workers[1]!;
  Deno.kill(pid, "SIGSTOP");
  try {
    // Twice: it is asked once, and not again while it does not respond.
    for (let i = 0; i < 2; i++) assertEquals((await admin.get("/limits/app/keys")).json.keys, []);
  } finally {
    try {
      Deno.kill(pid, "SIGCONT");
    } catch {
      // It was replaced, because it did not respond for so long.
    }
  }
});

/** Reads again until it is so; the state of processes comes a moment after what they do. */
async function until<Value>(read: () => Promise<Value>, isSo: (value: Value) => boolean): Promise<Value> {
  let value = await read();
  for (let i = 0; i < 1000 && !isSo(value); i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    value = await read();
  }
  assert(isSo(value), `This stayed so: ${JSON.stringify(value)}`);
  return value;
}
