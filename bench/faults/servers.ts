/** The servers behind every proxy: processes that are killed or stopped, or that misbehave. */

import { freePort } from "../proxy/free_port.ts";
import { nginxCommand, nginxConfig } from "../proxy/nginx_config.ts";
import { type RunningProgram, startProgram } from "../proxy/running_program.ts";
import type { PeerCommand } from "../proxy/peer.ts";

/** A server that can be ended and started again at the same port. */
export class FaultServer implements AsyncDisposable {
  readonly port: number;
  readonly #command: PeerCommand;
  #program: RunningProgram | null = null;

  constructor(command: PeerCommand, port: number) {
    this.#command = command;
    this.port = port;
  }

  async start(): Promise<void> {
    this.#program = await startProgram(this.#command, this.port, "null");
  }

  /** Kills it, like a crash. */
  async kill(): Promise<void> {
    this.#program?.signal("SIGKILL");
    await this.#program?.status;
    this.#program = null;
  }

  /** Suspends it: the system still accepts connections to its port, but there are no responses. */
  stop(): void {
    this.#program?.signal("SIGSTOP");
  }

  goOn(): void {
    this.#program?.signal("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.goOn();
    await this.kill();
  }
}

/** A good server: nginx as one process, so that one signal is enough. */
export async function goodServer(directory: string): Promise<FaultServer> {
  await Deno.mkdir(directory, { recursive: true });
  const port = freePort();
  const http = `
  server {
    listen 127.0.0.1:${port};
    location / { return 200 "Hello world\\n"; }
  }`;
  const config = nginxConfig(directory, http).replace("worker_processes 1;", "master_process off;");
  const server = new FaultServer(await nginxCommand(directory, config), port);
  await server.start();
  return server;
}

/** A server that breaks connections; see `faulty_server.ts`. */
export async function faultyServer(mode: "reset" | "close", every: number): Promise<FaultServer> {
  const port = freePort();
  const args = ["run", "-A", `${import.meta.dirname}/faulty_server.ts`, String(port), mode, String(every)];
  const server = new FaultServer({ command: Deno.execPath(), args }, port);
  await server.start();
  return server;
}
