/** One connection to a server: one exchange after the other. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import {
  ClientGoneError,
  type ProxyError,
  RequestError,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { UpstreamResponse } from "../transport.ts";
import type { BufferShelf } from "./buffer_shelf.ts";
import { closeSocket } from "./close_socket.ts";
import { RequestSender, type RequestSenderOwner } from "./request_sender.ts";
import { ResponseDelivery, type ResponseDeliveryOwner } from "./response_delivery.ts";
import { ResponseHead } from "./response_head.ts";
import { cancelledError, type RoundTrip } from "./round_trip.ts";

/** How long a small body is waited for; then what has come is handed over, and the rest as a stream. */
const WHOLE_BODY_MS = 50;
type Bytes = Uint8Array<ArrayBuffer>;

/** What a connection has to tell its pool. */
export interface ConnectionOwner {
  /** The connection is ready for another exchange. */
  released(connection: Connection): void;
  /** The connection is closed. */
  closed(connection: Connection): void;
  /** The connection is closed and turned out stale; its exchange starts again on a new one. */
  stale(connection: Connection, trip: RoundTrip): void;
}

/** What a {@linkcode Connection} is made of. */
export interface ConnectionInit {
  readonly socket: Deno.Conn;
  readonly owner: ConnectionOwner;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
}

/** A socket, the exchange on it, and the read that is always pending. */
export class Connection implements RequestSenderOwner, ResponseDeliveryOwner, Disposable {
  /** When it became idle, in the clock's milliseconds. */
  idleSince = 0;
  readonly #socket: Deno.Conn;
  readonly #owner: ConnectionOwner;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #deadline: Deadline;
  readonly #sender: RequestSender;
  readonly #head: ResponseHead;
  readonly #delivery: ResponseDelivery;
  #state: "idle" | "head" | "body" | "tunnel" | "closed" = "idle";
  #served = 0;
  #trip: RoundTrip | null = null;
  #paused = false;

  constructor({ socket, owner, clock, wheel, shelf }: ConnectionInit) {
    this.#socket = socket;
    this.#owner = owner;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#head = new ResponseHead(shelf);
    this.#sender = new RequestSender({ socket, owner: this, wheel });
    this.#delivery = new ResponseDelivery(this);
    this.#readHead();
  }

  /** Sends a request, and settles its round trip. */
  start(trip: RoundTrip): void {
    this.#trip = trip;
    this.#state = "head";
    this.#paused = false;
    this.#head.mayUpgrade = trip.request.upgrade === true;
    try {
      this.#sender.send(trip.request);
    } catch (error) {
      return this.#refuse(trip, error as ProxyError);
    }
    trip.options.cancellation.listen(this.#onCancel);
  }

  // Nothing was sent of a request that cannot be: the connection is as good as before.
  #refuse(trip: RoundTrip, error: ProxyError): void {
    this.#becomeIdle();
    this.#owner.released(this);
    trip.reject(error);
  }

