/** `serve`: starts a proxy from a program. */

import type { NamedKey } from "../limiter/busy_keys.ts";
import { ConfigError } from "../config/config_error.ts";
import type { ModuleTexts } from "../config/module_graph.ts";
import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { callAside } from "../core/callback.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import { Administration, type SteeredProxy } from "./administration.ts";
import { CertificateExpiry } from "./certificates.ts";
import type { DataPlane } from "./data_plane.ts";
import type { Opened } from "./generations.ts";
import { Listeners } from "./listeners.ts";
import { keepAlive, RunningProxy } from "./running_proxy.ts";
import { completeOptions, type ProxyParts, type ServeOptions } from "./serve_options.ts";
import { SupervisorMemory } from "./workers/supervisor_memory.ts";
import { alone } from "./workers/worker_command.ts";
import { Workers } from "./workers/workers.ts";

/**
 * Starts a proxy and resolves once it listens.
 *
 * Servers with a health check are checked once before, so that the first request does not get a failed server.
 *
 * Serves in this process only: workers load the configuration by the path of its module, which only the program knows.
 *
 * @throws {ConfigError} when the configuration has mistakes, or several workers; it lists all of them
 * @throws {ListenError} when it cannot listen at an address
 *
 * @example
 * ```ts
 * import { serve } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using upstream = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello"));
 * await using proxy = await serve({
 *   listen: "127.0.0.1:0",
 *   upstreams: [`127.0.0.1:${upstream.addr.port}`],
 * });
 * const response = await fetch(`http://${proxy.addresses[0]}/`);
 * assertEquals(await response.text(), "hello");
 * ```
 */
export async function serve<State>(
  config: ProxyConfig<State>,
  options: ServeOptions = {},
): Promise<ProxyServer> {
  return await startProxy(alone(resolveConfig(config)), completeOptions(options));
}

/** Starts a proxy with a resolved configuration. */
export async function startProxy(config: ResolvedConfig, parts: ProxyParts): Promise<ProxyServer> {
  const server = new ProxyServer(config, parts);
  await server.start();
  return server;
}

// A running proxy with its listeners or workers, from start to shutdown.

/** A running proxy. */
export class ProxyServer extends RunningProxy {
  /** `null` without an admin listener. */
  readonly #admin: Administration | null;
  /** `null` if workers listen. */
  readonly #listeners: Listeners | null;
  readonly #workers: Workers | null;
  /** Keeps the process running: checks and listeners that wait may not. */
  #alive: Disposable | null = null;
  readonly #expiry: CertificateExpiry | null;

  /** @internal Use `serve`. */
  constructor(config: ResolvedConfig, parts: ProxyParts) {
    const { workers = null, shared = null } = parts;
    // With workers, the supervisor has the admin listener.
    const admin = config.admin === null || shared?.role === "worker"
      ? null
      : new Administration(config.admin, parts);
    const memory = workers === null ? null : new SupervisorMemory();
    super(config, { ...parts, observer: admin?.events ?? parts.observer, shared: memory ?? shared });
    this.#admin = admin;
    this.#listeners = workers === null ? new Listeners(this.parts, this.generations) : null;
    // With workers, the supervisor warns before certificates expire.
    this.#expiry = shared?.role === "worker" ? null : new CertificateExpiry(this.parts);
    this.generations.resources.certificates = this.#expiry;
    this.#workers = workers === null ? null : new Workers(workers, this.parts, memory!);
  }

  /** @internal Checks all servers once, then opens the listeners. */
  async start(): Promise<void> {
    this.#alive = keepAlive();
    try {
      await this.#admin?.open(this.#steered());
      await this.generations.start();
      const { config, plane } = this.generations;
      const opened = await this.open(config, plane, this.parts.source?.texts ?? {});
      await opened.commit();
    } catch (error) {
      await this.#cut();
      await this.parts.closeLog?.();
      throw error;
    }
  }

