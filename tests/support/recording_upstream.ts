/** A server that keeps every request byte for byte and answers it with given bytes. */

import type { RawMessage } from "./raw_connection.ts";
import { type RawUpstream, rawUpstream } from "./raw_upstream.ts";

/** The plainest answer. */
export const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A raw upstream with what it was sent. */
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

  /** Values of a field in the only, or the last, request. */
  sent(name: string): string[] {
    const { fields } = this.requests.at(-1)!;
    return fields.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value);
  }

  /** Resolves when so many requests have been answered, or at once. */
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

  /** Closes every connection, and goes on listening. */
  closeConnections(): void {
    for (const connection of this.#upstream.connections) connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstream.close();
  }
}

/** Starts one. */
export function recordingUpstream(
  answer: string | ((request: RawMessage, index: number) => string) = OK,
): RecordingUpstream {
  return new RecordingUpstream(answer);
}
