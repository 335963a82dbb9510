/** A started program, until it is stopped. */

import type { PeerCommand } from "./peer.ts";

const START_MS = 15_000;
const STOP_MS = 5_000;

/** A child process that listens at a port. */
export class RunningProgram implements AsyncDisposable {
  readonly port: number;
  readonly #child: Deno.ChildProcess;
  #ended = false;
  /** Resolves with the status when the program has ended. */
  readonly status: Promise<Deno.CommandStatus>;

  constructor(child: Deno.ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    this.status = child.status;
    child.status.then(() => this.#ended = true);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Sends a signal, unless the program has ended. */
  signal(name: Deno.Signal): void {
    if (!this.#ended) this.#child.kill(name);
  }

  /** Waits until connections are accepted. */
  async ready(): Promise<void> {
    const until = performance.now() + START_MS;
    while (!await accepts(this.port)) {
      if (this.#ended) throw new Error(`The program for port ${this.port} ended before it listened`);
      if (performance.now() > until) throw new Error(`Nothing listens at ${this.port} after ${START_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.#child.status;
    clearTimeout(timer);
  }
}

/**
 * Starts a program and waits until it listens.
 *
 * @param stderr where its output to `stderr` goes
 */
export async function startProgram(
  { command, args, env = {} }: PeerCommand,
  port: number,
  stderr: "inherit" | "null" = "inherit",
): Promise<RunningProgram> {
  const child = new Deno.Command(command, {
    args: [...args],
    env: { ...env },
    stdin: "null",
    stdout: "null",
    stderr,
  }).spawn();
  const program = new RunningProgram(child, port);
  try {
    await program.ready();
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return program;
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
