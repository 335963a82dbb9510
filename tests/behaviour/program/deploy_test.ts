/** What is in `examples/deploy/`. */

import { assertEquals, assertMatch } from "@std/assert";
import { ProgramFolder, RunningProgram } from "../../support/program.ts";
import { askAt } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const ROOT = new URL("../../../", import.meta.url).pathname.replace(/\/$/, "");
const UNIT = `${ROOT}/examples/deploy/lbproxy.service`;

/** Takes what a service says to systemd; a process of its own, since the runtime wants a flag for it. */
const RECEIVER = `
  const socket = Deno.listenDatagram({ transport: "unixpacket", path: Deno.args[0] });
  console.error("LISTENS");
  for await (const [bytes] of socket) console.log(new TextDecoder().decode(bytes).replaceAll("\\n", " "));
`;

function spawn(cwd: string, line: readonly string[], env: Record<string, string> = {}): RunningProgram {
  const command = new Deno.Command(line[0]!, {
    args: line.slice(1),
    cwd,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  return new RunningProgram(command.spawn());
}

/** The command of the unit, with other folders. */
async function execStart(folder: string): Promise<string[]> {
  const unit = await Deno.readTextFile(UNIT);
  const [, command] = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(unit)!;
  const places: Readonly<Record<string, string>> = {
    "/usr/local/bin/deno": Deno.execPath(),
    "/opt/lbproxy": ROOT,
    "/etc/lbproxy": folder,
    "/run/lbproxy": folder,
    "/var/log/lbproxy": folder,
  };
  let line = command!.replaceAll("\\\n", " ");
  for (const [from, to] of Object.entries(places)) line = line.replaceAll(from, to);
  return line.trim().split(/\s+/);
}

Deno.test({
  name:
    "lbproxy.service starts the proxy as it is written, which says when it is ready, loads anew and stops",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using upstream = startUpstream("served");
    await using folder = await ProgramFolder.with({
      "receiver.ts": RECEIVER,
      "proxy.config.ts": `
        export const listen = "127.0.0.1:0"; export const upstreams = ["${upstream.address}"];`,
    });
    const socket = `${folder.path}/notify`;
    await using receiver = spawn(folder.path, [
      Deno.execPath(),
      "run",
      "--unstable-net",
      "-A",
      "receiver.ts",
      socket,
    ]);
    await receiver.stderrMatch(/LISTENS/);
    const env = { NOTIFY_SOCKET: socket, RUNTIME_DIRECTORY: folder.path };
    await using program = spawn(folder.path, await execStart(folder.path), env);
    const port = Number((await program.address()).split(":")[1]);
    await receiver.stdoutMatch(/^READY=1 MAINPID=\d+$/m);
    assertEquals((await askAt(port)).text, "served");
    program.kill("SIGUSR1");
    program.kill("SIGHUP");
    await receiver.stdoutMatch(/^STATUS=configuration 2$/m);
    program.kill("SIGTERM");
    await receiver.stdoutMatch(/^STOPPING=1$/m);
    const { code, stderr } = await program.ended;
    assertEquals(code, 0);
    assertEquals(stderr.includes("Debugger"), false);
    assertEquals(
      Array.from(Deno.readDirSync(folder.path)).some(({ name }) => name.startsWith("notify-")),
      false,
    );
  },
});

Deno.test({
  name: "lbproxy.service is a unit that systemd understands",
  ignore: !(await has("systemd-analyze")),
  async fn() {
    const text = await Deno.readTextFile(UNIT);
    // A program that is not there would be an error.
    const unit = text.replaceAll("/usr/local/bin/deno", Deno.execPath());
    await using folder = await ProgramFolder.with({ "lbproxy.service": unit });
    const verified = await new Deno.Command("systemd-analyze", {
      args: ["verify", `${folder.path}/lbproxy.service`],
    }).output();
    assertEquals(new TextDecoder().decode(verified.stderr), "");
    assertEquals(verified.code, 0);
  },
});

Deno.test("files that the Containerfile and lbproxy.service name exist, and mod.ts loads all of the program", async () => {
  const container = await Deno.readTextFile(`${ROOT}/examples/deploy/Containerfile`);
  const unit = await Deno.readTextFile(UNIT);
  const copied = [...container.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) =>
    names!.split(" ")
  );
  const cached = [container, unit].map((text) => /^.*deno task vendor && deno cache (.*)$/m.exec(text)![1]!);
  assertEquals(cached, ["mod.ts", "mod.ts"]);
  for (const name of copied) await Deno.stat(`${ROOT}/${name}`);
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "mod.ts"],
    cwd: ROOT,
  })
    .output();
  const graph = JSON.parse(new TextDecoder().decode(stdout));
  const loaded = graph.modules.map(({ specifier }: { specifier: string }) =>
    specifier.replace(/.*\/lib\//, "lib/")
  );
  for (
    const name of [
      "lib/cli/run.ts",
      "lib/redis/redis_store.ts",
      "lib/admin/page_files.ts",
      "lib/filters/jwt_verifier.ts",
    ]
  ) assertEquals([name, loaded.includes(name)], [name, true]);
});

Deno.test("lbproxy says what is missing where systemd waits for a word that it cannot give", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `export const listen = "127.0.0.1:0"; export const upstreams = ["127.0.0.1:1"];`,
  });
  await using program = folder.start([], ["-A"], { NOTIFY_SOCKET: `${folder.path}/notify` });
  const [line] = await program.stderrMatch(/error sd_notify.*\n/);
  assertMatch(line, /NOTIFY_SOCKET is set \(Type=notify\): run with --unstable-net, or make it Type=exec/);
  await program.address();
});

async function has(program: string): Promise<boolean> {
  try {
    await new Deno.Command(program, { args: ["--version"] }).output();
    return true;
  } catch {
    return false;
  }
}
