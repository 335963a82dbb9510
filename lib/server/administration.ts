/** Gives a running proxy an admin listener. */

import { createHash } from "node:crypto";
import type { AdminServer } from "../admin/admin_server.ts";
import type { AdminTarget, ConfigurationInfo } from "../admin/admin_target.ts";
import type { ResolvedAdmin } from "../config/admin_options.ts";
import { describeConfig } from "../config/describe_config.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { VERSION } from "../core/version.ts";
import { EventLog } from "../observe/event_log.ts";
import type { DataPlane } from "./data_plane.ts";
import type { ProxyParts } from "./serve_options.ts";

/** What is watched and steered of a proxy. */
export interface SteeredProxy {
  readonly config: ResolvedConfig;
  readonly addresses: readonly string[];
  /** Whether it was told to stop. */
  readonly stopping: boolean;
  /** What serves new requests. */
  readonly plane: DataPlane;
}

/** The admin listener of a proxy; its code is loaded when it is opened. */
export class Administration implements AsyncDisposable {
  /** Receives what happens, and passes it on. */
  readonly events: EventLog;
  readonly #admin: ResolvedAdmin;
  readonly #parts: ProxyParts;
  #server: AdminServer | null = null;

  constructor(admin: ResolvedAdmin, parts: ProxyParts) {
    this.#admin = admin;
    this.#parts = parts;
    this.events = new EventLog(parts.observer, parts.clock);
  }

  /** Where it is reached; `null` while it is not open. */
  get address(): string | null {
    return this.#server?.address ?? null;
  }

  /**
   * Opens the listener.
   *
   * @throws {ConfigError} when a token cannot be read
   * @throws {ListenError} when the address cannot be listened at
   */
  async open(proxy: SteeredProxy): Promise<void> {
    const { AdminServer } = await import("../admin/admin_server.ts");
    const server = this.#server = new AdminServer(this.#admin, this.#target(proxy));
    this.events.event({ kind: "admin_listening", address: server.address });
  }

  #target(proxy: SteeredProxy): AdminTarget {
    const { clock } = this.#parts;
    const { events } = this;
    const startedAt = clock.wallTime();
    const configuration: ConfigurationInfo = {
      generation: 1,
      loadedAt: startedAt,
      hash: createHash("sha256").update(describeConfig(proxy.config)).digest("hex"),
    };
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
      configuration,
      source: null,
      config: proxy.config,
      get pools() {
        return [...proxy.plane.runtime.pools.values()];
      },
      get limits() {
        return proxy.plane.limits;
      },
      get arrived() {
        return proxy.plane.runtime.count.arrived;
      },
      get running() {
        return proxy.plane.runtime.running.size;
      },
      metrics: () => proxy.plane.metrics(),
      reload: null,
      logLevel: null,
      setLogLevel: () => {},
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}
