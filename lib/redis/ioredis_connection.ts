/** A connection by `ioredis`; only this file and `node_connector.ts` know the library. */

import { Redis, type RedisOptions } from "ioredis";
import { parseRedisUrl, type RedisTlsOptions } from "../limiter/redis_store_options.ts";
import { checkScript, correctScript, decideScript, permitScript, SERVER_TIME } from "./scripts.ts";
import { connectorTo, explainFailure, RedisNodes } from "./redis_nodes.ts";
import type { ConnectionListener, RedisConnection, ScriptName } from "./redis_link.ts";

/** Longest wait for a connection. */
const CONNECT_TIMEOUT_MS = 500;
/**
 * A connection on which a reply takes so long, or as long as a request may wait, is closed: else what waits in
 * it would pile up.
 */
const SOCKET_TIMEOUT_MS = 250;
/** How long the end of a connection that is left may take. */
const DISCONNECT_TIMEOUT_MS = 20;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 2000;
/** How long the end may take until the connection is cut. */
const QUIT_TIMEOUT_MS = 250;

const CLOSED = "the connection was closed";

/** Nothing waits for a connection, and nothing is sent twice: without a reply, the limiter decides by itself. */
const STRICT = {
  enableOfflineQueue: false,
  // Whether the server would count is found out by a script, which knows more than `INFO`.
  enableReadyCheck: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
} satisfies RedisOptions;

/** What {@linkcode IoredisConnection} takes. */
interface IoredisConnectionOptions {
  /** `redis://` or `rediss://`; they differ in host and port only. */
  urls: readonly string[];
  /** For `rediss://`. @default {{}} */
  tls?: RedisTlsOptions;
  /** A key that nobody uses, in the slot of all others. */
  checkKey: string;
  /** How long the limiter waits for a reply. */
  timeoutMs: number;
  listener: ConnectionListener;
  /** The scripts, when they are not to take the server's time. */
  scripts?: Readonly<Record<ScriptName, string>>;
}

/** Own commands of the client; it sends the text of a script once a connection, and its hash from then on. */
type Scripted =
  & Redis
  & Record<ScriptName | "check", (keys: number, ...args: readonly string[]) => Promise<number[]>>;

/** How far a connection is: the server must accept it, reply, and count; only then is another one used. */
type Phase = "connecting" | "greeting" | "usable" | "leaving";

/** Connects at once, and again for as long as it is not disposed: to the server that counts, where there are several. */
export class IoredisConnection implements RedisConnection {
  readonly #client: Scripted;
  readonly #nodes: RedisNodes;
  readonly #listener: ConnectionListener;
  readonly #checkKey: string;
  readonly #secure: boolean;
  #phase: Phase = "connecting";
  /** What went wrong since it was connected; the client itself goes on without the database it was to choose. */
  #error: Error | null = null;
  /** Whether it is left for a server that a cluster has named. */
  #redirected = false;
  /** Whether the listener has last heard that it can be used. */
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
    this.#client.on("ready", () => this.#begin());
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
    if (this.ready) client.quit().catch(() => {});
    else client.disconnect();
    await ended;
    clearTimeout(timer);
  }

  /** Says that the store can be used once it has been seen to count. */
  #begin(): void {
    this.check().then(() => {
      if (this.#phase !== "greeting") return;
      this.#phase = "usable";
      this.#wasUsable = true;
      this.#failures = 0;
      this.#nodes.settle();
      this.#listener.onReady();
    }, () => {});
  }

  /** Ends a connection to a server that does not count, to go on with another one, or later. */
  #leave(error: Error): void {
    if (this.#phase === "leaving" || this.#phase === "connecting") return;
    this.#error = error;
    this.#redirected = this.#nodes.follow(error.message);
    this.#phase = "leaving";
    this.#client.disconnect(true);
  }

  /** Called by the client when a connection is lost, or could not be made; gives the milliseconds until the next try. */
  #closed(): number {
    const reason = this.#reason();
    const moves = this.#redirected;
    this.#redirected = false;
    this.#error = null;
    this.#phase = "connecting";
    const { count } = this.#nodes;
    const again = moves || ++this.#failures % count !== 0;
    // Who is sent on right at the beginning, or has other servers to try, has not lost anything.
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
