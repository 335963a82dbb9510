/** A client of a proxy's admin listener. */

import type { Status } from "../../lib/admin/status.ts";
import type { TestProxy } from "./start_proxy.ts";

/** A token of sufficient length. */
export const TOKEN = "a-token-of-a-test-0123456789";

/** Admin options of tests that do not set their own. */
export const ADMIN = { listen: "127.0.0.1:0", tokens: { tester: TOKEN } } as const;

/** A response with its content. */
export interface AdminAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // deno-lint-ignore no-explicit-any -- JSON of any shape, for tests to inspect
  readonly json: any;
}

/** A client with the token. */
export class AdminClient {
  readonly #base: string;

  constructor({ server: { adminAddress } }: { readonly server: Pick<TestProxy["server"], "adminAddress"> }) {
    this.#base = `http://${adminAddress}`;
  }

  /** Port of the admin listener. */
  get port(): number {
    return Number(new URL(this.#base).port);
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<AdminAnswer> {
    return this.#ask(path, { headers: { ...headers } });
  }

  /** Requests a change. */
  post(
    path: string,
    body: unknown = {},
    headers: Readonly<Record<string, string>> = {},
  ): Promise<AdminAnswer> {
    return this.#ask(path, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  }

  async status(): Promise<Status> {
    return (await this.get("/status")).json;
  }

  /** Opens `/events`. */
  async events(headers: Readonly<Record<string, string>> = {}): Promise<EventReader> {
    const response = await fetch(`${this.#base}/events`, { headers: { ...headers } });
    return new EventReader(response);
  }

  async #ask(path: string, init: RequestInit): Promise<AdminAnswer> {
    const response = await fetch(`${this.#base}${path}`, { redirect: "manual", ...init });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : null,
    };
  }
}

/** One server-sent event. */
interface ServerSentEvent {
  readonly id: string | null;
  readonly event: string;
  // deno-lint-ignore no-explicit-any -- JSON of any shape, for tests to inspect
  readonly data: any;
}

/** Reads server-sent events. */
export class EventReader implements AsyncDisposable {
  readonly status: number;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(response: Response) {
    this.status = response.status;
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next event; `null` at the end of the stream. */
  async next(): Promise<ServerSentEvent | null> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end < 0) {
        const { value, done } = await this.#reader.read();
        if (done) return null;
        this.#text += value;
        continue;
      }
      const lines = this.#text.slice(0, end).split("\n");
      this.#text = this.#text.slice(end + 2);
      const field = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null;
      const event = field("event");
      if (event !== null) return { id: field("id"), event, data: JSON.parse(field("data")!) };
    }
  }

  /** The next event that matches. */
  async until(isGood: (event: ServerSentEvent) => boolean): Promise<ServerSentEvent> {
    for (;;) {
      const event = await this.next();
      if (event === null) throw new Error("The stream has ended");
      if (isGood(event)) return event;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel().catch(() => {});
  }
}
