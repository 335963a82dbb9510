/** The listeners of a proxy, which stay open across reloads. */

import { setImmediate } from "node:timers";
import { formatListen, type ResolvedListen } from "../config/listen_options.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { openDescriptors, resourceShortage } from "../core/resource_shortage.ts";
import { DenoListener } from "../engine/deno/deno_listener.ts";
import { type EngineListener, type ListenerEvents, ListenError, listenError } from "../engine/engine.ts";
import { Http1Listener } from "../engine/http1/http1_listener.ts";
import { TlsAcceptor } from "../engine/tls/tls_acceptor.ts";
import type { ListenerMeter } from "../observe/metrics/meters.ts";
import type { StreamHandler } from "../proxy/client_stream.ts";
import type { RequestHandler } from "../proxy/handle_request.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import { CLIENT_IDLE_MS } from "./data_plane.ts";
import type { Generations, Opened } from "./generations.ts";
import type { ProxyParts } from "./serve_options.ts";

/** How many turns of the event loop the runtime gets to release an address; two at most were seen. */
const MAX_TURNS = 1000;

/** One listener, and its current configuration. */
interface Place {
  listen: ResolvedListen;
  listener: EngineListener;
  readonly handler: RequestHandler;
  /** Counts its connections; `null` if metrics are off. */
  readonly meter: ListenerMeter | null;
}

/** The listeners of a new configuration. */
interface Plan {
  /** In the order of the configuration; `null` for a listener that can be opened only after another one is closed. */
  readonly places: (Place | null)[];
  readonly opened: readonly Place[];
}

/** Opens, changes and closes listeners. All pass their requests to the running configuration. */
export class Listeners {
  readonly #parts: ProxyParts;
  readonly #generations: Generations;
  #places: readonly Place[] = [];
  /** Closed listeners whose last connection has not ended yet. */
  readonly #closing = new Set<Place>();

  constructor(parts: ProxyParts, generations: Generations) {
    this.#parts = parts;
    this.#generations = generations;
  }

  /** The addresses of the listeners, as `host:port` or `unix:/path`. */
  get addresses(): readonly string[] {
    return this.#places.map(({ listener }) => listener.address);
  }

  /**
   * Opens the listeners of a configuration that are not open yet.
   *
   * @throws {ListenError} when it cannot listen at an address; nothing is changed then
   */
  async open({ listen: wanted }: ResolvedConfig): Promise<Opened> {
    const free = new Set(this.#places);
    // An address that is in both configurations keeps its listener, even if its index changes.
    const kept = wanted.map((listen) => {
      const place = [...free].find((each) => isAt(each, listen)) ?? null;
      if (place !== null) free.delete(place);
      return place;
    });
    const opened: Place[] = [];
    const cancel = (): void => {
      for (const { listener } of opened) listener.cut();
    };
    try {
      const places: (Place | null)[] = [];
      for (const [index, listen] of wanted.entries()) {
        const place = kept[index]!;
        if (place !== null) places.push(sameKind(place.listen, listen) ? place : null);
        else {
          const made = await this.#openUnlessOccupied(listen, free);
          if (made !== null) opened.push(made);
          places.push(made);
        }
      }
      return { commit: () => this.#commit(wanted, { places, opened }), cancel };
    } catch (error) {
      cancel();
      throw error;
    }
  }

  /** @returns `null` if a listener that is about to be closed occupies the address */
  async #openUnlessOccupied(listen: ResolvedListen, leaving: ReadonlySet<Place>): Promise<Place | null> {
    try {
      return await this.#open(listen);
    } catch (error) {
      const sharesPort = [...leaving].some(({ listener }) => listener.address.endsWith(`:${listen.port}`));
      if (sharesPort && error instanceof ListenError && error.inUse) return null;
      throw error;
    }
  }

  async #commit(wanted: readonly ResolvedListen[], { places, opened }: Plan): Promise<void> {
    const fresh = new Set(opened);
    for (const [index, place] of places.entries()) {
      if (place === null || fresh.has(place)) continue;
      place.listen = wanted[index]!;
      place.handler.redirectPort = place.listen.redirectPort;
      place.listener.update(place.listen);
    }
    for (const place of this.#places) if (!places.includes(place)) this.#close(place);
    for (const [index, listen] of wanted.entries()) {
      if (places[index] === null) places[index] = await this.#openOnceFree(listen);
    }
    this.#places = places.filter((place) => place !== null);
  }

  /** Retries until the runtime has released the address. Connections in the meantime are refused. */
  async #openOnceFree(listen: ResolvedListen): Promise<Place | null> {
    for (let turn = 0;; turn++) {
      try {
        return await this.#open(listen);
      } catch (error) {
        if (turn < MAX_TURNS && error instanceof ListenError && error.inUse) {
          await new Promise<void>((resolve) => setImmediate(resolve));
          continue;
        }
        this.#events().onError(formatListen(listen), error);
        return null;
      }
    }
  }

