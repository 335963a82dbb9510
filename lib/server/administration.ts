/** The admin listener of a running proxy. */

import type { AdminServer } from "../admin/admin_server.ts";
import type { AdminTarget } from "../admin/admin_target.ts";
import type { ResolvedAdmin } from "../config/admin_options.ts";
import { VERSION } from "../core/version.ts";
import { EventLog } from "../observe/event_message.ts";
import type { Generations } from "./generations.ts";
import { removeStaleSocket } from "./listeners.ts";
import type { ProxyParts } from "./serve_options.ts";
import type { Workers } from "./workers/workers.ts";

/** The parts of a proxy that the admin listener shows and controls. */
export interface SteeredProxy {
  readonly generations: Generations;
  /** Whether the configuration was loaded from a file, so that it can be reloaded. */
  readonly reloads: boolean;
  readonly addresses: readonly string[];
  /** Whether the proxy is stopping. */
  readonly stopping: boolean;
  /** The workers; `null` if this process serves requests itself. */
  readonly workers: Pick<Workers, "all" | "askKeys"> | null;
}

/** The admin listener of a proxy. Its code is loaded only when it is opened. */
export class Administration implements AsyncDisposable {
  /** Keeps recent events for the admin API, and passes all events to the proxy's observer. */
  readonly events: EventLog;
  readonly #admin: ResolvedAdmin;
  readonly #parts: ProxyParts;
  #server: AdminServer | null = null;

  constructor(admin: ResolvedAdmin, parts: ProxyParts) {
    this.#admin = admin;
    this.#parts = parts;
    this.events = new EventLog(parts.observer, parts.clock);
  }

  /** Address of the listener; `null` while it is not open. */
  get address(): string | null {
    return this.#server?.address ?? null;
  }

  /**
   * Opens the listener.
   *
   * @throws {ConfigError} when a token or the certificate cannot be read
   * @throws {ListenError} when it cannot listen at the address
   */
  async open(proxy: SteeredProxy): Promise<void> {
    const { AdminServer } = await import("../admin/admin_server.ts");
    const { unix } = this.#admin.listen;
    if (unix !== undefined) await removeStaleSocket(unix);
    const server = this.#server = new AdminServer(this.#admin, this.#target(proxy));
    this.events.event({ kind: "admin_listening", address: server.address, tls: this.#admin.tls !== null });
  }

  /** Whether the open listener also fits these options: only `readyz` may differ. */
  suits({ listen, tokens, read, hosts, tls }: ResolvedAdmin): boolean {
    const own = this.#admin;
    return JSON.stringify([listen, [...tokens], read, hosts, tls]) ===
      JSON.stringify([own.listen, [...own.tokens], own.read, own.hosts, own.tls]);
  }

  #target(proxy: SteeredProxy): AdminTarget {
    const { clock, logControl = null } = this.#parts;
    const { events } = this;
    const startedAt = clock.wallTime();
    const { generations } = proxy;
    return {
      clock,
      version: VERSION,
      startedAt,
      events,
      get addresses() {
        return proxy.addresses;
      },
      get stopping() {
        return proxy.stopping;
      },
      get configuration() {
        return generations.info;
      },
      source: this.#parts.source?.name ?? null,
      get config() {
        return generations.config;
      },
      get runtime() {
        return generations.runtime;
      },
      get pools() {
        return [...generations.runtime.pools.values()];
      },
      get limits() {
        return generations.limits;
      },
      get arrived() {
        return generations.runtime.count.arrived;
      },
      get running() {
        return generations.running;
      },
      get traffic() {
        return generations.counted;
      },
      get workers() {
        return proxy.workers?.all ?? null;
      },
      askKeys: async () => await proxy.workers?.askKeys(),
      metrics: (format) => generations.metrics(format),
      reload: !proxy.reloads ? null : async () => {
        const { applied, problems } = await generations.reload(undefined, "admin");
        if (!applied) throw new Error(problems.join("; "));
      },
      get logLevel() {
        return logControl?.level ?? null;
      },
      setLogLevel: (level) => {
        if (logControl !== null) logControl.level = level;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}
