/** Sends copies of requests, and drops what comes back. */

import { Cancellation } from "../core/cancellation.ts";
import { systemClock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline_wheel.ts";
import type { RequestLog } from "../observe/request_log.ts";
import type { RequestBody, Transport } from "../transport/transport.ts";
import { Http1Transport } from "../transport/http1/http1_transport.ts";
import type { Peer } from "../upstream/peer.ts";
import type { CopiedHead } from "./request_copy.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A place among the copies in flight; used up by one of the two. */
export interface HeldCopy {
  /** Sends the copy; the place is free once that is over. */
  send(head: CopiedHead, content: Bytes | null): void;
  /** Frees the place. */
  giveUp(): void;
}

/**
 * Sends copies to peers in turn, each on a connection of its own.
 *
 * Nobody ends a filter, so nothing is kept when no copy is on its way: no connection and no timer.
 */
export class MirrorSender {
  readonly #peers: readonly Peer[];
  readonly #timeoutMs: number;
  #resources: { readonly wheel: DeadlineWheel; readonly transport: Transport } | null = null;
  #turn = 0;
  #sending = 0;
  /** Copies that are being made or sent. */
  inFlight = 0;

  constructor(peers: readonly Peer[], timeoutMs: number) {
    this.#peers = peers;
    this.#timeoutMs = timeoutMs;
  }

  /** Takes a place. */
  hold(log: RequestLog): HeldCopy {
    this.inFlight++;
    return {
      send: (head, content) => void this.#send(head, content, log).finally(() => this.inFlight--),
      giveUp: () => this.inFlight--,
    };
  }

  async #send(head: CopiedHead, content: Bytes | null, log: RequestLog): Promise<void> {
    const peer = this.#peers[this.#turn++ % this.#peers.length]!;
    const ms = this.#timeoutMs;
    const body = content === null ? null : new CopiedBody(content);
    this.#sending++;
    const { transport } = this.#resources ??= makeResources();
    try {
      const response = await transport.send({ ...head, body }, peer, {
        timeouts: { connectMs: ms, responseMs: ms, idleMs: ms, totalMs: ms },
        cancellation: new Cancellation(),
      });
      // Read to its end, as by any client: a server may not like to be hung up on.
      if (response.body instanceof ReadableStream) await response.body.pipeTo(new WritableStream());
    } catch (error) {
      log.debug("A mirrored request failed", {
        reason: error instanceof Error ? error.message : String(error),
      });
    } finally {
      if (--this.#sending === 0) this.#letGo();
    }
  }

  #letGo(): void {
    this.#resources?.transport[Symbol.dispose]();
    this.#resources?.wheel[Symbol.dispose]();
    this.#resources = null;
  }
}

function makeResources(): { wheel: DeadlineWheel; transport: Transport } {
  const wheel = new DeadlineWheel({ clock: systemClock });
  return { wheel, transport: new Http1Transport({ clock: systemClock, wheel, connections: { maxIdle: 0 } }) };
}

/** Content in memory. */
class CopiedBody implements RequestBody {
  readonly bytes: Bytes;
  readonly length: number;

  constructor(bytes: Bytes) {
    this.bytes = bytes;
    this.length = bytes.byteLength;
  }

  open(): ReadableStream<Bytes> {
    return ReadableStream.from([this.bytes]);
  }

  [Symbol.dispose](): void {}
}