  #close(place: Place): void {
    this.#closing.add(place);
    place.listener.stop().finally(() => {
      this.#closing.delete(place);
      if (place.meter !== null) this.#generations.resources.metrics.closeListener(place.meter);
    });
  }

  async #open(listen: ResolvedListen): Promise<Place> {
    if (listen.unix !== undefined) await removeStaleSocket(listen.unix);
    // Without the flag the runtime would end the process.
    if (listen.reusePort === true && !("listenDatagram" in Deno)) {
      throw listenError(formatListen(listen), new Error("reusePort needs the flag --unstable-net"));
    }
    const meter = this.#generations.counted?.listener(formatListen(listen)) ?? null;
    const handler = this.#generations.makeHandler();
    handler.redirectPort = listen.redirectPort;
    try {
      return { listen, listener: await this.#listen(listen, handler, meter), handler, meter };
    } catch (error) {
      if (meter !== null) this.#generations.resources.metrics.closeListener(meter);
      throw error;
    }
  }

  async #listen(
    listen: ResolvedListen,
    handler: StreamHandler,
    meter: ListenerMeter | null,
  ): Promise<EngineListener> {
    const { resources: { wheel }, config } = this.#generations;
    const common = { listen, clock: this.#parts.clock, wheel, handler, meter, ...this.#events() };
    if (listen.engine === "http1") {
      if (listen.tls === undefined) return new Http1Listener(common);
      return new Http1Listener({ ...common, acceptor: await TlsAcceptor.open(common) });
    }
    return new DenoListener({ ...common, idleMs: CLIENT_IDLE_MS, gracePeriodMs: config.gracePeriodMs });
  }

  #events(): ListenerEvents {
    const { observer } = this.#parts;
    return {
      onError: (address, error) => {
        const message = resourceShortage(error) ?? (error instanceof Error ? error.message : String(error));
        const held = { openDescriptors: openDescriptors(), runningRequests: this.#generations.running };
        observer.event({ kind: "listener_error", address, message, ...held });
      },
      onRecovery: (address, afterMs) =>
        observer.event({ kind: "listener_recovered", address, afterMs: Math.round(afterMs) }),
      onCertificate: (address, problem, names = []) =>
        observer.event({ kind: "certificate", address, names, problem }),
      onClientRefused: (address, refusal) =>
        observer.event({ kind: "client_certificate", address, ...refusal }),
      onCallbackError: (name, error) => reportCallbackError(observer, name, error),
    };
  }

  /** Stops accepting connections, and resolves when the last one has ended. */
  async stop(): Promise<void> {
    await Promise.all(this.#all.map((listener) => listener.stop()));
  }

  /** Closes every connection at once. */
  cut(): void {
    for (const listener of this.#all) listener.cut();
  }

  get #all(): readonly EngineListener[] {
    return [...this.#places, ...this.#closing].map(({ listener }) => listener);
  }
}

/** Whether a listener has the wanted address; if port 0 is wanted, a listener configured with port 0 matches. */
function isAt({ listen, listener }: Place, wanted: ResolvedListen): boolean {
  if (listen.unix !== undefined || wanted.unix !== undefined) {
    return listen.unix === wanted.unix;
  }
  if (listen.hostname !== wanted.hostname) return false;
  return listen.port === wanted.port || listener.address === formatListen(wanted);
}

/** Whether a listener can be updated from one configuration to the other. */
function sameKind(one: ResolvedListen, other: ResolvedListen): boolean {
  return one.engine === other.engine && (one.tls === undefined) === (other.tls === undefined);
}

/**
 * Removes a socket file without a listener; leaves other files alone.
 *
 * A killed process leaves its socket file behind, and its successor could not listen at the same path.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  let connection: Deno.Conn;
  try {
    if ((await Deno.lstat(path)).isSocket !== true) return;
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
    return;
  }
  connection.close();
}
