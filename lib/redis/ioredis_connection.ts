/** A connection with `ioredis`; only this file and `redis_nodes.ts` use the library. */

import { Redis, type RedisOptions } from "ioredis";
import { parseRedisUrl, type RedisTlsOptions } from "../limiter/redis_store_options.ts";
import { checkScript, correctScript, decideScript, permitScript, SERVER_TIME } from "./scripts.ts";
import { connectorTo, explainFailure, RedisNodes } from "./redis_nodes.ts";
import type { ConnectionListener, RedisConnection, ScriptName } from "./redis_link.ts";

/** Longest wait for a connection. */
const CONNECT_TIMEOUT_MS = 500;
/**
 * A connection is closed if a reply takes this long, or as long as a request may wait if that is longer: otherwise
 * pending commands would pile up.
 */
const SOCKET_TIMEOUT_MS = 250;
/** Timeout for the end of a connection that is replaced. */
const DISCONNECT_TIMEOUT_MS = 20;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 2000;
/** Timeout for the end of the connection before it is cut. */
const QUIT_TIMEOUT_MS = 250;

const CLOSED = "the connection was closed";

/** Requests never wait for a connection, and nothing is sent twice: without a reply the limiter decides locally. */
const STRICT = {
  enableOfflineQueue: false,
  // A script checks whether the server can count, which shows more than `INFO`.
  enableReadyCheck: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
} satisfies RedisOptions;

/** Options of {@linkcode IoredisConnection}. */
interface IoredisConnectionOptions {
  /** `redis://` or `rediss://` URLs, which differ in host and port only. */
  urls: readonly string[];
  /** For `rediss://`. @default {{}} */
  tls?: RedisTlsOptions;
  /** An unused key in the same cluster slot as all others. */
  checkKey: string;
  /** How long the limiter waits for a reply, in milliseconds. */
  timeoutMs: number;
  listener: ConnectionListener;
  /** Replacements of the scripts, which do not use the server's time. */
  scripts?: Readonly<Record<ScriptName, string>>;
}

/** Scripts as commands of the client, which sends the text of a script once per connection and then its hash. */
type Scripted =
  & Redis
  & Record<ScriptName | "check", (keys: number, ...args: readonly string[]) => Promise<number[]>>;

/** State of a connection: it can be used after the server has accepted it, replied, and passed the check. */
type Phase = "connecting" | "greeting" | "usable" | "leaving";

/** Connects at once, and reconnects until it is disposed. With several servers it uses one that can count. */
export class IoredisConnection implements RedisConnection {
  readonly #client: Scripted;
  readonly #nodes: RedisNodes;
  readonly #listener: ConnectionListener;
  readonly #checkKey: string;
  readonly #secure: boolean;
  #phase: Phase = "connecting";
  /**
   * The first error since the connection was started; the client itself would continue without the selected database.
   */
  #error: Error | null = null;
  /** Whether the connection is closed because a cluster named another server. */
  #redirected = false;
  /** Whether the last report to the listener was that the store is usable. */
  #wasUsable = false;
  #failures = 0;

  constructor(options: IoredisConnectionOptions) {
    const { urls, tls = {}, checkKey, timeoutMs, listener, scripts = serverTimeScripts() } = options;
    const addresses = urls.map((url) => parseRedisUrl(url)!);
    const { secure, username, password, db } = addresses[0]!;
    this.#listener = listener;
    this.#checkKey = checkKey;
    this.#secure = secure;
    this.#nodes = new RedisNodes(addresses);
    this.#client = new Redis({
      ...STRICT,
      socketTimeout: Math.max(SOCKET_TIMEOUT_MS, timeoutMs),
      username,
      password,
      db,
      ...(secure ? { tls: {} } : {}),
      Connector: connectorTo(this.#nodes, secure ? tls : null, DISCONNECT_TIMEOUT_MS),
      retryStrategy: () => this.#closed(),
    }) as Scripted;
    for (const [name, lua] of Object.entries({ ...scripts, check: checkScript() })) {
      this.#client.defineCommand(name, { lua });
    }
    this.#client.on("connect", () => this.#phase = "greeting");
    this.#client.on("ready", () => this.#becomeUsable());
    this.#client.on("error", (error: Error) => this.#error ??= error);
  }

  get ready(): boolean {
    return this.#phase === "usable" && this.#client.status === "ready";
  }

  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]> {
    return this.#client[script](keys, ...args);
  }

  async check(): Promise<void> {
    try {
      if (this.#error !== null) throw this.#error;
      await this.#client.check(1, this.#checkKey);
    } catch (error) {
      this.#leave(error as Error);
      throw error;
    }
  }

  heed(error: unknown): void {
    if (error instanceof Error && error.message.startsWith("MOVED ") && this.ready) this.#leave(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const client = this.#client;
    const { status } = client;
    if (status === "end") return;
    if (status === "reconnecting" || status === "close") {
      client.disconnect();
      // Between two attempts the client emits no end event, and it does not clear its own timer.
      await new Promise((resolve) => setTimeout(resolve, DISCONNECT_TIMEOUT_MS + 1));
      return;
    }
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    client.once("end", resolve);
    const timer = setTimeout(() => {
      client.disconnect();
      resolve();
    }, QUIT_TIMEOUT_MS);
    if (this.ready) client.quit().catch(() => {});
    else client.disconnect();
    await ended;
    clearTimeout(timer);
  }

  /** Reports the store as usable after the check has passed. */
  #becomeUsable(): void {
    this.check().then(() => {
      if (this.#phase !== "greeting") return;
      this.#phase = "usable";
      this.#wasUsable = true;
      this.#failures = 0;
      this.#nodes.settle();
      this.#listener.onReady();
    }, () => {});
  }

  /** Closes the connection to a server that cannot count, to use another server, or to retry later. */
  #leave(error: Error): void {
    if (this.#phase === "leaving" || this.#phase === "connecting") return;
    this.#error = error;
    this.#redirected = this.#nodes.follow(error.message);
    this.#phase = "leaving";
    this.#client.disconnect(true);
  }

  /** Called by the client when a connection was lost or failed; returns the milliseconds until the next attempt. */
  #closed(): number {
    const reason = this.#reason();
    const moves = this.#redirected;
    this.#redirected = false;
    this.#error = null;
    this.#phase = "connecting";
    const { count } = this.#nodes;
    const again = moves || ++this.#failures % count !== 0;
    // A redirect during connection setup, or a failure while other servers are left, is not reported as a loss.
    if (!again || this.#wasUsable) this.#listener.onLost(reason);
    this.#wasUsable = false;
    if (!moves) this.#nodes.next();
    if (again) return 0;
    return Math.min(FIRST_RETRY_MS * 2 ** Math.min(this.#failures / count - 1, 10), LONGEST_RETRY_MS);
  }

  #reason(): string {
    const greeting = this.#phase === "greeting";
    const error = this.#error ?? new Error(CLOSED);
    return explainFailure(error, {
      secure: this.#secure,
      greeting,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    });
  }
}

function serverTimeScripts(): Readonly<Record<ScriptName, string>> {
  return { decide: decideScript(), permit: permitScript(SERVER_TIME), correct: correctScript() };
}