  /** @internal */
  protected override async open(
    config: ResolvedConfig,
    plane: DataPlane,
    texts: ModuleTexts,
  ): Promise<Opened> {
    // If the new configuration has no `admin`, the admin listener stays open.
    const { shared = null } = this.parts;
    if (config.admin !== null && shared?.role !== "worker" && this.#admin?.suits(config.admin) !== true) {
      const message = 'cannot change while the proxy runs, except for "readyz": restart the proxy';
      throw new ConfigError("configuration", [{ path: "admin", message }]);
    }
    const opened = await (this.#workers?.open(config, plane, texts) ?? this.#listeners!.open(config));
    if (shared !== null && shared.role === "worker") {
      await shared.confirm().catch((error) => {
        opened.cancel();
        throw error;
      });
    }
    const commit = async (): Promise<void> => {
      const before = this.addresses.join();
      await opened.commit();
      if (this.addresses.join() !== before) {
        this.parts.observer.event({ kind: "listening", addresses: this.addresses, pid: Deno.pid });
      }
      const { admin } = config;
      const tls = admin === null ? null : admin.tls;
      const ofAdmin = tls === null ? [] : [{
        ...admin!.listen,
        tls: { certificates: [{ path: "", names: null, ...tls }] },
      }];
      this.#expiry?.check([...config.listen, ...ofAdmin]);
      this.#callOnListen(config);
      if (shared?.role !== "worker" || plane.counted === null) return;
      plane.publish(() => this.running);
      shared.shareMetrics(plane.counted.registry);
    };
    return { ...opened, commit };
  }

  #callOnListen({ onListen }: ResolvedConfig): void {
    if (onListen === null) return;
    callAside(
      () => onListen(this.addresses, this.pools),
      (error) => reportCallbackError(this.parts.observer, "onListen", error),
    );
  }

  /** The addresses of its listeners, as `host:port` or `unix:/path`; port 0 is replaced by the actual port. */
  get addresses(): readonly string[] {
    return this.#workers?.addresses ?? this.#listeners!.addresses;
  }

  /** @internal The names of the keys that have used most of their limits, for the supervisor. */
  namedKeys(most: number): readonly NamedKey[] {
    return this.generations.plane.namedKeys(most);
  }

  /** Address of the admin listener, as `host:port` or `unix:/path`; `null` without one. */
  get adminAddress(): string | null {
    return this.#admin?.address ?? null;
  }

  #steered(): SteeredProxy {
    const isStopping = (): boolean => this.stopping;
    const addresses = (): readonly string[] => this.addresses;
    return {
      generations: this.generations,
      workers: this.#workers,
      reloads: (this.parts.source ?? null) !== null,
      get addresses() {
        return addresses();
      },
      get stopping() {
        return isStopping();
      },
    };
  }

  /** @internal */
  protected override async stop(reason: string): Promise<number> {
    const abandoned =
      await (this.#workers === null
        ? this.generations.drain(reason, () => this.#listeners!.stop())
        : this.#stopWorkers(this.#workers, reason));
    await this.#cut();
    return abandoned;
  }

  async #stopWorkers(workers: Workers, reason: string): Promise<number> {
    const { running: runningRequests, config: { shutdownDelayMs, gracePeriodMs } } = this.generations;
    const event = { kind: "shutdown", reason, runningRequests, gracePeriodMs } as const;
    this.parts.observer.event({ ...event, delayMs: shutdownDelayMs });
    await workers.stop(reason, shutdownDelayMs + gracePeriodMs);
    return workers.abandonedRequests;
  }

  /** @internal */
  protected override get runningElsewhere(): number {
    return this.#workers?.running ?? 0;
  }

  /** @internal */
  protected override get drainingElsewhere(): number {
    return this.#workers?.draining ?? 0;
  }

  /** Closes everything at once. */
  async #cut(): Promise<void> {
    this.#expiry?.[Symbol.dispose]();
    this.#listeners?.cut();
    await this.#workers?.cut();
    try {
      await this.#admin?.[Symbol.asyncDispose]();
      await this.generations[Symbol.asyncDispose]();
    } finally {
      this.#alive?.[Symbol.dispose]();
    }
  }
}
