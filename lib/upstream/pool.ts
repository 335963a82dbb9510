/** Servers that can stand in for each other, and their coming and going while the proxy runs. */

import { callAside, tellStrayError } from "../core/callback.ts";
import { PoolState } from "./pool_state.ts";
import { checkServerInit, Server, type ServerInit } from "./server.ts";
import { resolvePlainServer, type ResolveServer, type ServerSpec } from "./server_spec.ts";

/** A server in whichever form it is at hand. */
export type ServerLike = string | ServerSpec | ServerInit;

/**
 * Who wants to know about the members of a pool. Nobody waits for it; what it throws, or rejects with, is told on `stderr`,
 * and changes nothing.
 */
export interface PoolListener {
  /** A server becomes a member; it is chosen for no request before everybody has been told. */
  onAdded?(server: Server): void;
  /** A server is no member any more; it gets no new requests, and what runs there is finished. */
  onLeaving?(server: Server): void;
  /** The last request of a server that left has finished: what is kept for its peer can be closed. */
  onRemoved?(server: Server): void;
}

/** What a {@linkcode Pool} is made of. */
export interface PoolInit {
  /** Name of the pool, for logs and filters. */
  name: string;
  /** The members to begin with. */
  servers: readonly ServerLike[];
  /** Completes servers that are added as text or as a part. @default {plain text servers} */
  resolve?: ResolveServer;
}

/** What {@linkcode Pool.replaceServers} has done. */
export interface PoolChange {
  /** Those that are new. */
  readonly added: readonly Server[];
  /** Those that have left; what runs there is finished. */
  readonly removed: readonly Server[];
  /** Those that stay, with their health and counters. */
  readonly kept: readonly Server[];
}

/** A group of servers under one name. */
export class Pool implements Disposable {
  /** Name of the pool. */
  readonly name: string;
  readonly #resolve: ResolveServer;
  readonly #state = new PoolState();
  readonly #byId = new Map<string, Server>();
  readonly #leaving = new Map<Server, () => void>();
  readonly #listeners = new Set<PoolListener>();
  #servers: readonly Server[] = [];

  /**
   * Makes a pool of its first members.
   *
   * @throws {TypeError} when a server cannot be read or is there twice
   */
  constructor({ name, servers, resolve = resolvePlainServer }: PoolInit) {
    this.name = name;
    this.#resolve = resolve;
    this.#state.onIdle = (server) => this.#removed(server);
    for (const server of servers) this.#insert(this.#completed(server));
    this.#membersChanged();
  }

  /** The members, in the order in which they came; a new array after each change. */
  get servers(): readonly Server[] {
    return this.#servers;
  }

