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
/** Before the load: the first checks are over then. */
const SETTLE_MS = 1200;
/** How long a proxy may take to end once it was told to. */
const END_MS = 15_000;

/** What one run came to. */
export interface FaultRun extends FaultLoadResult {
  readonly peer: string;
  readonly fault: string;
  /** Requests that got no good response. */
  readonly failed: number;
  /** How long after the return of a server requests still failed; `null` where servers were never gone. */
  readonly recoveredMs: number | null;
  /** The exit code of a proxy that was told to stop, and how long it took; `null` where none was. */
  readonly ended: { readonly code: number; readonly ms: number } | null;
  /** What still counted as running in the end, of lbproxy; `null` of others, and of one that has ended. */
  readonly left: readonly string[] | null;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts servers and proxy, loads it while things go wrong, and looks at what is left. */
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

/** A client that asks again and again, to see when a proxy is back. */
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

  /** When the last request failed, in milliseconds after the start; `null` when it was never started. */
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
