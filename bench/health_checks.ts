/**
 * Cost of checking 1,000 servers every second, in percent of one core: by TCP, by HTTP over a new connection each time, and
 * by HTTP over kept connections.
 *
 *     deno run -A bench/health_checks.ts
 *
 * The servers are one process that listens at every address of 127.0.0.0/8; its own time does not count.
 */

import process from "node:process";
import { type ActiveCheckOptions, serve } from "../mod.ts";

const SERVERS = 1000;
const WARM_UP_MS = 3000;
const MEASURED_MS = 10_000;
const ANSWER = new TextEncoder().encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

const WAYS: readonly [name: string, check: ActiveCheckOptions][] = [
  ["tcp", { type: "tcp" }],
  ["http", { type: "http" }],
  ["http, connections kept", { type: "http", reuseConnection: true }],
];

async function answer(connection: Deno.Conn): Promise<void> {
  using conn = connection;
  const buffer = new Uint8Array(4096);
  while (await conn.read(buffer) !== null) await conn.write(ANSWER);
}

async function listen(): Promise<void> {
  const listener = Deno.listen({ hostname: "0.0.0.0", port: 0 });
  // deno-lint-ignore no-console
  console.log(listener.addr.port);
  for await (const connection of listener) answer(connection).catch(() => {});
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function measure(name: string, port: number, healthCheck: ActiveCheckOptions): Promise<void> {
  const servers = Array.from({ length: SERVERS }, (_, i) => `127.0.${1 + (i >> 8)}.${i & 255}:${port}`);
  await using proxy = await serve({ listen: "127.0.0.1:0", upstreams: { servers, healthCheck } });
  await pause(WARM_UP_MS);
  const [before, begun] = [process.cpuUsage(), performance.now()];
  await pause(MEASURED_MS);
  const { user, system } = process.cpuUsage(before);
  const percent = (user + system) / 10 / (performance.now() - begun);
  const up = proxy.pools.get("default")!.servers.filter(({ healthy }) => healthy).length;
  // deno-lint-ignore no-console
  console.log(`${name}: ${percent.toFixed(1)} % of a core, ${up} of ${SERVERS} up`);
}

if (Deno.args[0] === "listen") await listen();
else {
  const args = ["run", "-A", import.meta.filename!, "listen"];
  const upstream = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
  const { value } = await upstream.stdout.pipeThrough(new TextDecoderStream()).getReader().read();
  for (const [name, check] of WAYS) await measure(name, Number(value), check);
  upstream.kill();
}
