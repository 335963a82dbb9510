/** A server that records every request byte by byte and sends given bytes as response. */

import type { RawMessage } from "./raw_connection.ts";
import { type RawUpstream, rawUpstream } from "./raw_upstream.ts";

/** A minimal response. */
export const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A raw upstream that records its requests. */
export class RecordingUpstream implements AsyncDisposable {
  readonly requests: RawMessage[] = [];
  readonly #upstream: RawUpstream;
  readonly #watchers = new Set<() => void>();

  constructor(answer: string | ((request: RawMessage, index: number) => string)) {
    this.#upstream = rawUpstream(async (connection) => {
      for (;;) {
        const request = await connection.readRequest();
        if (request === null) return;
        const index = this.requests.push(request) - 1;
        await connection.write(typeof answer === "string" ? answer : answer(request, index));
        for (const watcher of [...this.#watchers]) watcher();
      }
    });
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return this.#upstream.address;
  }

  /** Values of a field in the last request. */
  sent(name: string): string[] {
    const { fields } = this.requests.at(-1)!;
    return fields.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value);
  }

  /** Resolves when this number of requests has got a response. */
  untilRequests(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = () => {
      if (this.requests.length < count) return;
      this.#watchers.delete(watcher);
      resolve();
    };
    this.#watchers.add(watcher);
    watcher();
    return promise;
  }

  /** Closes every connection, but not the listener. */
  closeConnections(): void {
    for (const connection of this.#upstream.connections) connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstream.close();
  }
}

/** Starts such a server. */
export function recordingUpstream(
  answer: string | ((request: RawMessage, index: number) => string) = OK,
): RecordingUpstream {
  return new RecordingUpstream(answer);
}
