/** Where a proxy reports to. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { AccessEntry } from "./access_entry.ts";
import type { LogLevel, ProxyEvent } from "./events.ts";

/**
 * Receives events and access log entries.
 *
 * Both functions return at once: they are called in the middle of requests. What one throws, or rejects with, is told on
 * `stderr` the first time.
 */
export interface Observer {
  /** Whether {@linkcode Observer.access} does anything; `false` saves making the entries. */
  readonly wantsAccess: boolean;
  /** Something happened that is not an ordinary request. */
  event(event: ProxyEvent): void;
  /** A request is over. */
  access(entry: AccessEntry): void;
}

/** Listens to nothing; for a proxy that is embedded without a log. */
export const silentObserver: Observer = Object.freeze({
  wantsAccess: false,
  event: () => {},
  access: () => {},
});

/** An observer of a user's; whatever becomes of it, requests go on. */
export class GuardedObserver implements Observer {
  readonly #observer: Observer;
  readonly #failed: (error: unknown) => void;

  constructor(observer: Observer) {
    let told = false;
    this.#observer = observer;
    this.#failed = (error) => {
      if (!told) tellStrayError("observer", error);
      told = true;
    };
  }

  get wantsAccess(): boolean {
    return this.#observer.wantsAccess;
  }

  event(event: ProxyEvent): void {
    callAside(() => this.#observer.event(event), this.#failed);
  }

  /** As the others, without a function a request. */
  access(entry: AccessEntry): void {
    try {
      const result: unknown = this.#observer.access(entry);
      if (result instanceof Promise) result.catch(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }
}

// What filters write into the log.

/** Writes into the proxy's log; each line names the request that it is about. */
export class RequestLog {
  readonly #observer: Observer;
  readonly #request: { readonly requestId: string };

  /** @internal `ctx.log` is one. */
  constructor(observer: Observer, request: { readonly requestId: string }) {
    this.#observer = observer;
    this.#request = request;
  }

  /** Something that one looks for. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("debug", message, fields);
  }

  /** Something worth knowing. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("info", message, fields);
  }

  /** Something that somebody should look at. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("warn", message, fields);
  }

  /** Something that has to be mended. */
  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("error", message, fields);
  }

  #write(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const { requestId } = this.#request;
    this.#observer.event({ kind: "request_log", level, requestId, message, fields });
  }
}
