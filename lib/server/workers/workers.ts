/** The workers of a proxy, which listen in place of the supervisor. */

import type { WorkerInfo } from "../../admin/admin_target.ts";
import { formatListen, type ResolvedListen } from "../../config/listen_options.ts";
import type { ModuleTexts } from "../../config/module_graph.ts";
import type { ResolvedConfig } from "../../config/proxy_config.ts";
import type { ProxyEvent } from "../../observe/events.ts";
import type { AccessEntry } from "../../observe/observer.ts";
import { listenError } from "../../engine/engine.ts";
import { MAX_PROCESSES } from "../../upstream/shared_servers.ts";
import type { Pool } from "../../upstream/pool.ts";
import type { DataPlane } from "../data_plane.ts";
import type { Opened } from "../generations.ts";
import type { PlacedPool, ProxyParts, WorkerChild, WorkersSetup } from "../serve_options.ts";
import type { StartMessage } from "./channel.ts";
import type { SupervisorMemory } from "./supervisor_memory.ts";
import { WorkerGroup } from "./worker_group.ts";
import { WorkerProcess } from "./worker_process.ts";

/** How many key names a worker sends at once, how long that may take, and how old the names may be. */
const MAX_KEY_NAMES = 256;
const KEYS_DEADLINE_MS = 250;
const KEYS_AGE_MS = 200;

/** Starts workers and reloads them, in place of `Listeners`. */
export class Workers {
  readonly #setup: WorkersSetup;
  readonly #parts: ProxyParts;
  readonly #memory: SupervisorMemory;
  /** Free process numbers; the one that was released first is used first. */
  readonly #numbers: number[] = Array.from({ length: MAX_PROCESSES - 1 }, (_, index) => index + 1);
  #group: WorkerGroup | null = null;
  /** The texts of the modules of the configuration that workers serve. */
  #texts: ModuleTexts = {};
  #keysRequestedAt = -Infinity;
  #keysRequest: Promise<void> = Promise.resolve();
  #plane: DataPlane | null = null;
  /** Pools whose changes are sent to workers. */
  #observed: readonly Pool[] = [];
  #listen: readonly ResolvedListen[] = [];
  readonly #certificates: CertificateEvents;

  constructor(setup: WorkersSetup, parts: ProxyParts, memory: SupervisorMemory) {
    this.#setup = setup;
    this.#parts = parts;
    this.#memory = memory;
    this.#certificates = new CertificateEvents((event) => parts.observer.event(event));
  }

  /** The addresses of the listeners, as `host:port`. */
  get addresses(): readonly string[] {
    const ports = this.#group?.ports ?? [];
    return this.#listen.map((place, index) => formatListen({ ...place, port: ports[index] ?? place.port }));
  }

  /** Number of workers that listen. */
  get listening(): number {
    return this.#group?.listening ?? 0;
  }

  /** How often workers were replaced. */
  get restarts(): number {
    return this.#group?.restarts ?? 0;
  }

