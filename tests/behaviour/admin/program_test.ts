import { assertEquals, assertMatch } from "@std/assert";
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
  assertMatch(stderr, /ops: set to info the log level/);
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
