/** A real `redis-server` on a free port of loopback, which can be stopped, paused and restarted. */

import { deadPort } from "./dead_port.ts";
import { LogLines } from "./log_lines.ts";

/** The program; `REDIS_SERVER=valkey-server` runs Valkey instead of Redis. */
const PROGRAM = Deno.env.get("REDIS_SERVER") ?? "redis-server";
const INSTALLED = isInstalled();

/** Defines a test that needs `redis-server`; the test is ignored if it is not installed, and its name says why. */
export function redisTest(name: string, run: (redis: RedisServer) => Promise<void>): void {
  redisTestWith(() => RedisServer.start(), name, run);
}

/** Defines a test with another kind of server. */
export function redisTestWith<Started extends AsyncDisposable>(
  start: () => Promise<Started>,
  name: string,
  run: (started: Started) => Promise<void>,
): void {
  Deno.test({
    name: INSTALLED ? name : `${name} (needs ${PROGRAM}, which is not installed)`,
    ignore: !INSTALLED,
    async fn() {
      await using started = await start();
      await run(started);
    },
  });
}

/** A running server. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #args: readonly string[];
  #process: Deno.ChildProcess;
  #log: LogLines;

  private constructor(port: number, args: readonly string[], { process, log }: Running) {
    this.port = port;
    this.#args = args;
    this.#process = process;
    this.#log = log;
  }

  /**
   * Starts an empty server and waits until it accepts commands.
   *
   * @param more returns further arguments; called again for each attempt, as it may choose ports too
   */
  static async start(more: () => readonly string[] = () => []): Promise<RedisServer> {
    // Another process may take the port meanwhile.
    for (let attempt = 0;; attempt++) {
      const port = deadPort();
      const args = more();
      try {
        return new RedisServer(port, args, await spawn(port, args));
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Kills it; its data is lost. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#log[Symbol.asyncDispose]();
  }

  /** Restarts it on the same port, empty. */
  async restart(): Promise<void> {
    const { process, log } = await spawn(this.port, this.#args);
    this.#process = process;
    this.#log = log;
  }

  /** Suspends the process; connections stay open. */
  pause(): void {
    this.#process.kill("SIGSTOP");
  }

  /** Resumes the process. */
  resume(): void {
    this.#process.kill("SIGCONT");
  }

  /** Blocks all commands for this time; connections stay open, and commands wait. */
  async stall(durationMs: number): Promise<void> {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    await connection.write(new TextEncoder().encode(`CLIENT PAUSE ${durationMs} ALL\r\n`));
    await connection.read(new Uint8Array(64));
  }

  /** Waits until its log contains a text. */
  untilLogged(text: string): Promise<void> {
    return this.#log.until(text);
  }

  /** Sends one command on a separate connection and returns the raw reply. */
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

  /** Number of calls of a command. */
  async calls(command: string): Promise<number> {
    const stats = await this.command("INFO", "commandstats");
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has already been killed.
    }
    await this.#process.status;
    await this.#log[Symbol.asyncDispose]();
  }
}

interface Running {
  readonly process: Deno.ChildProcess;
  readonly log: LogLines;
}

async function spawn(port: number, more: readonly string[]): Promise<Running> {
  const args = [
    ...["--port", String(port), "--bind", "127.0.0.1"],
    // Nothing is written, and no files of others are read.
    ...["--save", "", "--appendonly", "no", "--dbfilename", `nothing-${port}.rdb`],
    ...more,
  ];
  const process = new Deno.Command(PROGRAM, {
    args,
    cwd: "/tmp",
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const log = new LogLines(process.stdout);
  try {
    await log.until("Ready to accept connections");
  } catch (error) {
    await process.status;
    await log[Symbol.asyncDispose]();
    throw new Error(`${PROGRAM} did not start`, { cause: error });
  }
  return { process, log };
}

function isInstalled(): boolean {
  try {
    return new Deno.Command(PROGRAM, { args: ["--version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
