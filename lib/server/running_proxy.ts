/** Control of a running proxy, with or without its own listeners. */

import type { ConfigurationInfo } from "../admin/admin_target.ts";
import type { ModuleTexts } from "../config/module_graph.ts";
import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import type { LimitControl } from "../limiter/limit_control.ts";
import type { Pool } from "../upstream/pool.ts";
import type { DataPlane } from "./data_plane.ts";
import { Generations, type Opened, type ReloadOutcome } from "./generations.ts";
import type { ProxyParts } from "./serve_options.ts";

/** A running proxy: what `serve` and `createHandler` have in common. */
export abstract class RunningProxy implements AsyncDisposable {
  /** @internal */
  protected readonly parts: ProxyParts;
  /** @internal */
  protected readonly generations: Generations;
  readonly #finished = Promise.withResolvers<void>();
  #shutdown: Promise<number> | null = null;

  /** @internal Use `serve` or `createHandler`. */
  constructor(config: ResolvedConfig, parts: ProxyParts) {
    this.parts = parts;
    this.generations = new Generations(config, parts, {
      open: (next, plane, texts) => this.open(next, plane, texts),
      running: () => this.runningElsewhere,
      draining: () => this.drainingElsewhere,
    });
  }

  /** Resolves when the proxy has stopped. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Whether the proxy is stopping. */
  get stopping(): boolean {
    return this.#shutdown !== null;
  }

  /** The running configuration: its number, its load time, and its SHA-256. */
  get configuration(): ConfigurationInfo {
    return this.generations.info;
  }

  /** Number of running requests. */
  get running(): number {
    return this.generations.running;
  }

  /** Number of replaced configurations that still have running requests. */
  get drainingConfigurations(): number {
    return this.generations.draining;
  }

  /** The pools by name, to add, remove and weight servers at run time. A reload replaces them. */
  get pools(): ReadonlyMap<string, Pool> {
    return this.generations.pools;
  }

  /** The limiter, to ban and reset keys at run time; `null` if nothing is limited. A reload replaces it. */
  get limiter(): LimitControl | null {
    return this.generations.limiter;
  }

  /**
   * The metrics as text.
   *
   * @param format `"prometheus"` (text, version 0.0.4) when left out, or `"openmetrics"`
   */
  metrics(format?: "prometheus" | "openmetrics"): string {
    return this.generations.metrics(format);
  }

  /**
   * Replaces the running configuration without failing a request; never throws.
   *
   * Validates the new configuration, discovers and checks its servers, and opens its listeners. Then the new configuration
   * takes all new requests, and the former one finishes its running requests. Counts of policies and connections, health and
   * counters of servers in both configurations are kept. If the new configuration has a problem, nothing is changed.
   *
   * @param config the new configuration; if it is left out, the program's file is read again
   * @param trigger the cause, for the log; `"reload()"` when left out
   */
  reload(config?: ProxyConfig, trigger = "reload()"): Promise<ReloadOutcome> {
    return this.generations.reload(config, trigger);
  }

  /**
   * Reopens the file of the access log after it was moved (the program does so at SIGUSR2); does nothing without such a
   * file.
   */
  reopenLog(): void {
    this.generations.reopenLog();
  }

  /**
   * Stops accepting requests, finishes running ones, and stops.
   *
   * Cuts off requests that have not ended within the grace period. Resolves as soon as nothing runs any more. A second
   * call returns the same promise.
   *
   * @param reason for the log; `"shutdown()"` when left out
   * @returns the number of requests that were cut off
   */
  shutdown(reason = "shutdown()"): Promise<number> {
    this.#shutdown ??= this.#stop(reason);
    return this.#shutdown;
  }

  async #stop(reason: string): Promise<number> {
    const abandonedRequests = await this.stop(reason);
    if (abandonedRequests !== null) this.parts.observer.event({ kind: "stopped", abandonedRequests });
    await this.parts.closeLog?.();
    this.#finished.resolve();
    return abandonedRequests ?? 0;
  }

  /** The same as {@linkcode RunningProxy.shutdown}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown("disposed");
  }

  /** @internal Prepares the listeners or workers of a configuration before it is used. */
  protected abstract open(
    config: ResolvedConfig,
    plane: DataPlane,
    texts: ModuleTexts,
  ): Promise<Opened>;

  /** @internal Number of running requests in other processes. */
  protected get runningElsewhere(): number {
    return 0;
  }

  /** @internal Number of draining configurations in other processes. */
  protected get drainingElsewhere(): number {
    return 0;
  }

  /** @internal Stops the proxy and returns the number of requests that were cut off; `null` if it had not started. */
  protected abstract stop(reason: string): Promise<number | null>;
}

/** Keeps the process running: timers of the clock do not, and there may be no open listener. */
export function keepAlive(): Disposable {
  const id = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(id) };
}
