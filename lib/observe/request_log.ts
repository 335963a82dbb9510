/** What filters write into the log. */

import type { LogLevel } from "./log_level.ts";
import type { Observer } from "./observer.ts";

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
