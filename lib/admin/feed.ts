/** Server-sent events (WHATWG HTML, section 9.2) of the admin listener. */

import type { Timers } from "../core/clock.ts";
import type { ProxyEvent } from "../observe/events.ts";
import type { EventLog, LoggedEvent } from "../observe/event_message.ts";
import type { Monitor } from "./monitor.ts";
import { problem, reply } from "./guard.ts";

/** Most streams at the same time; further ones are refused. */
const MAX_STREAMS = 100;
/** Most unread messages of a client; beyond that, status messages to it are dropped. */
const MAX_UNREAD = 4;

/** Delay of a status after an event, in milliseconds, so that several events need only one. */
const STATUS_DELAY_MS = 100;

const encoder = new TextEncoder();

type Stream = ReadableStreamDefaultController<Uint8Array>;

/**
 * Sends the status once a second, and events at once, to all clients of the stream.
 *
 * A status is encoded once for all clients. Messages to a slow client are dropped, so that its buffer does not grow without
 * limit.
 */
export class Feed implements Disposable {
  readonly #monitor: Monitor;
  readonly #events: EventLog;
  readonly #streams = new Set<Stream>();
  readonly #timers: Timers;
  #statusTimer: Disposable | null = null;
  #closed = false;

  constructor(monitor: Monitor, events: EventLog, timers: Timers) {
    this.#monitor = monitor;
    this.#events = events;
    this.#timers = timers;
    monitor.onLook = () => this.#sendStatus();
    events.onEvent = (event, logged) => this.#onEvent(event, logged);
  }

  /** Number of open streams. */
  get size(): number {
    return this.#streams.size;
  }

  /**
   * Opens a stream: the history of ten minutes, the events after the last one that the client has received, the status, and
   * then new messages.
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
    }, { highWaterMark: MAX_UNREAD });
    return reply(body, 200, { "content-type": "text/event-stream", "x-accel-buffering": "no" });
  }

  #sendStatus(): void {
    if (this.#streams.size === 0) return;
    this.#send(message("status", this.#monitor.status()), true);
    // For the next status: this one does not wait for workers.
    void this.#monitor.refresh();
  }

  #onEvent(event: ProxyEvent, logged: LoggedEvent): void {
    this.#monitor.note(event);
    if (this.#streams.size === 0) return;
    this.#send(logMessage(logged), false);
    // Sends a changed status soon, but only once for many events.
    this.#statusTimer ??= this.#timers.setTimer(() => {
      this.#statusTimer = null;
      this.#sendStatus();
    }, STATUS_DELAY_MS);
  }

  #send(text: string, mayDrop: boolean): void {
    const bytes = encoder.encode(text);
    for (const stream of this.#streams) {
      const room = stream.desiredSize ?? 0;
      if (mayDrop ? room > 0 : room > -100) stream.enqueue(bytes);
    }
  }

  /** Ends all streams. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#statusTimer?.[Symbol.dispose]();
    this.#events.onEvent = null;
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }
}

function logMessage(event: LoggedEvent): string {
  return `id: ${event.id}\n${message("log", event)}`;
}

/** Formats a message. The output of `JSON.stringify` has no line breaks, which would end the message. */
function message(name: string, value: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
}
