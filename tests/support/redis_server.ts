/** A real `redis-server` on a free port of loopback, to be stopped, paused and started again. */

import { deadPort } from "./dead_port.ts";

const INSTALLED = isInstalled();

/** Defines a test that needs `redis-server`; on a machine without it the test is ignored, and its name says why. */
export function redisTest(name: string, run: (redis: RedisServer) => Promise<void>): void {
  Deno.test({
    name: INSTALLED ? name : `${name} (needs redis-server, which is not installed)`,
    ignore: !INSTALLED,
    async fn() {
      await using redis = await RedisServer.start();
      await run(redis);
    },
  });
}

/** A server that runs. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  #process: Deno.ChildProcess;

  private constructor(port: number, process: Deno.ChildProcess) {
    this.port = port;
    this.#process = process;
  }

  /** Starts an empty one and waits until it takes commands. */
  static async start(): Promise<RedisServer> {
    // Somebody else may take the port in between.
    for (let attempt = 0;; attempt++) {
      const port = deadPort();
      try {
        return new RedisServer(port, await spawn(port));
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Ends it at once, with all that it has counted. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
  }

  /** Starts it again on the same port, empty. */
  async restart(): Promise<void> {
    this.#process = await spawn(this.port);
  }

  /** Stops it from answering; connections stay open. */
  pause(): void {
    this.#process.kill("SIGSTOP");
  }

  /** Lets it go on. */
  resume(): void {
    this.#process.kill("SIGCONT");
  }

  /** Sends one command on a connection of its own and gives the reply as it came. */
  async command(...words: readonly string[]): Promise<string> {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    const parts = [...words, "QUIT"].map((word) => `$${word.length}\r\n${word}\r\n`);
    const quit = parts.pop()!;
    await connection.write(
      new TextEncoder().encode(`*${words.length}\r\n${parts.join("")}*1\r\n${quit}`),
    );
    let text = "";
    for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) text += chunk;
    return text.slice(0, text.lastIndexOf("+OK\r\n"));
  }

  /** How often a command was called. */
  async calls(command: string): Promise<number> {
    const stats = await this.command("INFO", "commandstats");
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has been killed already.
    }
    await this.#process.status;
  }
}

async function spawn(port: number): Promise<Deno.ChildProcess> {
  const process = new Deno.Command("redis-server", {
    args: ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    cwd: "/tmp",
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let log = "";
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  while (!log.includes("Ready to accept connections")) {
    const { done, value } = await reader.read();
    if (done) {
      await process.status;
      throw new Error(`redis-server did not start: ${log}`);
    }
    log += value;
  }
  await reader.cancel();
  return process;
}

function isInstalled(): boolean {
  try {
    return new Deno.Command("redis-server", { args: ["--version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
