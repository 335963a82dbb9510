/** Talking to servers by Deno's own `fetch`. */

import type { DeadlineWheel } from "../../core/cancellation.ts";
import type { ProxyError } from "../../core/errors.ts";
import type { Peer } from "../../upstream/peer.ts";
import type { OutgoingRequest, SendOptions, Transport } from "../transport.ts";
import { FetchExchange } from "./fetch_exchange.ts";
import { refuseWhatFetchChanges } from "./fetch_messages.ts";
import { PeerClient, type PoolOptions } from "./peer_client.ts";

/** What a {@linkcode FetchTransport} takes. */
interface FetchTransportOptions extends PoolOptions {
  /** Keeps the deadlines of all exchanges. */
  wheel: DeadlineWheel;
}

/**
 * Sends requests by `fetch`.
 *
 * Bodies stream both ways with backpressure, compressed content passes as it is, and redirects are not followed.
 * What `fetch` cannot do unseen:
 *
 * - Bytes above 0x7F in a target are sent percent-encoded.
 * - A target that it would rewrite (see `isExactTarget`), a method that it refuses or changes, and a body
 *   on GET or HEAD get 400 instead.
 * - It adds `accept: *`+`/*`, `accept-language: *`, an empty `user-agent` and `accept-encoding: identity` where the
 *   request has none; a request with `accept-encoding` gets the line `accept-encoding: identity` in front of its own.
 *   Fields of one name are sent next to each other.
 * - Fields of a response come sorted, and repeated ones other than `set-cookie` joined by commas; the
 *   reason phrase is the usual one of the status.
 * - Towards unix sockets, and ports that the WHATWG bars, the request line has the absolute form.
 * - Nothing tells when a connection stands: `connectMs` is added to `responseMs`, and running out of both is an
 *   `http_response_timeout`. Failures are told apart by the words of the error, and `reused` is never known.
 * - A response that comes before the content has been taken is lost where the server closes with content unread; servers that
 *   read on for a while, as most do, are not concerned.
 * - A POST without content is sent as an empty chunked one, for `fetch` would repeat it by itself.
 *
 * TLS to an address under another server's name goes through a {@linkcode ConnectTunnel}.
 */
export class FetchTransport implements Transport {
  /** Measured with Deno 2.9.6: 64 KiB, and a piece of at most 64 KiB at either end of them. */
  readonly readsAheadBytes: number = 192 * 1024;
  readonly #wheel: DeadlineWheel;
  readonly #pool: PoolOptions;
  readonly #clients = new Map<Peer, PeerClient>();
  /** Clients of forgotten peers, until their last exchange has ended. */
  readonly #retired = new Set<PeerClient>();

  constructor(options: FetchTransportOptions) {
    const { wheel, ...pool } = options;
    this.#wheel = wheel;
    this.#pool = pool;
  }

  send(request: OutgoingRequest, peer: Peer, options: SendOptions): void {
    try {
      refuseWhatFetchChanges(request);
      const client = this.#clientOf(peer);
      const exchange = new FetchExchange(options, this.#wheel);
      exchange.run(request, client).then(
        (response) => {
          try {
            options.responded(response);
          } catch {
            response.release();
          }
        },
        (error) => {
          // `fetch` keeps the connection when it has read all of such a response, and cannot be told to close that one.
          if (exchange.doubtful && this.#clients.get(peer) === client) this.forget(peer);
          options.failed(error);
        },
      );
    } catch (error) {
      options.failed(error as ProxyError);
    }
  }

  #clientOf(peer: Peer): PeerClient {
    let client = this.#clients.get(peer);
    if (client === undefined) {
      client = new PeerClient(peer, this.#pool);
      this.#clients.set(peer, client);
    }
    return client;
  }

  forget(peer: Peer): void {
    const client = this.#clients.get(peer);
    if (client === undefined) return;
    this.#clients.delete(peer);
    this.#retired.add(client);
    client.retire().finally(() => this.#retired.delete(client));
  }

  [Symbol.dispose](): void {
    for (const client of [...this.#clients.values(), ...this.#retired]) client[Symbol.dispose]();
    this.#clients.clear();
  }
}