  /** The state of each worker. */
  get all(): readonly WorkerInfo[] {
    const { servers, metrics } = this.#memory;
    return (this.#group?.seats ?? []).map(({ number, process, ...seat }) => ({
      ...seat,
      id: number,
      inFlight: servers.runningOf(process),
      counted: metrics.countedBy(process),
    }));
  }

  /** Requests the names of the busiest keys from workers, and waits for them until the deadline. */
  askKeys(): Promise<void> {
    const now = this.#parts.clock.now();
    if (this.#group !== null && now - this.#keysRequestedAt >= KEYS_AGE_MS) {
      this.#keysRequestedAt = now;
      this.#keysRequest = this.#group.askKeys(MAX_KEY_NAMES, KEYS_DEADLINE_MS);
    }
    return this.#keysRequest;
  }

  /** Number of requests that were cut off when workers stopped. */
  get abandonedRequests(): number {
    return this.#group?.abandonedRequests ?? 0;
  }

  /** Number of running requests of all workers. */
  get running(): number {
    const processes = this.#group?.processes ?? [];
    return processes.reduce((sum, process) => sum + this.#memory.servers.runningOf(process), 0);
  }

  /** Number of former configurations that still serve their last requests in a worker. */
  get draining(): number {
    const processes = this.#group?.processes ?? [];
    return Math.max(0, ...processes.map((process) => this.#memory.servers.drainingOf(process)));
  }

  /**
   * Starts workers that serve a configuration.
   *
   * @throws the error of the first worker that failed
   */
  async open(config: ResolvedConfig, plane: DataPlane, texts: ModuleTexts): Promise<Opened> {
    if (this.#group !== null) return await this.#reopen(this.#group, config, plane, texts);
    this.#plane = plane;
    this.#texts = texts;
    const ports = config.listen.map(freePort);
    const { clock, observer } = this.#parts;
    const { servers } = this.#memory;
    const group = new WorkerGroup({
      count: config.workers,
      clock,
      observer,
      start: (listenAt, seat) => this.#start(listenAt, seat),
      release: (process) => this.#release(process),
      beatsOf: (process) => servers.beatsOf(process),
      runningOf: (process) => servers.runningOf(process),
    }, ports);
    await group.open();
    this.#group = group;
    this.#observe(plane);
    const commit = (): Promise<void> => {
      this.#listen = config.listen;
      this.#addWorkerMetrics(plane);
      return Promise.resolve();
    };
    return { commit, cancel: () => void group.cut() };
  }

  /** Requests the existing workers to load another configuration; connections stay open. */
  async #reopen(
    group: WorkerGroup,
    config: ResolvedConfig,
    plane: DataPlane,
    texts: ModuleTexts,
  ): Promise<Opened> {
    const ports = this.#portsOf(config.listen);
    const places = this.#placesOf(plane);
    const use = await group.prepare({
      kind: "prepare",
      id: ++this.#memory.reloads,
      texts,
      ...places,
      ports,
    });
    const commit = (): Promise<void> => {
      this.#plane = plane;
      this.#texts = texts;
      this.#listen = config.listen;
      this.#observe(plane);
      this.#addWorkerMetrics(plane);
      const used = use();
      // Sends members that were discovered while workers loaded the configuration.
      for (const [name, pool] of plane.pools) {
        if (JSON.stringify(pool.placed) !== JSON.stringify(places.pools[name]!.servers)) pool.onMembers?.();
      }
      group.resize(config.workers, config.shutdownDelayMs + config.gracePeriodMs);
      return used;
    };
    return { commit, cancel: () => group.cancel("it is not used") };
  }

  /** The ports to listen at. An address with port 0 that was configured before keeps its actual port. */
  #portsOf(listen: readonly ResolvedListen[]): readonly number[] {
    const before = this.#listen.map((place, index) => ({ ...place, bound: this.#group!.ports[index]! }));
    return listen.map((place) => {
      const at = before.findIndex(({ hostname, port }) =>
        place.port === 0 && port === 0 && hostname === place.hostname
      );
      return at < 0 ? freePort(place) : before.splice(at, 1)[0]!.bound;
    });
  }

  /** Adds the metrics of workers to those of the proxy. */
  #addWorkerMetrics({ counted }: DataPlane): void {
    if (counted === null) return;
    counted.others = () => this.#memory.metrics.shares;
    counted.workers = () => this;
  }

  /** Sends every change of the members of pools to workers. */
  #observe(plane: DataPlane): void {
    for (const pool of this.#observed) pool.onMembers = null;
    this.#observed = [...plane.pools.values()];
    for (const [name, pool] of plane.pools) {
      pool.onMembers = () => this.#group?.send({ kind: "servers", pool: name, servers: pool.placed });
    }
  }

  #start(ports: readonly number[], seat: number): WorkerProcess {
    const { command, options, accessLines, strayLine } = this.#setup;
    const { observer } = this.#parts;
    const message = this.#startMessage(ports, seat, options);
    let child: WorkerChild;
    try {
      child = command().spawn();
    } catch (error) {
      this.#numbers.unshift(message.process);
      throw error;
    }
    return new WorkerProcess(child, message, {
      series: (series) => this.#memory.metrics.set(message.process, series),
      keys: (keys) => this.#plane!.adoptKeys(keys),
      changed: () => this.#memory.servers.notify(),
      event: (event) => {
        if (event.kind !== "certificate") return observer.event(event);
        this.#certificates.take(message.process, event, this.#group?.serving ?? []);
      },
      access: (entry: AccessEntry) => observer.access(entry),
      accessLines: (text) => {
        if (this.#plane!.accessLines(text) === false) accessLines?.(text);
      },
      stray: strayLine,
    });
  }

  /** The places of a configuration's state in shared memory. */
  #placesOf(plane: DataPlane): Pick<StartMessage, "servers" | "table" | "pools" | "budgets"> {
    const { pools, table, budgets } = plane.placed;
    const placed: Record<string, PlacedPool> = {};
    for (const [name, pool] of pools) placed[name] = pool.placed;
    return {
      servers: this.#memory.inheritedServers,
      table: table === null ? null : this.#memory.inheritedTable(table),
      pools: placed,
      budgets,
    };
  }

  #startMessage(ports: readonly number[], seat: number, options: unknown): StartMessage {
    const process = this.#numbers.shift();
    if (process === undefined) throw new RangeError("Too many workers have not ended yet");
    const { observer } = this.#parts;
    return {
      kind: "start",
      token: crypto.randomUUID(),
      process,
      reload: this.#memory.reloads,
      texts: this.#texts,
      instanceId: this.#memory.instanceId,
      overloadSlot: this.#memory.overload.slot,
      ...this.#placesOf(this.#plane!),
      metrics: this.#memory.inheritedMetrics,
      ledgers: this.#memory.inheritedLedgers,
      ports,
      servesSockets: seat === 1,
      accessLines: this.#setup.accessLines !== undefined,
      accessEntries: observer.wantsAccess,
      options,
    };
  }

  #release(process: number): void {
    this.#certificates.forget(process, this.#group?.serving ?? []);
    this.#memory.servers.release(process);
    // It may have ended before it could report its last changes.
    this.#memory.servers.notify();
    this.#plane?.giveBackPermits(this.#memory.ledgerOf(process));
    this.#memory.metrics.retire(process, this.#plane?.counted?.registry ?? null);
    this.#numbers.push(process);
  }

  /** Requests all workers to finish their requests and exit, within `graceMs` milliseconds. */
  async stop(reason: string, graceMs: number): Promise<void> {
    await this.#group?.stop(reason, graceMs);
  }

  /** Kills all workers. */
  async cut(): Promise<void> {
    await this.#group?.cut();
  }
}

