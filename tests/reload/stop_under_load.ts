/**
 * Stops a proxy while clients are at work, with a successor at the same address or without, and tells what they noticed.
 *
 * `deno task stop [SECONDS] [WORKERS]`
 */

import { ProgramFolder } from "../support/program.ts";
import { startUpstream } from "../support/start_upstream.ts";
import { answer, Clients, type Crowd, delay } from "./clients.ts";

/** What came of it. */
export interface StopFindings {
  /** What went wrong on connections that the proxy had taken, each once. */
  readonly failures: readonly string[];
  readonly requests: number;
  readonly uploads: number;
  /** Connections that were refused, and those that no process had taken when its listener was closed. */
  readonly refused: number;
  readonly unaccepted: number;
  /** What the program that was stopped ended with. */
  readonly code: number;
  /** How long it took to end after the last response, in milliseconds. */
  readonly endedAfterMs: number;
}

/**
 * @param workers how many processes serve
 * @param successor whether another process takes over, which listens before the first one is stopped (`reusePort`)
 * @param workMs how long clients are at work before and after
 */
export async function stopUnderLoad(
  crowd: Crowd,
  successor: boolean,
  workMs: number,
  workers = 1,
): Promise<StopFindings> {
  await using upstream = startUpstream({ handler: answer });
  const port = freePort();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = { hostname: "127.0.0.1", port: ${port}, reusePort: ${successor} };
      export const upstreams = ["${upstream.address}"];
      export const webSocketGrace = "200ms";
      export const onListen = () => console.error("RUNS");`,
  });
  const start = () =>
    folder.start(["--log-level", "warn", "--workers", String(workers)], ["-A", "--unstable-net"]);
  await using first = start();
  await first.stderrMatch(/RUNS/);
  const clients = new Clients(port);
  const running = clients.start(crowd);
  await delay(workMs);
  await using second = successor ? start() : null;
  await second?.stderrMatch(/RUNS/);
  await delay(workMs);
  first.kill("SIGTERM");
  const { code, stdout } = await first.ended;
  const endedAfterMs = successor ? 0 : Date.now() - clients.lastAt;
  if (successor) await delay(workMs);
  clients.stop();
  await running;
  second?.kill("SIGTERM");
  await second?.ended;
  const { failures, resets, requests, uploads, refused } = clients;
  // What the program has read of a request stands in its log.
  const cut = resets.filter((target) => stdout.includes(target));
  return {
    failures: [...failures, ...cut.map((target) => `${target} was cut`)],
    requests,
    uploads,
    refused,
    unaccepted: clients.unaccepted + resets.length - cut.length,
    code,
    endedAfterMs,
  };
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

if (import.meta.main) {
  const [seconds = 2, workers = 1] = Deno.args.map(Number);
  const crowd = { keepAlive: 64, oneShot: 64, webSockets: 0, uploads: 8 };
  for (const successor of [false, true]) {
    const findings = await stopUnderLoad(crowd, successor, seconds * 1000, workers);
    // deno-lint-ignore no-console
    console.log(successor ? "start new, stop old" : "stop", findings);
  }
}
