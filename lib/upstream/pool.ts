/** Pools of servers, which may change at run time. */

import { callAside, tellStrayError } from "../core/callback.ts";
import { PoolState, Server } from "./server.ts";
import type { SharedCells, SharedServers } from "./shared_servers.ts";
import {
  checkServerInit,
  resolvePlainServer,
  type ResolveServer,
  type ServerInit,
  type ServerSpec,
} from "./peer.ts";

/**
 * Receives changes of the members of a pool. The pool does not wait for it. Its errors are written to `stderr` and have no
 * other effect.
 */
interface PoolListener {
  /** Called when a server is added, before any request may choose it. */
  onAdded?(server: Server): void;
  /** Called when a server is removed: it gets no new requests, and finishes running ones. */
  onLeaving?(server: Server): void;
  /** Called when a removed server has finished its last request: close the connections to its peer. */
  onRemoved?(server: Server): void;
}

/** Options of {@linkcode Pool}. */
interface PoolInit {
  /** Name of the pool, for logs and filters. */
  name: string;
  /** The first members. */
  servers: readonly (string | ServerSpec | ServerInit)[];
  /** Completes servers that are added as an address or a specification. @default {plain text servers} */
  resolve?: ResolveServer;
  /**
   * The former pool that this one replaces. Servers in both are the same objects, and become members of this pool when
   * {@linkcode Pool.takeOver} is called.
   *
   * @internal
   */
  before?: Pool | null;
  /** @internal Shared memory with the state of servers; `null` if there is only one process. */
  shared?: SharedServers | null;
  /** @internal The slot of the pool in shared memory, if the supervisor has allocated one. */
  slot?: number | undefined;
}

/** The changes by {@linkcode Pool.replaceServers}. */
export interface PoolChange {
  readonly added: readonly Server[];
  readonly removed: readonly Server[];
  readonly kept: readonly Server[];
}

/** A group of servers under one name. */
export class Pool implements Disposable {
  /** Name of the pool. */
  readonly name: string;
  readonly #resolve: ResolveServer;
  /** @internal The state that its servers share. */
  readonly state: PoolState;
  readonly #byId = new Map<string, Server>();
  readonly #leaving = new Map<Server, () => void>();
  readonly #listeners = new Set<PoolListener>();
  #servers: readonly Server[] = [];
  #before: Pool | null;
  /** Servers of the former pool until `takeOver`, with their configuration in this pool. */
  readonly #adopted = new Map<Server, ServerInit>();

  /**
   * Makes a pool with its first members.
   *
   * @throws {TypeError} when a server is invalid or appears twice
   */
  constructor(init: PoolInit) {
    const { name, servers, resolve = resolvePlainServer, before = null, shared = null, slot } = init;
    this.name = name;
    this.#before = before;
    this.state = new PoolState(shared, slot ?? before?.slot);
    this.#resolve = resolve;
    this.state.onIdle = (server) => this.#removed(server);
    try {
      for (const server of servers) this.#insert(this.#complete(server));
    } catch (error) {
      // The caller gets no pool to dispose, so free its slots here.
      if (shared !== null && shared.process === 0) this.#giveBack(shared, before === null);
      throw error;
    }
    this.#membersChanged();
  }

  #giveBack(shared: SharedServers, withOwn: boolean): void {
    for (const server of this.#byId.values()) {
      if (!this.#adopted.has(server)) shared.free(server.cells!.slot);
    }
    if (withOwn) shared.free(this.slot!);
  }

  /** The members, in the order of addition; a new array after each change. */
  get servers(): readonly Server[] {
    return this.#servers;
  }

