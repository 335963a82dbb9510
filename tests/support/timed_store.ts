/** A store whose Redis uses the time of the test. */

import { systemClock } from "../../lib/core/clock.ts";
import type { Clock } from "../../lib/core/clock.ts";
import type { MemoryStore } from "../../lib/limiter/memory_store.ts";
import type { ResolvedPolicy } from "../../lib/limiter/policy.ts";
import { type RedisStoreOptions, resolveStore } from "../../lib/limiter/redis_store_options.ts";
import { correctScript, decideScript, permitScript } from "../../lib/redis/scripts.ts";
import { IoredisConnection } from "../../lib/redis/ioredis_connection.ts";
import type { RedisConnection, ScriptName } from "../../lib/redis/redis_link.ts";
import { RedisStore } from "../../lib/redis/redis_store.ts";
import { RefusedKeys } from "../../lib/redis/kept_entries.ts";
import { StoreConnection } from "../../lib/redis/store_connection.ts";

/** Uses the last argument as time. */
const GIVEN_TIME = "local now = tonumber(ARGV[#ARGV])\n";

/** The scripts with the time of the test. */
export const TIMED_SCRIPTS: Readonly<Record<ScriptName, string>> = {
  decide: decideScript(GIVEN_TIME),
  permit: permitScript(GIVEN_TIME),
  correct: correctScript(GIVEN_TIME),
};

/** Stores no refusals, so that every request reaches Redis. */
class NothingRefused extends RefusedKeys {
  override find(): boolean {
    return false;
  }
}

/** Adds the time to every command. */
class TimedConnection implements RedisConnection {
  readonly #inner: IoredisConnection;
  readonly #nowUs: () => number;

  constructor(inner: IoredisConnection, nowUs: () => number) {
    this.#inner = inner;
    this.#nowUs = nowUs;
  }

  get ready(): boolean {
    return this.#inner.ready;
  }

  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]> {
    return this.#inner.run(script, keys, [...args, String(this.#nowUs())]);
  }

  check(): Promise<unknown> {
    return this.#inner.check();
  }

  heed(error: unknown): void {
    this.#inner.heed(error);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inner[Symbol.asyncDispose]();
  }
}

let ids = 0;

/** Connects, and waits until Redis accepts commands. @param clock clock for everything except the time in Redis */
export async function timedConnection(
  url: string,
  nowUs: () => number,
  clock: Clock = systemClock,
): Promise<StoreConnection> {
  const timeoutMs = 5000;
  const connection = new StoreConnection({
    connect: (listener, { check }) =>
      new TimedConnection(
        new IoredisConnection({ urls: [url], checkKey: check, timeoutMs, listener, scripts: TIMED_SCRIPTS }),
        nowUs,
      ),
    clock,
    createId: () => ++ids,
    prefix: "timed",
    timeoutMs,
    onAvailability() {},
  });
  await connection.link.tried;
  return connection;
}

/** A store on a connection, which sends every request to Redis unless it should store refusals. */
export function storeOn(
  connection: StoreConnection,
  policies: readonly ResolvedPolicy[],
  memory: MemoryStore,
  more: { clock: Clock; scope?: string; remembers?: boolean; options?: Partial<RedisStoreOptions> },
): RedisStore {
  const { clock, scope = "", remembers = false, options = {} } = more;
  return new RedisStore({
    connection,
    clock,
    memory,
    policies,
    options: resolveStore({ type: "redis", url: "redis://unused", ...options })!,
    scope,
    ...(remembers ? {} : { refused: new NothingRefused() }),
  });
}
