/** The last things that happened, kept for people who come later. */

import type { Clock } from "../core/clock.ts";
import type { AccessEntry } from "./access_entry.ts";
import { eventLevel, eventMessage } from "./event_message.ts";
import type { ProxyEvent } from "./events.ts";
import type { LogLevel } from "./log_level.ts";
import type { Observer } from "./observer.ts";

/** How many are kept. */
const KEPT = 200;

/** One thing that happened. */
export interface LoggedEvent {
  /** Counts up from 1. */
  readonly id: number;
  /** When, as RFC 3339 writes it. */
  readonly time: string;
  readonly level: LogLevel;
  readonly kind: ProxyEvent["kind"];
  readonly message: string;
}

/**
 * Keeps the last 200 events and passes everything on.
 *
 * Failures of single requests and lines of filters are left out: a minute of trouble would push out all else.
 */
export class EventLog implements Observer {
  /** Called with each event that is kept. */
  onEvent: ((event: ProxyEvent, logged: LoggedEvent) => void) | null = null;
  readonly #next: Observer;
  readonly #clock: Clock;
  readonly #events: LoggedEvent[] = [];
  #count = 0;

  /** @param next receives everything as before */
  constructor(next: Observer, clock: Clock) {
    this.#next = next;
    this.#clock = clock;
  }

  get wantsAccess(): boolean {
    return this.#next.wantsAccess;
  }

  /** The events behind this one, oldest first. */
  after(id: number): LoggedEvent[] {
    return this.#events.filter((event) => event.id > id);
  }

  event(event: ProxyEvent): void {
    this.#next.event(event);
    if (event.kind === "request_failure" || event.kind === "request_log") return;
    const logged: LoggedEvent = {
      id: ++this.#count,
      time: new Date(this.#clock.wallTime()).toISOString(),
      level: eventLevel(event),
      kind: event.kind,
      message: eventMessage(event),
    };
    this.#events.push(logged);
    if (this.#events.length > KEPT) this.#events.shift();
    this.onEvent?.(event, logged);
  }

  access(entry: AccessEntry): void {
    this.#next.access(entry);
  }
}
