/** Server-sent events (WHATWG HTML, section 9.2) of the admin listener. */

import type { Timers } from "../core/clock.ts";
import type { ProxyEvent } from "../observe/events.ts";
import type { EventLog, LoggedEvent } from "../observe/event_message.ts";
import type { Monitor } from "./monitor.ts";
import { problem, reply } from "./guard.ts";

/** Most pages at once; more are refused. */
const MAX_STREAMS = 100;
/** What a reader may leave unread before it misses moments. */
const MAX_WAITING = 4;

/** How long a change may wait for others before it is shown. */
const SOON_MS = 100;

const encoder = new TextEncoder();

type Stream = ReadableStreamDefaultController<Uint8Array>;

/**
 * Sends the status once a second, and what happens when it happens, to everybody who listens.
 *
 * A status is written once for all of them. Who does not keep up misses some, so that nothing piles up for a reader that has
 * gone to sleep.
 */
export class Feed implements Disposable {
  readonly #monitor: Monitor;
  readonly #events: EventLog;
  readonly #streams = new Set<Stream>();
  readonly #timers: Timers;
  #soon: Disposable | null = null;
  #closed = false;

  constructor(monitor: Monitor, events: EventLog, timers: Timers) {
    this.#monitor = monitor;
    this.#events = events;
    this.#timers = timers;
    monitor.onLook = () => this.#sendStatus();
    events.onEvent = (event, logged) => this.#happened(event, logged);
  }

  /** How many listen. */
  get size(): number {
    return this.#streams.size;
  }

  /**
   * Opens a stream: the last ten minutes, the events behind the last one that the reader has seen, the status, and from then
   * on what comes.
   */
  open(lastEventId: number): Response {
    if (this.#closed) return problem(503, "The proxy stops");
    if (this.#streams.size >= MAX_STREAMS) {
      return problem(503, `There are ${MAX_STREAMS} readers already`, { "retry-after": "5" });
    }
    let own: Stream;
    const body = new ReadableStream<Uint8Array>({
      start: (stream) => {
        own = stream;
        this.#streams.add(stream);
        const events = this.#events.after(lastEventId);
        const text = ["retry: 1000\n\n", message("history", this.#monitor.history.columns())]
          .concat(events.map(logMessage), message("status", this.#monitor.status()));
        stream.enqueue(encoder.encode(text.join("")));
      },
      cancel: () => void this.#streams.delete(own),
    }, { highWaterMark: MAX_WAITING });
    return reply(body, 200, { "content-type": "text/event-stream", "x-accel-buffering": "no" });
  }

  #sendStatus(): void {
    if (this.#streams.size === 0) return;
    this.#send(message("status", this.#monitor.status()), true);
    // For the next one: nobody waits for workers here.
    void this.#monitor.refresh();
  }

  #happened(event: ProxyEvent, logged: LoggedEvent): void {
    this.#monitor.note(event);
    if (this.#streams.size === 0) return;
    this.#send(logMessage(logged), false);
    // What has changed is seen at once, and a hundred changes at once are seen as one.
    this.#soon ??= this.#timers.setTimer(() => {
      this.#soon = null;
      this.#sendStatus();
    }, SOON_MS);
  }

  #send(text: string, mayMiss: boolean): void {
    const bytes = encoder.encode(text);
    for (const stream of this.#streams) {
      const room = stream.desiredSize ?? 0;
      if (mayMiss ? room > 0 : room > -100) stream.enqueue(bytes);
    }
  }

  /** Ends all streams. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#soon?.[Symbol.dispose]();
    this.#events.onEvent = null;
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }
}

function logMessage(event: LoggedEvent): string {
  return `id: ${event.id}\n${message("log", event)}`;
}

/** JSON has no line breaks, which would end the message. */
function message(name: string, value: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
}
