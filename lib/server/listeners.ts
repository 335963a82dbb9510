/** The listeners of a proxy, which stay open while configurations come and go. */

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

/** How many turns of the event loop the runtime gets to let go of an address; it has taken two at most. */
const MAX_TURNS = 1000;

/** One listener, and how it is configured now. */
interface Place {
  listen: ResolvedListen;
  listener: EngineListener;
  readonly handler: RequestHandler;
  /** Counts its connections; `null` where nobody wants to know. */
  readonly meter: ListenerMeter | null;
}

/** What becomes of the listeners when a configuration takes over. */
interface Plan {
  /** In the order of the configuration; `null` for those that are opened only when another one is closed. */
  readonly places: (Place | null)[];
  readonly opened: readonly Place[];
}

/** Opens, changes and closes listeners; all of them hand their requests to the configuration that runs. */
export class Listeners {
  readonly #parts: ProxyParts;
  readonly #generations: Generations;
  #places: readonly Place[] = [];
  /** Those that are closed, until their last connection has ended. */
  readonly #closing = new Set<Place>();

  constructor(parts: ProxyParts, generations: Generations) {
    this.#parts = parts;
    this.#generations = generations;
  }

  /** Where clients reach them, as `host:port` or `unix:/path`. */
  get addresses(): readonly string[] {
    return this.#places.map(({ listener }) => listener.address);
  }

  /**
   * Opens what a configuration listens at and is not open yet.
   *
   * @throws {ListenError} when an address cannot be listened at; nothing is changed then
   */
  async open({ listen: wanted }: ResolvedConfig): Promise<Opened> {
    const free = new Set(this.#places);
    // An address that stays keeps its listener, also where another one comes in front of it.
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
          const made = await this.#openUnlessOurs(listen, free);
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

  /** @returns `null` where a listener that is about to be closed is in the way */
  async #openUnlessOurs(listen: ResolvedListen, leaving: ReadonlySet<Place>): Promise<Place | null> {
    try {
      return await this.#open(listen);
    } catch (error) {
      const inTheWay = [...leaving].some(({ listener }) => listener.address.endsWith(`:${listen.port}`));
      if (inTheWay && error instanceof ListenError && error.inUse) return null;
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

  /** The runtime needs a moment to let go of an address; what connects just then is refused. */
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
    // The runtime would end the process.
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

  /** Takes no new connections, and resolves once the last one has ended. */
  async stop(): Promise<void> {
    await Promise.all(this.#all.map((listener) => listener.stop()));
  }

  /** Cuts every connection. */
  cut(): void {
    for (const listener of this.#all) listener.cut();
  }

  get #all(): readonly EngineListener[] {
    return [...this.#places, ...this.#closing].map(({ listener }) => listener);
  }
}

/** Whether a listener is what is wanted: at that address, or at any port where any will do. */
function isAt({ listen, listener }: Place, wanted: ResolvedListen): boolean {
  if (listen.unix !== undefined || wanted.unix !== undefined) return listen.unix === wanted.unix;
  if (listen.hostname !== wanted.hostname) return false;
  return listen.port === wanted.port || listener.address === formatListen(wanted);
}

/** Whether a listener of the one can become one of the other. */
function sameKind(one: ResolvedListen, other: ResolvedListen): boolean {
  return one.engine === other.engine && (one.tls === undefined) === (other.tls === undefined);
}

/**
 * Removes a socket that nobody listens at any more; leaves everything else where it is.
 *
 * A process that is killed leaves its socket behind, and its successor could not listen at the same path.
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
