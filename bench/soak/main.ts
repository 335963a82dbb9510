/**
 * Memory of the proxy: minute by minute at full load, and with 10,000 idle clients.
 *
 * `deno task bench:soak [--minutes N] [--idle N]`
 */

import { parseArgs } from "@std/cli/parse-args";
import { freePort } from "../proxy/free_port.ts";
import { lbproxy } from "../proxy/peers/lbproxy.ts";
import { startProgram } from "../proxy/running_program.ts";
import { SCENARIOS } from "../proxy/scenarios.ts";
import { startServers } from "../proxy/start_servers.ts";
import { holdIdleClients } from "./idle_clients.ts";
import { rssMiB, soak } from "./soak.ts";

const ROOT = `${import.meta.dirname}/../..`;
const CONNECTIONS = 64;
const SETTLE_MS = 3000;

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

async function main(): Promise<void> {
  const { minutes, idle } = parseArgs(Deno.args, {
    string: ["minutes", "idle"],
    default: { minutes: "5", idle: "10000" },
  });
  const directory = await Deno.makeTempDir({ prefix: "lbproxy_soak_" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  // Workers of nginx run as another user if root has started it.
  await Deno.chmod(directory, 0o755);
  const servers = await startServers(directory);
  for (const server of servers) stack.use(server);
  const port = freePort();
  const peer = lbproxy({ name: "lbproxy", title: "lbproxy", config: "plain" });
  const command = await peer.prepare({
    port,
    directory,
    root: ROOT,
    servers: servers.map((each) => each.port),
  });
  const program = stack.use(await startProgram(command, port));
  say(`after the start: ${rssMiB(program)} MiB`);

  const scenario = SCENARIOS[0]!;
  const load = { connections: CONNECTIONS, minutes: Number(minutes), directory, say };
  await soak(program, scenario, load);

  const before = rssMiB(program);
  const count = Number(idle);
  {
    using _clients = await holdIdleClients(port, count);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const now = rssMiB(program);
    say(`${count} idle clients: ${now} MiB, ${((now - before) * 1024 / count).toFixed(1)} KiB each`);
  }
}

await main();
