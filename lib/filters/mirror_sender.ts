/** Sends copies of requests, and drops what comes back. */

import { WholeBody } from "../http/bodies.ts";
import { messageOf } from "../core/callback.ts";
import { Cancellation } from "../core/cancellation.ts";
import { systemClock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline_wheel.ts";
import { KeptBody } from "../proxy/kept_body.ts";
import { sendRequest, type Transport } from "../transport/transport.ts";
import { Http1Transport } from "../transport/http1/http1_transport.ts";
import type { RequestContext } from "../filter/request_context.ts";
import type { MirrorTargets } from "./mirror_targets.ts";
import type { CopiedHead } from "./request_copy.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A place among the copies in flight; used up by one of the two. */
export interface HeldCopy {
  /** Sends the copy; the place is free once that is over. */
  send(head: CopiedHead, content: Bytes | null): void;
  /** Frees the place. */
  giveUp(): void;
}

/** What is needed of the request that is copied, which may be over before its copy is. */
type Origin = Pick<RequestContext, "pools" | "log">;

/**
 * Sends copies, each on a connection of its own.
 *
 * Nobody ends a filter, so nothing is kept when no copy is on its way: no connection and no timer.
 */
export class MirrorSender {
  readonly #targets: MirrorTargets;
  readonly #timeoutMs: number;
  #resources: { readonly wheel: DeadlineWheel; readonly transport: Transport } | null = null;
  #sending = 0;
  /** Copies that are being made or sent. */
  inFlight = 0;

  constructor(targets: MirrorTargets, timeoutMs: number) {
    this.#targets = targets;
    this.#timeoutMs = timeoutMs;
  }

  /** Takes a place. */
  hold({ pools, log }: Origin): HeldCopy {
    this.inFlight++;
    return {
      send: (head, content) => void this.#send(head, content, { pools, log }).finally(() => this.inFlight--),
      giveUp: () => this.inFlight--,
    };
  }

  async #send(head: CopiedHead, content: Bytes | null, origin: Origin): Promise<void> {
    const peer = this.#targets.next(origin);
    if (peer === null) return;
    const ms = this.#timeoutMs;
    const body = content === null ? null : new KeptBody(new WholeBody(content));
    this.#sending++;
    const { transport } = this.#resources ??= makeResources();
    try {
      const response = await sendRequest(transport, { ...head, body }, peer, {
        timeouts: { connectMs: ms, responseMs: ms, idleMs: ms, totalMs: ms },
        cancellation: new Cancellation(),
      });
      try {
        // Read to its end, as by any client: a server may not like to be hung up on.
        if (response.body !== null) { while (await response.body.read() !== null); }
      } finally {
        response.release();
      }
    } catch (error) {
      origin.log.debug("A mirrored request failed", {
        reason: messageOf(error),
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
