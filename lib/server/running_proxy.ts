/** What steers a running proxy, whether it has listeners of its own or not. */

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
    });
  }

  /** Resolves when the proxy has stopped. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Whether it is stopping. */
  get stopping(): boolean {
    return this.#shutdown !== null;
  }

  /** The configuration that runs: its number, since when, and a SHA-256 of it. */
  get configuration(): ConfigurationInfo {
    return this.generations.info;
  }

  /** How many requests are not over. */
  get running(): number {
    return this.generations.running;
  }

  /** How many configurations that were replaced still serve their last requests. */
  get drainingConfigurations(): number {
    return this.generations.draining;
  }

  /** Its pools by name, to add, remove and weigh servers while it runs; others after a reload. */
  get pools(): ReadonlyMap<string, Pool> {
    return this.generations.pools;
  }

  /** Its limits, to ban and to reset keys while it runs; `null` when nothing is limited. Another one after a reload. */
  get limiter(): LimitControl | null {
    return this.generations.limiter;
  }

  /**
   * Its metrics as text.
   *
   * @param format `"prometheus"` (text, version 0.0.4) when left out, or `"openmetrics"`
   */
  metrics(format?: "prometheus" | "openmetrics"): string {
    return this.generations.metrics(format);
  }

  /**
   * Replaces the running configuration without failing a request; never throws.
   *
   * The new one is checked, finds and checks its servers, and opens its listeners. Then it takes all new requests; the one
   * before finishes what runs. Counts of policies, connections, health and counters of servers that are in both go on. Where
   * anything is wrong with it nothing is changed.
   *
   * @param config without it the program's file is read again
   * @param trigger what the log says of it; `"reload()"` when left out
   */
  reload(config?: ProxyConfig, trigger = "reload()"): Promise<ReloadOutcome> {
    return this.generations.reload(config, trigger);
  }

  /**
   * Opens the file of the access log again, after it has been moved (the program does so at SIGUSR2); does nothing
   * where there is none.
   */
  reopenLog(): void {
    this.generations.reopenLog();
  }

  /**
   * Takes no new requests, finishes those that run, and stops.
   *
   * What has not ended within the grace period is cut off. Resolves as soon as nothing runs any more; calling it
   * again gives the same promise.
   *
   * @param reason what the log says of it; `"shutdown()"` when left out
   * @returns how many requests were cut off
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

  /** @internal Opens what another configuration needs, before it is used. */
  protected abstract open(
    config: ResolvedConfig,
    plane: DataPlane,
    texts: ModuleTexts,
  ): Promise<Opened>;

  /** @internal Requests that other processes serve for it. */
  protected get runningElsewhere(): number {
    return 0;
  }

  /** @internal Ends everything; `null` when it was never begun. */
  protected abstract stop(reason: string): Promise<number | null>;
}

/** Keeps the process running: timers of the clock do not, and the program may have no listener open. */
export function keepAlive(): Disposable {
  const id = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(id) };
}
