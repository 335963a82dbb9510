/** What tells one request from every other: its target, a field and each byte of content, both ways. */

import { latin1Bytes } from "../support/raw_connection.ts";

/** How long a token is. */
const TOKEN_LENGTH = 12;

/** Makes the token of a client's request. */
export function makeToken(client: number, request: number): string {
  return `t${String(client).padStart(3, "0")}${String(request).padStart(TOKEN_LENGTH - 5, "0")};`;
}

/** Content of this many bytes. */
export function contentOf(token: string, length: number): Uint8Array<ArrayBuffer> {
  return latin1Bytes(token.repeat(Math.ceil(length / TOKEN_LENGTH)).slice(0, length));
}

/** Whether the bytes belong to the token's content, from this place on. */
export function belongs(bytes: Uint8Array, token: string, from = 0): boolean {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== token.charCodeAt((from + i) % TOKEN_LENGTH)) return false;
  }
  return true;
}

/** What the two ends of the proxy have found. */
export class Findings {
  /** What belongs to another request, or came in another order: there must be none. */
  readonly crossed: string[] = [];
  /** Responses that never came: there must be none. */
  readonly hung: string[] = [];
  readonly counts: Record<string, number> = {};

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  cross(what: string): void {
    if (this.crossed.length < 20) this.crossed.push(what);
    this.count("crossed");
  }
}