  /** @internal */
  requestLeft(): void {
    if (this.#state === "head") this.#arm(this.#trip!.options.timeouts.responseMs, this.#trip!.now);
  }

  /** @internal */
  uploadProgressed(): void {
    // A small answer that is awaited whole has a deadline of its own.
    if (this.#trip !== null && !this.#delivery.awaitsWhole) this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  requestFailed(error: ProxyError): void {
    this.#fail(error);
  }

  /** @internal */
  read(buffer: Bytes): Promise<number | null> {
    return this.#socket.read(buffer);
  }

  #readHead(): void {
    this.#socket.read(this.#head.space).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#state !== "head" || count === null) this.#onReadFailed(undefined);
    else if (this.#sender.asked) this.#readOn(count);
    // Whatever it is, it is not the answer to a request that has not left (RFC 9112 section 9.2).
    else this.#lost(this.#trip!, this.#failure("http_protocol_error", "bytes came before the request"));
  };

  readonly #onReadFailed = (error: unknown): void => {
    if (this.#state === "head") {
      const found = "the server closed the connection";
      this.#lost(this.#trip!, this.#failure("connection_terminated", found, error));
    }
    if (this.#state === "idle") this[Symbol.dispose]();
  };

  #readOn(count: number): void {
    try {
      if (!this.#head.take(count)) return this.#readHead();
      if (this.#head.parser.status === 101) return this.#giveOver();
      this.#state = "body";
      this.#delivery.start(this.#head, this.#trip!);
    } catch (error) {
      this.#fail(error as ProxyError);
    }
  }

  // The connection speaks another protocol from here on; it counts as one of the pool until it is closed.
  #giveOver(): void {
    const trip = this.#trip!;
    const { parser: { status, statusText, list, bodyStart }, buffer, filled } = this.#head;
    const first = buffer.slice(bodyStart, filled);
    const headers = HeaderFields.adopt(list);
    trip.options.cancellation.listen(null);
    this.#head.begin();
    this.#becomeIdle();
    this.#state = "tunnel";
    const tunnel = { socket: this.#socket, first, [Symbol.dispose]: () => this[Symbol.dispose]() };
    trip.resolve({ status, statusText, headers, body: null, tunnel });
  }

  /** @internal */
  wholeAwaited(): void {
    this.#arm(WHOLE_BODY_MS);
  }

  /** @internal */
  wholeLost(cause: unknown): void {
    const found = "the connection was lost in the middle of the body";
    this.#fail(this.#failure("http_response_incomplete", found, cause));
  }

  /** @internal */
  responseComplete(response: UpstreamResponse, clean: boolean): void {
    const trip = this.#trip!;
    this.#settle(clean);
    trip.resolve(response);
  }

  /** @internal */
  streamBegun(response: UpstreamResponse): void {
    this.#trip!.resolve(response);
  }

  /** @internal */
  progressed(): void {
    this.#paused = false;
    if (this.#trip !== null) this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  paused(): void {
    if (this.#trip === null) return;
    this.#paused = true;
    this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  bodyEnded(clean: boolean): void {
    this.#settle(clean);
  }

  /** @internal */
  bodyBroken(): void {
    this.#close();
    this.#owner.closed(this);
  }

  // The response is complete: the connection serves the next one, or is closed.
  #settle(clean: boolean): void {
    const { cancellation } = this.#trip!.options;
    if (!clean || !this.#head.parser.persistent || this.#sender.busy) {
      this.#close();
      this.#owner.closed(this);
      return;
    }
    cancellation.listen(null);
    this.#served++;
    this.#head.begin();
    this.#becomeIdle();
    this.#readHead();
    this.#owner.released(this);
  }

  #becomeIdle(): void {
    this.#deadline.clear();
    this.#sender.trim();
    this.#delivery.clear();
    this.#trip = null;
    this.#state = "idle";
  }

  #lost(trip: RoundTrip, error: UpstreamError): void {
    if (
      this.#served > 0 && !this.#head.heard && !trip.retried && (trip.repeatable || this.#sender.untouched)
    ) {
      this.#close();
      trip.retried = true;
      this.#owner.stale(this, trip);
    } else {
      this.#fail(error);
    }
  }

  #failure(code: UpstreamErrorCode, found: string, cause?: unknown): UpstreamError {
    return new UpstreamError(`Cannot read the response: ${found}`, {
      code,
      phase: this.#state !== "head"
        ? "answered"
        : this.#sender.unsent && !this.#head.heard
        ? "unsent"
        : "sent",
      reused: this.#served > 0,
      cause,
    });
  }

  // Ends the exchange with an error, and the connection with it.
  #fail(error: ProxyError): void {
    const trip = this.#trip;
    if (this.#delivery.fail(error)) return;
    this.#close();
    this.#owner.closed(this);
    trip?.reject(error);
  }

  readonly #onCancel = (reason: unknown): void => {
    if (this.#trip !== null) this.#fail(cancelledError(reason));
  };

  #arm(delayMs: number, known?: number): void {
    const { dueAt } = this.#trip!;
    const now = known ?? this.#clock.now();
    this.#deadline.set(dueAt === Infinity ? delayMs : Math.min(delayMs, dueAt - now), now);
  }

  #expired(): void {
    const trip = this.#trip;
    if (trip === null) return;
    const late = trip.dueAt !== Infinity && this.#clock.now() >= trip.dueAt;
    if (!late && this.#delivery.awaitsWhole) return this.#delivery.streamTheRest();
    if (this.#sender.waitsForClient) {
      return this.#fail(new RequestError("The request body came too slowly", 408));
    }
    if (late) {
      return this.#fail(this.#failure("http_response_timeout", "the exchange took longer than it may"));
    }
    if (this.#paused) return this.#fail(new ClientGoneError("The client took the response too slowly"));
    this.#fail(this.#failure("http_response_timeout", "the server took longer than it may"));
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadline.clear();
    this.#trip?.options.cancellation.listen(null);
    this.#sender.stop();
    this.#delivery.clear();
    this.#trip = null;
    closeSocket(this.#socket);
  }

  /** Closes the connection; an exchange on it fails. */
  [Symbol.dispose](): void {
    if (this.#state === "closed") return;
    if (this.#trip !== null) {
      this.#fail(this.#failure("connection_terminated", "the transport was closed"));
    } else {
      this.#close();
      this.#owner.closed(this);
    }
  }
}
