/** What the proxy does when it gets more than it can do, as an operator writes it. */

import { type QueueOptions, type ResolvedQueue, resolveQueue } from "../balancer/waiting_line.ts";
import { type Duration, parseDuration } from "../core/duration.ts";

/** Bounds what the whole proxy works on, before its memory grows. */
export interface OverloadOptions {
  /** How many requests may run at once, WebSockets among them. @default {Infinity} */
  maxInFlight?: number;
  /** Where requests wait when so many run; without it they are refused at once. */
  queue?: QueueOptions;
  /** Requests are refused while the event loop is late by this: the proxy is slower than what comes. @default {Infinity} */
  maxLoopDelay?: Duration;
}

/** The same, complete. */
export interface ResolvedOverload {
  readonly maxInFlight: number;
  readonly queue: ResolvedQueue;
  readonly maxLoopDelayMs: number;
}

const NO_QUEUE: ResolvedQueue = Object.freeze({ size: 0, timeoutMs: 0 });

/** Completes what is known to be good; `null` when nothing is bounded. */
export function resolveOverload(options: OverloadOptions = {}): ResolvedOverload | null {
  const { maxInFlight = Infinity, queue, maxLoopDelay } = options;
  if (maxInFlight === Infinity && maxLoopDelay === undefined) return null;
  return Object.freeze({
    maxInFlight,
    queue: queue === undefined ? NO_QUEUE : resolveQueue(queue),
    maxLoopDelayMs: maxLoopDelay === undefined ? Infinity : parseDuration(maxLoopDelay)!,
  });
}
