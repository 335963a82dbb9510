/** A connection by `ioredis`; the only file that knows the library. */

import { Redis, type RedisOptions } from "ioredis";
import { correctScript, decideScript, releaseScript } from "./decide_script.ts";
import type { ConnectionListener, RedisConnection, ScriptName } from "./redis_connection.ts";

/** Longest wait for a connection. */
const CONNECT_TIMEOUT_MS = 500;
/** A connection on which an answer is awaited so long is given up: else what waits in it would pile up. */
const SOCKET_TIMEOUT_MS = 250;
/** How long the end of a connection that is left may take. */
const DISCONNECT_TIMEOUT_MS = 20;
const LONGEST_RETRY_MS = 2000;
/** How long the end may take until the connection is cut. */
const QUIT_TIMEOUT_MS = 250;

/** Nothing waits for a connection, nothing is sent twice: whoever asks has something else to do when there is no answer. */
const STRICT = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  socketTimeout: SOCKET_TIMEOUT_MS,
  retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times - 1, 10), LONGEST_RETRY_MS),
} satisfies RedisOptions;

/** What {@linkcode IoredisConnection} takes. */
export interface IoredisConnectionOptions {
  /** `redis://` or `rediss://`. */
  url: string;
  listener: ConnectionListener;
  /** The scripts, when they are not to take the server's time. */
  scripts?: Readonly<Record<ScriptName, string>>;
}

/** Own commands of the client; it sends the text of a script once a connection, and its hash from then on. */
type Scripted = Redis & Record<ScriptName, (keys: number, ...args: readonly string[]) => Promise<number[]>>;

/** Connects at once, and again for as long as it is not disposed. */
export class IoredisConnection implements RedisConnection {
  readonly #client: Scripted;

  constructor(options: IoredisConnectionOptions) {
    const { url, listener, scripts = serverTimeScripts() } = options;
    this.#client = new Redis(url, STRICT) as Scripted;
    for (const name of ["decide", "release", "correct"] as const) {
      this.#client.defineCommand(name, { lua: scripts[name] });
    }
    let reason = "the connection was closed";
    this.#client.on("ready", () => listener.onReady());
    this.#client.on("error", (error: Error) => reason = reasonOf(error));
    this.#client.on("close", () => {
      listener.onLost(reason);
      reason = "the connection was closed";
    });
  }

  get ready(): boolean {
    return this.#client.status === "ready";
  }

  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]> {
    return this.#client[script](keys, ...args);
  }

  delete(keys: readonly string[]): Promise<unknown> {
    return this.#client.del(...keys);
  }

  ping(): Promise<unknown> {
    return this.#client.ping();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const client = this.#client;
    const { status } = client;
    if (status === "end") return;
    if (status === "reconnecting" || status === "close") {
      client.disconnect();
      // Between two tries there is no end to wait for, only the client's own timer, which it does not clear.
      await new Promise((resolve) => setTimeout(resolve, DISCONNECT_TIMEOUT_MS + 1));
      return;
    }
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    client.once("end", resolve);
    const timer = setTimeout(() => {
      client.disconnect();
      resolve();
    }, QUIT_TIMEOUT_MS);
    if (status === "ready") client.quit().catch(() => {});
    else client.disconnect();
    await ended;
    clearTimeout(timer);
  }
}

function serverTimeScripts(): Readonly<Record<ScriptName, string>> {
  return { decide: decideScript(), release: releaseScript(), correct: correctScript() };
}

function reasonOf(error: Error): string {
  const { errors } = error as AggregateError;
  return error.message === "" && Array.isArray(errors) ? errors.map(String).join(", ") : error.message;
}
