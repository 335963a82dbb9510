/** A connection to a real Redis that is lost when a test says so, with more or less of what was under way. */

import type { Clock } from "../../../lib/core/clock.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../../lib/limiter/memory_store.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { resolveStore } from "../../../lib/limiter/redis_store_options.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { IoredisConnection } from "../../../lib/redis/ioredis_connection.ts";
import type { ConnectionListener, RedisConnection, ScriptName } from "../../../lib/redis/redis_link.ts";
import { RedisStore } from "../../../lib/redis/redis_store.ts";
import { StoreConnection } from "../../../lib/redis/store_connection.ts";

/**
 * What becomes of commands that are sent from some moment on, until the connection is lost: they never arrive, only
 * their replies are lost, or they arrive after a new connection is there.
 */
export type Fault = "unsent" | "reply lost" | "late";

/** What {@linkcode FlakyConnection} takes. */
export interface FlakyConnectionOptions {
  url: string;
  checkKey: string;
  listener: ConnectionListener;
}

/** Passes commands on, or not. */
export class FlakyConnection implements RedisConnection {
  readonly #inner: IoredisConnection;
  readonly #listener: ConnectionListener;
  #fault: Fault | null = null;
  #up = true;
  #pending: ((error: Error) => void)[] = [];
  #late: (() => Promise<void>)[] = [];
  #arrived: Promise<void>[] = [];
  /** Replies of Redis that nobody got. */
  readonly lost: { script: ScriptName; reply: readonly number[] }[] = [];

  constructor({ url, checkKey, listener }: FlakyConnectionOptions) {
    this.#listener = listener;
    this.#inner = new IoredisConnection({
      urls: [url],
      checkKey,
      timeoutMs: 5000,
      listener: { onReady: () => listener.onReady(), onLost() {} },
    });
  }

  get ready(): boolean {
    return this.#up && this.#inner.ready;
  }

  /** Whether all that is sent arrives. */
  get works(): boolean {
    return this.#up && this.#fault === null;
  }

  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]> {
    if (!this.#up) return Promise.reject(new Error("no connection"));
    if (this.#fault === null) return this.#inner.run(script, keys, args);
    const execute = async (): Promise<void> => {
      this.lost.push({ script, reply: await this.#inner.run(script, keys, args) });
    };
    if (this.#fault === "reply lost") this.#arrived.push(execute());
    if (this.#fault === "late") this.#late.push(execute);
    return new Promise((_, reject) => this.#pending.push(reject));
  }

  check(): Promise<unknown> {
    return this.works ? this.#inner.check() : Promise.reject(new Error("no reply"));
  }

  heed(error: unknown): void {
    this.#inner.heed(error);
  }

  /** From now on nothing is heard of what is sent. */
  fail(fault: Fault): void {
    if (this.works) this.#fault = fault;
  }

  /** Ends the connection, if there is one. */
  async lose(): Promise<void> {
    if (!this.#up) return;
    this.#up = false;
    this.#fault = null;
    for (const reject of this.#pending.splice(0)) reject(new Error("the connection is lost"));
    await Promise.all(this.#arrived.splice(0));
    this.#listener.onLost("the connection is lost");
  }

  /** Makes a new connection. @param lateFirst whether what is late arrives in front of what is sent by it */
  async restore(lateFirst: boolean): Promise<void> {
    await this.lose();
    const late = this.#late.splice(0);
    if (lateFirst) await Promise.all(late.map((execute) => execute()));
    this.#up = true;
    this.#listener.onReady();
    if (!lateFirst) await Promise.all(late.map((execute) => execute()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lose();
    await this.#inner[Symbol.asyncDispose]();
  }
}

let ids = 0;

/** What a {@linkcode FlakyInstance} takes. */
export interface FlakyInstanceOptions<Ctx extends KeySource> {
  url: string;
  prefix: string;
  policies: readonly LimiterPolicy<Ctx>[];
  clock: Clock;
}

/** An instance of the proxy, as far as limits go, whose connection may be lost; without it nothing is admitted. */
export class FlakyInstance<Ctx extends KeySource> implements AsyncDisposable {
  readonly connection: StoreConnection;
  readonly limiter: RateLimiter<Ctx>;
  /** How many corrections it has told of that were too many to keep. */
  dropped = 0;
  flaky!: FlakyConnection;

  private constructor({ url, prefix, policies, clock }: FlakyInstanceOptions<Ctx>) {
    this.connection = new StoreConnection({
      connect: (listener, { check }) => this.flaky = new FlakyConnection({ url, checkKey: check, listener }),
      clock,
      createId: () => ++ids,
      prefix,
      timeoutMs: 5000,
      onAvailability: (_available, _reason, dropped) => void (this.dropped += dropped),
    });
    const random = seededRandom(1);
    const resolved = resolvePolicies<Ctx>(policies);
    const table = SharedTable.create({ clock, random, sketches: policies.length });
    const store = new RedisStore({
      connection: this.connection,
      clock,
      memory: new MemoryStore(table),
      policies: resolved,
      options: resolveStore({ type: "redis", url, prefix, onStoreError: "closed" })!,
      scope: "",
    });
    this.limiter = new RateLimiter<Ctx>(resolved, { clock, random, table, store });
  }

  /** Connects. */
  static async start<Ctx extends KeySource>(options: FlakyInstanceOptions<Ctx>): Promise<FlakyInstance<Ctx>> {
    const instance = new FlakyInstance(options);
    await instance.connection.link.tried;
    return instance;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.limiter[Symbol.dispose]();
    await this.connection[Symbol.asyncDispose]();
  }
}
