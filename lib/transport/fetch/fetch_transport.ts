/** Sends requests by Deno's `fetch`. */

import type { DeadlineWheel } from "../../core/cancellation.ts";
import type { ProxyError } from "../../core/errors.ts";
import type { Peer } from "../../upstream/peer.ts";
import type { OutgoingRequest, SendOptions, Transport } from "../transport.ts";
import { FetchExchange } from "./fetch_exchange.ts";
import { refuseWhatFetchChanges } from "./fetch_messages.ts";
import { PeerClient, type PoolOptions } from "./peer_client.ts";

/** Options of a {@linkcode FetchTransport}. */
interface FetchTransportOptions extends PoolOptions {
  /** Runs the deadlines of all exchanges. */
  wheel: DeadlineWheel;
}

/**
 * Sends requests by `fetch`.
 *
 * Bodies stream both ways with backpressure, compressed content passes unchanged, and redirects are not followed.
 * Limits of `fetch`:
 *
 * - Bytes above 0x7F in a target are sent percent-encoded.
 * - A target that it would rewrite (see `isExactTarget`), a method that it refuses or changes, and a body on GET or
 *   HEAD get 400 instead.
 * - It adds `accept: *`+`/*`, `accept-language: *`, an empty `user-agent` and `accept-encoding: identity` where the
 *   request has none; a request with `accept-encoding` gets the line `accept-encoding: identity` before its own.
 *   Fields of one name are sent together.
 * - Fields of a response are sorted, and repeated fields other than `set-cookie` are joined by commas; the reason
 *   phrase is the standard one of the status.
 * - For unix sockets, and ports that the WHATWG blocks, the request line has the absolute form.
 * - The end of connecting is not reported: `connectMs` is added to `responseMs`, and exceeding both is an
 *   `http_response_timeout`. Failures are classified by the text of the error, and `reused` is unknown.
 * - An early response is lost if the server closes the connection with unread content; most servers read on for a
 *   while, and then it is not lost.
 * - A POST without content is sent with empty chunked content, because `fetch` would repeat it otherwise.
 *
 * TLS to an address with another server name uses a {@linkcode ConnectTunnel}.
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
          // `fetch` keeps the connection if it has read the whole response, and offers no way to close it: so the
          // client is dropped.
          if (exchange.ambiguous && this.#clients.get(peer) === client) this.forget(peer);
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