  /** Removed servers that still have running requests. */
  get leaving(): readonly Server[] {
    return [...this.#leaving.keys()];
  }

  /** Grows with every change that may affect the choice of a server. */
  get version(): number {
    return this.state.version;
  }

  /** Grows when servers are added or removed, or change their weight or rank. */
  get membership(): number {
    return this.state.membership;
  }

  /** Requests in flight at all its servers. */
  get inFlight(): number {
    return this.state.inFlight;
  }

  /** Called when a server may have room for a request; set by the queue of the pool. */
  set onRoom(callback: (() => void) | null) {
    this.state.onRoom = callback;
  }

  /** Called when a server has one request more or less in flight; set for algorithms that need it. */
  set onLoad(callback: ((server: Server) => void) | null) {
    this.state.onLoad = callback;
  }

  /** @internal Called when members or their configuration have changed. */
  get onMembers(): (() => void) | null {
    return this.state.onMembers;
  }

  set onMembers(callback: (() => void) | null) {
    this.state.onMembers = callback;
  }

  /** @internal Most requests in flight of all processes together. */
  set maxInFlight(most: number) {
    this.state.maxInFlight = most;
  }

  /** @internal Shared memory with the state of its servers; `null` if there is only one process. */
  get shared(): SharedServers | null {
    return this.state.shared;
  }

  /** @internal Its state in shared memory; `null` if there is only one process. */
  get cells(): SharedCells | null {
    return this.state.cells;
  }

  /** @internal Its slot in shared memory. */
  get slot(): number | undefined {
    return this.state.cells?.slot;
  }

  /** @internal Its servers with their slots, for workers. */
  get placed(): readonly (ServerInit & { readonly slot: number })[] {
    return this.#servers.map((server) => {
      const { id, peer, weight, backup, tags, maxInFlight } = server;
      const configured = this.#adopted.get(server);
      const now = configured === undefined
        ? { weight, backup, tags, maxInFlight }
        : { ...DEFAULTS, ...configured };
      return { ...now, id, peer, slot: server.cells!.slot };
    });
  }

  /** The member with this address. */
  server(id: string): Server | undefined {
    return this.#byId.get(id);
  }

  /** @internal Whether a member still belongs to the former pool, because `takeOver` was not called yet. */
  adopts(server: Server): boolean {
    return this.#adopted.has(server);
  }

  /** @internal Whether the server is a member. */
  has(server: Server): boolean {
    return this.#byId.get(server.id) === server;
  }

  /**
   * Applies this pool's configuration to servers of the former pool. Their requests in flight, health and counters are kept.
   * The former pool finishes its running requests.
   *
   * @returns the servers that are in both pools
   * @internal
   */
  takeOver(): readonly Server[] {
    const before = this.#before;
    this.#before = null;
    const adopted: Server[] = [];
    for (const [server, init] of this.#adopted) {
      // The former pool has removed this server since, so make a new one.
      if (before?.has(server) !== true) {
        this.#byId.set(init.id, new Server(init, this.state));
        continue;
      }
      server.join(this.state);
      server.configure({ ...DEFAULTS, ...init });
      adopted.push(server);
    }
    this.#adopted.clear();
    this.#membersChanged();
    return adopted;
  }

  /** @internal Calls the listener with changes of the members, until the result is disposed. */
  subscribe(listener: PoolListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /**
   * Adds a server. With active checks, it gets requests only after the first check has passed.
   *
   * @throws {TypeError} when the address is invalid or is a member already
   */
  addServer(spec: string | ServerSpec): Server {
    const server = this.#insert(this.#complete(spec));
    this.#announce([server]);
    return server;
  }

  /**
   * Removes a server: it gets no new requests, and finishes running ones.
   *
   * @returns a promise that resolves when the last request has finished
   */
  removeServer(server: Server | string): Promise<void> {
    const member = this.#member(server);
    this.#byId.delete(member.id);
    this.#membersChanged();
    return this.#leave(member);
  }

  /** Changes the weight of a server; its health and its counters are kept. */
  setWeight(server: Server | string, weight: number): void {
    this.#member(server).configure({ weight });
  }

  /** Disables a server, so that it gets no requests, or enables it again. */
  setEnabled(server: Server | string, enabled: boolean): void {
    this.#member(server).setEnabled(enabled);
  }

  /** Begins or ends draining: a draining server finishes its requests and gets no new ones. */
  setDraining(server: Server | string, draining: boolean): void {
    this.#member(server).setDraining(draining);
  }

  /**
   * Replaces the servers. Those that are kept keep their identity, health and counters, also with a new weight.
   *
   * @returns the added servers, the removed ones (which finish their running requests), and the kept ones
   */
  replaceServers(
    specs: readonly (string | ServerSpec)[],
  ): {
    readonly added: readonly Server[];
    readonly removed: readonly Server[];
    readonly kept: readonly Server[];
  };
  /** @internal The same for completed servers. */
  replaceServers(specs: readonly (string | ServerSpec | ServerInit)[]): PoolChange;
  replaceServers(specs: readonly (string | ServerSpec | ServerInit)[]): PoolChange {
    // Find every problem before changing anything.
    const wanted = this.#distinct(specs.map((spec) => this.#complete(spec)));
    for (const init of wanted) checkServerInit(init);
    const before = new Map(this.#byId);
    const added: Server[] = [];
    const kept: Server[] = [];
    this.#byId.clear();
    for (const init of wanted) {
      const known = before.get(init.id);
      if (known !== undefined && samePeer(known.peer, init.peer) && sameSlot(known, init)) {
        before.delete(init.id);
        if (this.#adopted.has(known)) this.#adopted.set(known, init);
        else known.configure({ ...DEFAULTS, ...init });
        this.#byId.set(init.id, known);
        kept.push(known);
      } else added.push(this.#insert(init));
    }
    this.#announce(added);
    const removed = [...before.values()];
    for (const server of removed) this.#leave(server);
    return { added, removed, kept };
  }

  #complete(spec: string | ServerSpec | ServerInit): ServerInit {
    return typeof spec === "object" && "peer" in spec ? spec : this.#resolve(spec);
  }

  #distinct(inits: readonly ServerInit[]): readonly ServerInit[] {
    const ids = new Set<string>();
    for (const { id } of inits) {
      if (ids.has(id)) {
        throw new TypeError(`Cannot replace servers of pool "${this.name}": "${id}" is there twice`);
      }
      ids.add(id);
    }
    return inits;
  }

  #insert(init: ServerInit): Server {
    if (this.#byId.has(init.id)) {
      throw new TypeError(`Cannot add server to pool "${this.name}": "${init.id}" is a member already`);
    }
    const server = this.#adopt(init) ?? new Server(init, this.state);
    this.#byId.set(server.id, server);
    return server;
  }

  #adopt(init: ServerInit): Server | null {
    const known = this.#before?.server(init.id);
    if (known === undefined || !samePeer(known.peer, init.peer) || !sameSlot(known, init)) return null;
    checkServerInit(init);
    this.#adopted.set(known, init);
    return known;
  }

  #member(server: Server | string): Server {
    const member = typeof server === "string" ? this.#byId.get(server) : server;
    if (member !== undefined && this.#byId.get(member.id) === member) return member;
    const id = typeof server === "string" ? server : server.id;
    throw new TypeError(`Cannot change server of pool "${this.name}": "${id}" is no member`);
  }

  /** Calls the listeners before the servers can be chosen: they must set the health of new servers first. */
  #announce(servers: readonly Server[]): void {
    for (const server of servers) if (!this.#adopted.has(server)) this.#call("onAdded", server);
    this.#membersChanged();
  }

  #call(what: keyof PoolListener, server: Server): void {
    for (const listener of this.#listeners) {
      callAside(
        () => listener[what]?.(server),
        (error) => tellStrayError(`${what} of pool "${this.name}"`, error),
      );
    }
  }

  #membersChanged(): void {
    this.#servers = Object.freeze([...this.#byId.values()]);
    this.state.membersChanged();
  }

  #leave(server: Server): Promise<void> {
    // The server belongs to the former pool, or to a later one.
    if (this.#adopted.delete(server) || !server.isIn(this.state)) {
      server.part(this.state);
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#leaving.set(server, resolve);
    server.leave();
    this.#call("onLeaving", server);
    if (this.#isIdle(server)) this.#removed(server);
    return promise;
  }

  /** Whether a removed server has no requests: in a worker, no own requests; in the supervisor, none of any process. */
  #isIdle({ cells, inFlight }: Server): boolean {
    if (cells === null || this.state.shared!.process === 0) return inFlight === 0;
    return cells.ownInFlight === 0;
  }

  /** @internal Releases removed servers whose last request, in another process, has ended. */
  sweep(): void {
    for (const server of this.#leaving.keys()) if (this.#isIdle(server)) this.#removed(server);
  }

  #removed(server: Server): void {
    const resolve = this.#leaving.get(server);
    if (resolve === undefined) return;
    this.#leaving.delete(server);
    this.#call("onRemoved", server);
    resolve();
    // The supervisor waits for the last request of every process.
    if (server.cells !== null && this.state.shared!.process !== 0) this.state.shared!.changed();
  }

  /**
   * Releases all servers; call it before disposing the pool.
   *
   * @returns servers that are members of no other pool: close the connections to their peers
   * @internal
   */
  release(): readonly Server[] {
    const members = [...this.#servers, ...this.leaving];
    return members.filter((server) => !this.#adopted.has(server) && !server.part(this.state));
  }

  /** Removes every server at once, without calling the listeners. */
  [Symbol.dispose](): void {
    this.#adopted.clear();
    this.#listeners.clear();
    this.state.onRoom = null;
    this.state.onLoad = null;
    this.#byId.clear();
    this.#membersChanged();
    for (const resolve of this.#leaving.values()) resolve();
    this.#leaving.clear();
  }
}

/** Defaults of a server. */
const DEFAULTS = { weight: 1, backup: false, tags: [], maxInFlight: Infinity };

/** Whether a server has this slot: a server that was removed and added again has another one. */
function sameSlot({ cells }: Server, { slot }: ServerInit): boolean {
  return slot === undefined || cells?.slot === slot;
}

/** Whether two peers have the same address and the same TLS. */
function samePeer(a: ServerInit["peer"], b: ServerInit["peer"]): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