  /** Servers that were removed and still have requests to finish. */
  get leaving(): readonly Server[] {
    return [...this.#leaving.keys()];
  }

  /** Grows with every change that may change a choice. */
  get version(): number {
    return this.#state.version;
  }

  /** Grows when servers come, go, or change their weight or rank. */
  get membership(): number {
    return this.#state.membership;
  }

  /** Requests that run at all its servers together. */
  get inFlight(): number {
    return this.#state.inFlight;
  }

  /** Told when a request may fit in that did not before; the place of the queue of the pool. */
  set onRoom(callback: (() => void) | null) {
    this.#state.onRoom = callback;
  }

  /** Told when a server has one request more or less in flight; the place of what chooses by that. */
  set onLoad(callback: ((server: Server) => void) | null) {
    this.#state.onLoad = callback;
  }

  /** The member with this address. */
  server(id: string): Server | undefined {
    return this.#byId.get(id);
  }

  /** Tells about members from now on, until the result is disposed. */
  subscribe(listener: PoolListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /**
   * Adds a server; it can be chosen as soon as its checks, if there are any, say so.
   *
   * @throws {TypeError} when the address cannot be read or is a member already
   */
  addServer(spec: ServerLike): Server {
    const server = this.#insert(this.#completed(spec));
    this.#welcome([server]);
    return server;
  }

  /**
   * Takes a server out: no new requests, running ones are finished.
   *
   * @returns a promise that is fulfilled when the last one has finished
   */
  removeServer(server: Server | string): Promise<void> {
    const member = this.#member(server);
    this.#byId.delete(member.id);
    this.#membersChanged();
    return this.#leave(member);
  }

  /** Changes the share of a server; its health and its counters stay. */
  setWeight(server: Server | string, weight: number): void {
    this.#member(server).configure({ weight });
  }

  /** Takes a server out of the choice, or back in. */
  setEnabled(server: Server | string, enabled: boolean): void {
    this.#member(server).setEnabled(enabled);
  }

  /** Lets a server finish what runs there without giving it more, or ends that. */
  setDraining(server: Server | string, draining: boolean): void {
    this.#member(server).setDraining(draining);
  }

  /** Makes these the servers. Those that stay keep their identity, health and counters, also with a new weight. */
  replaceServers(specs: readonly ServerLike[]): PoolChange {
    // Whatever is wrong with one of them has to be found before anything is changed.
    const wanted = this.#distinct(specs.map((spec) => this.#completed(spec)));
    for (const init of wanted) checkServerInit(init);
    const before = new Map(this.#byId);
    const added: Server[] = [];
    const kept: Server[] = [];
    this.#byId.clear();
    for (const init of wanted) {
      const known = before.get(init.id);
      if (known !== undefined && samePeer(known.peer, init.peer)) {
        before.delete(init.id);
        known.configure({ weight: 1, backup: false, tags: [], maxInFlight: Infinity, ...init });
        this.#byId.set(init.id, known);
        kept.push(known);
      } else added.push(this.#insert(init));
    }
    this.#welcome(added);
    const removed = [...before.values()];
    for (const server of removed) this.#leave(server);
    return { added, removed, kept };
  }

  #completed(spec: ServerLike): ServerInit {
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
    const server = new Server(init, this.#state);
    this.#byId.set(server.id, server);
    return server;
  }

  #member(server: Server | string): Server {
    const member = typeof server === "string" ? this.#byId.get(server) : server;
    if (member !== undefined && this.#byId.get(member.id) === member) return member;
    const id = typeof server === "string" ? server : server.id;
    throw new TypeError(`Cannot change server of pool "${this.name}": "${id}" is no member`);
  }

  /** Tells of servers before they can be chosen: until then they count as healthy, and requests may be waiting. */
  #welcome(servers: readonly Server[]): void {
    for (const server of servers) this.#tell("onAdded", server);
    this.#membersChanged();
  }

  #tell(what: keyof PoolListener, server: Server): void {
    for (const listener of this.#listeners) {
      callAside(
        () => listener[what]?.(server),
        (error) => tellStrayError(`${what} of pool "${this.name}"`, error),
      );
    }
  }

  #membersChanged(): void {
    this.#servers = Object.freeze([...this.#byId.values()]);
    this.#state.membersChanged();
  }

  #leave(server: Server): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#leaving.set(server, resolve);
    server.leave();
    this.#tell("onLeaving", server);
    if (server.inFlight === 0) this.#removed(server);
    return promise;
  }

  #removed(server: Server): void {
    const resolve = this.#leaving.get(server);
    if (resolve === undefined) return;
    this.#leaving.delete(server);
    this.#tell("onRemoved", server);
    resolve();
  }

  /** Lets every server go at once; nothing is told to listeners, which are disposed with their own owners. */
  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#state.onRoom = null;
    this.#state.onLoad = null;
    this.#byId.clear();
    this.#membersChanged();
    for (const resolve of this.#leaving.values()) resolve();
    this.#leaving.clear();
  }
}

/** Whether two peers are reached in the same way. */
function samePeer(a: ServerInit["peer"], b: ServerInit["peer"]): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
