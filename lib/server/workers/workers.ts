/** The workers of a proxy in place of listeners of its own. */

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
import type { PlacedPool, ProxyParts, WorkersSetup } from "../serve_options.ts";
import type { StartMessage } from "./channel.ts";
import type { SupervisorMemory } from "./supervisor_memory.ts";
import { WorkerGroup } from "./worker_group.ts";
import { WorkerProcess } from "./worker_process.ts";

/** How many names of keys a worker tells at once, how long it may take, and how old they may be. */
const MOST_KEYS = 256;
const KEYS_DEADLINE_MS = 250;
const KEYS_AGE_MS = 200;

/** Starts workers, and does for a configuration what listeners do. */
export class Workers {
  readonly #setup: WorkersSetup;
  readonly #parts: ProxyParts;
  readonly #memory: SupervisorMemory;
  /** Numbers of processes that are free, those that were so first first. */
  readonly #numbers: number[] = Array.from({ length: MAX_PROCESSES - 1 }, (_, index) => index + 1);
  #group: WorkerGroup | null = null;
  /** The modules of the configuration that workers serve. */
  #texts: ModuleTexts = {};
  #askedAt = -Infinity;
  #asked: Promise<void> = Promise.resolve();
  #plane: DataPlane | null = null;
  /** Pools whose changes workers are told of. */
  #followed: readonly Pool[] = [];
  #listen: readonly ResolvedListen[] = [];
  readonly #certificates: CertificateNews;

  constructor(setup: WorkersSetup, parts: ProxyParts, memory: SupervisorMemory) {
    this.#setup = setup;
    this.#parts = parts;
    this.#memory = memory;
    this.#certificates = new CertificateNews((event) => parts.observer.event(event));
  }

  /** Where clients reach them, as `host:port`. */
  get addresses(): readonly string[] {
    const ports = this.#group?.ports ?? [];
    return this.#listen.map((place, index) => formatListen({ ...place, port: ports[index] ?? place.port }));
  }

  /** How many listen. */
  get listening(): number {
    return this.#group?.listening ?? 0;
  }

  /** How many were replaced. */
  get restarts(): number {
    return this.#group?.restarts ?? 0;
  }

