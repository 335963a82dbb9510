/** A running proxy: its listeners and its configurations, from start to shutdown. */

import type { ConfigurationInfo } from "../admin/admin_target.ts";
import { callAside } from "../core/callback.ts";
import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import type { LimitControl } from "../limiter/limit_control.ts";
import type { MetricsFormat } from "../observe/metrics/exposition.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import type { Pool } from "../upstream/pool.ts";
import { Administration, type SteeredProxy } from "./administration.ts";
import { Generations, type Opened, type ReloadOutcome } from "./generations.ts";
import { Listeners } from "./listeners.ts";
import type { ProxyParts } from "./serve_options.ts";

/** A running proxy. */
export class ProxyServer implements AsyncDisposable {
  readonly #parts: ProxyParts;
  /** `null` without an admin listener. */
  readonly #admin: Administration | null;
  readonly #generations: Generations;
  readonly #listeners: Listeners;
  readonly #finished = Promise.withResolvers<void>();
  /** Keeps the process running: timers of the clock do not, and nothing else may while checks or a listener wait. */
  #alive: ReturnType<typeof setInterval> | undefined;
  #shutdown: Promise<number> | null = null;
  #ready = false;

  /** @internal Use `serve`. */
  constructor(config: ResolvedConfig, parts: ProxyParts) {
    this.#admin = config.admin === null ? null : new Administration(config.admin, parts);
    const observed = this.#parts = { ...parts, observer: this.#admin?.events ?? parts.observer };
    this.#generations = new Generations(config, observed, { open: (next) => this.#open(next) });
    this.#listeners = new Listeners(observed, this.#generations);
  }

  /** @internal Checks all servers once, then opens the listeners. */
  async start(): Promise<void> {
    this.#alive = setInterval(() => {}, 60_000);
    try {
      await this.#admin?.open(this.#steered());
      await this.#generations.start();
      const opened = await this.#open(this.#generations.config);
      await opened.commit();
    } catch (error) {
      await this.#cut();
      throw error;
    }
    this.#ready = true;
  }

  async #open(config: ResolvedConfig): Promise<Opened> {
    const opened = await this.#listeners.open(config);
    const commit = async (): Promise<void> => {
      const before = this.addresses.join();
      await opened.commit();
      if (this.addresses.join() !== before) {
        this.#parts.observer.event({ kind: "listening", addresses: this.addresses });
      }
      this.#callOnListen(config);
    };
    return { ...opened, commit };
  }

  #callOnListen({ onListen }: ResolvedConfig): void {
    if (onListen === null) return;
    callAside(
      () => onListen(this.addresses, this.pools),
      (error) => reportCallbackError(this.#parts.observer, "onListen", error),
    );
  }

  /** Where clients reach it, as `host:port` or `unix:/path`; with the ports that were given for port 0. */
  get addresses(): readonly string[] {
    return this.#listeners.addresses;
  }

  /** Where it is watched and steered, as `host:port` or `unix:/path`; `null` without an admin listener. */
  get adminAddress(): string | null {
    return this.#admin?.address ?? null;
  }

  #steered(): SteeredProxy {
    const isStopping = (): boolean => this.#shutdown !== null;
    const addresses = (): readonly string[] => this.addresses;
    return {
      generations: this.#generations,
      reloads: (this.#parts.source ?? null) !== null,
      get addresses() {
        return addresses();
      },
      get stopping() {
        return isStopping();
      },
    };
  }

  /** Resolves when the proxy has stopped. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Whether it takes requests: from the end of the start until it is told to stop. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The configuration that runs: its number, since when, and the SHA-256 of its sources. */
  get configuration(): ConfigurationInfo {
    return this.#generations.info;
  }

  /** How many configurations that were replaced still serve their last requests. */
  get drainingConfigurations(): number {
    return this.#generations.draining;
  }

  /** Its pools by name, to add, remove and weigh servers while it runs; others after a reload. */
  get pools(): ReadonlyMap<string, Pool> {
    return this.#generations.pools;
  }

  /** Its limits, to ban and to reset keys while it runs; `null` when nothing is limited. Another one after a reload. */
  get limiter(): LimitControl | null {
    return this.#generations.limiter;
  }

  /**
   * Its metrics as text.
   *
   * @param format `"prometheus"` (text, version 0.0.4) when left out, or `"openmetrics"`
   */
  metrics(format?: MetricsFormat): string {
    return this.#generations.metrics(format);
  }

  /**
   * Puts another configuration in the place of the one that runs, without a request that fails; never throws.
   *
   * The new one is checked, finds and checks its servers, and opens its listeners. Then it takes all new requests; the one
   * before finishes what runs. Counts of policies, connections, health and counters of servers that are in both go on. Where
   * anything is wrong with it nothing is changed.
   *
   * @param config without it the program's file is read again
   * @param trigger what the log says of it; `"reload()"` when left out
   */
  reload(config?: ProxyConfig, trigger = "reload()"): Promise<ReloadOutcome> {
    return this.#generations.reload(config, trigger);
  }

  /**
   * Opens the file of the access log anew, after somebody has moved it away (the program does so at SIGUSR2); does nothing
   * where there is none.
   */
  reopenLog(): void {
    this.#generations.reopenLog();
  }

  /**
   * Takes no new connections, finishes the requests that run, and stops.
   *
   * What has not ended within the grace period is cut off. Resolves as soon as nothing runs any more; calling it
   * again gives the same promise.
   *
   * @param reason what the log says of it
   * @returns how many requests were cut off
   */
  shutdown(reason = "shutdown()"): Promise<number> {
    this.#shutdown ??= this.#drain(reason);
    return this.#shutdown;
  }

  async #drain(reason: string): Promise<number> {
    this.#ready = false;
    const abandonedRequests = await this.#generations.drain(reason, () => this.#listeners.stop());
    await this.#cut();
    this.#parts.observer.event({ kind: "stopped", abandonedRequests });
    this.#finished.resolve();
    return abandonedRequests;
  }

  /** Ends everything at once. */
  async #cut(): Promise<void> {
    this.#listeners.cut();
    try {
      await this.#admin?.[Symbol.asyncDispose]();
      await this.#generations[Symbol.asyncDispose]();
    } finally {
      clearInterval(this.#alive);
    }
  }

  /** The same as {@linkcode ProxyServer.shutdown}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown("disposed");
  }
}