/** Reports once what every worker detects: that a certificate has changed, or cannot be used. */
class CertificateEvents {
  readonly #report: (event: ProxyEvent<"certificate">) => void;
  /** The last event per address and names, and the processes that have reported it. */
  readonly #lastEvents = new Map<
    string,
    { readonly event: ProxyEvent<"certificate">; readonly by: Set<number> }
  >();

  constructor(report: (event: ProxyEvent<"certificate">) => void) {
    this.#report = report;
  }

  /**
   * Takes an event of a worker.
   *
   * @param serving processes that serve: a new certificate is reported when all of them use it; a problem at once
   */
  take(process: number, event: ProxyEvent<"certificate">, serving: readonly number[]): void {
    const place = JSON.stringify([event.address, event.names]);
    let last = this.#lastEvents.get(place);
    const isNew = last === undefined || last.event.problem !== event.problem || last.by.has(process);
    if (isNew) this.#lastEvents.set(place, last = { event, by: new Set() });
    last!.by.add(process);
    if (event.problem !== null) {
      if (isNew) this.#report(event);
    } else this.#reportWhenComplete(place, serving);
  }

  /** Removes a worker that has ended: reports do not wait for it, and its number may be reused. */
  forget(process: number, serving: readonly number[]): void {
    for (const [place, { event: { problem }, by }] of this.#lastEvents) {
      by.delete(process);
      if (problem === null) this.#reportWhenComplete(place, serving.filter((each) => each !== process));
    }
  }

  #reportWhenComplete(place: string, serving: readonly number[]): void {
    const { event, by } = this.#lastEvents.get(place)!;
    if (by.size === 0 || !serving.every((each) => by.has(each))) return;
    this.#lastEvents.delete(place);
    this.#report(event);
  }
}

/** The port of a listener. For port 0, finds a free one, because all workers must listen at the same port. */
function freePort(place: ResolvedListen): number {
  const { hostname, port, unix } = place;
  if (unix !== undefined || port !== 0) return port;
  try {
    using listener = Deno.listen({ hostname, port });
    return listener.addr.port;
  } catch (error) {
    throw listenError(formatListen(place), error);
  }
}