  /** What is known of each. */
  get all(): readonly WorkerInfo[] {
    const { servers, metrics } = this.#memory;
    return (this.#group?.seats ?? []).map(({ number, process, ...seat }) => ({
      ...seat,
      id: number,
      inFlight: servers.runningOf(process),
      counted: metrics.countedBy(process),
    }));
  }

  /** Has workers tell the names of keys that have used much of their limits, for as long as that may take. */
  askKeys(): Promise<void> {
    const now = this.#parts.clock.now();
    if (this.#group !== null && now - this.#askedAt >= KEYS_AGE_MS) {
      this.#askedAt = now;
      this.#asked = this.#group.askKeys(MOST_KEYS, KEYS_DEADLINE_MS);
    }
    return this.#asked;
  }

  /** How many requests were cut when they stopped. */
  get abandonedRequests(): number {
    return this.#group?.abandonedRequests ?? 0;
  }

  /** How many requests of all workers are not over. */
  get running(): number {
    const processes = this.#group?.processes ?? [];
    return processes.reduce((sum, process) => sum + this.#memory.servers.runningOf(process), 0);
  }

  /**
   * Starts workers that serve a configuration.
   *
   * @throws what the first one failed with
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
    }, ports);
    await group.open();
    this.#group = group;
    this.#follow(plane);
    const commit = (): Promise<void> => {
      this.#listen = config.listen;
      this.#addUp(plane);
      return Promise.resolve();
    };
    return { commit, cancel: () => void group.cut() };
  }

  /** Has the workers that there are load another configuration: connections stay open. */
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
      this.#follow(plane);
      this.#addUp(plane);
      const used = use();
      // What has been found while workers loaded the configuration.
      for (const [name, pool] of plane.pools) {
        if (JSON.stringify(pool.placed) !== JSON.stringify(places.pools[name]!.servers)) pool.onMembers?.();
      }
      group.resize(config.workers);
      return used;
    };
    return { commit, cancel: () => group.cancel("it is not used") };
  }

  /** Places that stay keep their ports, those that any port would do for too. */
  #portsOf(listen: readonly ResolvedListen[]): readonly number[] {
    const before = this.#listen.map((place, index) => ({ ...place, bound: this.#group!.ports[index]! }));
    return listen.map((place) => {
      const at = before.findIndex(({ hostname, port }) =>
        place.port === 0 && port === 0 && hostname === place.hostname
      );
      return at < 0 ? freePort(place) : before.splice(at, 1)[0]!.bound;
    });
  }

  /** Has the metrics of workers be part of the metrics. */
  #addUp({ counted }: DataPlane): void {
    if (counted === null) return;
    counted.others = () => this.#memory.metrics.shares;
    counted.workers = () => this;
  }

  /** Tells workers of every change of the members of pools. */
  #follow(plane: DataPlane): void {
    for (const pool of this.#followed) pool.onMembers = null;
    this.#followed = [...plane.pools.values()];
    for (const [name, pool] of plane.pools) {
      pool.onMembers = () => this.#group?.send({ kind: "servers", pool: name, servers: pool.placed });
    }
  }

  #start(ports: readonly number[], seat: number): WorkerProcess {
    const { command, options, accessLines, strayLine } = this.#setup;
    const { observer } = this.#parts;
    const message = this.#startMessage(ports, seat, options);
    return new WorkerProcess(command(), message, {
      series: (series) => this.#memory.metrics.set(message.process, series),
      keys: (keys) => this.#plane!.adoptKeys(keys),
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

  /** Where the state of a configuration is. */
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
    this.#plane?.giveBackPermits(this.#memory.ledgerOf(process));
    this.#memory.metrics.retire(process, this.#plane?.counted?.registry ?? null);
    this.#numbers.push(process);
  }

  /** Has all finish their requests and end; `graceMs` is how long that may take. */
  async stop(reason: string, graceMs: number): Promise<void> {
    await this.#group?.stop(reason, graceMs);
  }

  /** Ends all at once. */
  async cut(): Promise<void> {
    await this.#group?.cut();
  }
}

/** Tells once what every worker finds by itself: that a certificate has changed, or cannot be used. */
class CertificateNews {
  readonly #tell: (event: ProxyEvent<"certificate">) => void;
  /** What was said last of the certificates of a place, and which processes have said it. */
  readonly #said = new Map<string, { readonly event: ProxyEvent<"certificate">; readonly by: Set<number> }>();

  constructor(tell: (event: ProxyEvent<"certificate">) => void) {
    this.#tell = tell;
  }

  /**
   * A worker says it.
   *
   * @param serving the processes: a new certificate is told of when all of them use it, a problem at once
   */
  take(process: number, event: ProxyEvent<"certificate">, serving: readonly number[]): void {
    const place = JSON.stringify([event.address, event.names]);
    let said = this.#said.get(place);
    const isNews = said === undefined || said.event.problem !== event.problem || said.by.has(process);
    if (isNews) this.#said.set(place, said = { event, by: new Set() });
    said!.by.add(process);
    if (event.problem !== null) {
      if (isNews) this.#tell(event);
    } else this.#tellWhenComplete(place, serving);
  }

  /** A worker has ended: nobody waits for it, and the next one by its number has said nothing. */
  forget(process: number, serving: readonly number[]): void {
    for (const [place, { event: { problem }, by }] of this.#said) {
      by.delete(process);
      if (problem === null) this.#tellWhenComplete(place, serving.filter((each) => each !== process));
    }
  }

  #tellWhenComplete(place: string, serving: readonly number[]): void {
    const { event, by } = this.#said.get(place)!;
    if (by.size === 0 || !serving.every((each) => by.has(each))) return;
    this.#said.delete(place);
    this.#tell(event);
  }
}

/** The port of a place; one that is free where any will do, since all workers have to listen at the same. */
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
