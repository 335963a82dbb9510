/** One proxy in one scenario. */

import { freePort } from "../proxy/free_port.ts";
import { type RunningProgram, startProgram } from "../proxy/running_program.ts";
import type { PeerCommand } from "../proxy/peer.ts";
import { type FaultLoadResult, runFaultLoad, runOwnLoad } from "./load.ts";
import type { FaultPeer } from "./peers.ts";
import type { Fault } from "./scenarios.ts";
import { leftOver } from "./snapshot.ts";

const ROOT = `${import.meta.dirname}/../..`;
const LOOK_EVERY_MS = 20;
/** Delay before the load, in milliseconds: the first health checks have ended then. */
const SETTLE_MS = 1200;
/** How long a proxy may take to end after its stop signal, in milliseconds. */
const END_MS = 15_000;

/** The result of one run. */
export interface FaultRun extends FaultLoadResult {
  readonly peer: string;
  readonly fault: string;
  /** Requests without a successful response. */
  readonly failed: number;
  /** How long requests failed after a server was back, in milliseconds; `null` if a server was always there. */
  readonly recoveredMs: number | null;
  /** The exit code of a stopped proxy, and how long it took to end; `null` if it was not stopped. */
  readonly ended: { readonly code: number; readonly ms: number } | null;
  /** What lbproxy still counted as running at the end; `null` for other proxies, and if it was stopped. */
  readonly left: readonly string[] | null;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts servers and proxy, loads it during the fault, and checks what it still counts as running. */
export async function runFault(peer: FaultPeer, fault: Fault, directory: string): Promise<FaultRun> {
  await using stack = new AsyncDisposableStack();
  const own = `${directory}/${peer.name}-${fault.name}`;
  await Deno.mkdir(`${own}/proxy`, { recursive: true });
  const { ports, redis = "", during } = await fault.prepare(own, stack);
  const [port, adminPort] = [freePort(), freePort()];
  const setup = { port, servers: ports, directory: `${own}/proxy`, root: ROOT, adminPort, redis };
  const command = bounded(await peer.prepare(setup), fault.descriptors);
  const program = stack.use(await startProgram(command, port, "null"));
  await sleep(SETTLE_MS);
  const probe = new Probe(port);
  let endedAt = 0;
  void program.status.then(() => endedAt = performance.now());
  let toldAt = 0;
  const running = {
    sleep,
    peer: program,
    stopSignal: peer.stopSignal,
    back: () => probe.start(),
  };
  const events = async (): Promise<void> => {
    await during?.(running);
    toldAt = performance.now();
  };
  const load = fault.ends === true ? runOwnLoad(port, fault) : runFaultLoad(port, fault, own);
  const [result] = await Promise.all([load, events()]);
  const ended = fault.ends === true ? await endOf(program, () => endedAt - toldAt) : null;
  const recoveredMs = await probe.stop();
  const isOwn = peer.kind === "lbproxy" && ended === null;
  return {
    peer: peer.name,
    fault: fault.name,
    ...result,
    failed: result.refused + result.broken + result.hung,
    recoveredMs,
    ended,
    left: isOwn ? await leftOver(adminPort, port, redis === "") : null,
  };
}

function bounded({ command, args, env }: PeerCommand, descriptors?: number): PeerCommand {
  if (descriptors === undefined) return { command, args, env: env ?? {} };
  const script = `ulimit -n ${descriptors}; exec "$0" "$@"`;
  return { command: "sh", args: ["-c", script, command, ...args], env: env ?? {} };
}

async function endOf(program: RunningProgram, took: () => number): Promise<FaultRun["ended"]> {
  const late = sleep(END_MS).then(() => null);
  const status = await Promise.race([program.status, late]);
  return status === null ? { code: -1, ms: END_MS } : { code: status.code, ms: Math.round(took()) };
}

/** A client that sends requests periodically, to measure when a proxy has recovered. */
class Probe {
  readonly #port: number;
  #running: Promise<number> | null = null;
  #over = false;

  constructor(port: number) {
    this.#port = port;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** When the last request failed, in milliseconds after the start; `null` if the probe was not started. */
  async stop(): Promise<number | null> {
    this.#over = true;
    return await this.#running;
  }

  async #run(): Promise<number> {
    const startedAt = performance.now();
    let failedAt = startedAt;
    while (!this.#over) {
      const response = await fetch(`http://127.0.0.1:${this.#port}/`).catch(() => null);
      await response?.body?.cancel();
      if (response?.status !== 200) failedAt = performance.now();
      await sleep(LOOK_EVERY_MS);
    }
    return Math.round(failedAt - startedAt);
  }
}
