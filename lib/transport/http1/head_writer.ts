/** Heads of requests, as bytes. */

import { UpstreamError } from "../../core/errors.ts";
import type { OutgoingRequest } from "../transport.ts";
import { TOKEN_BYTES, VALUE_BYTES } from "./byte_classes.ts";

const INITIAL_BYTES = 2048;
const MAX_KEPT_BYTES = 16 * 1024;

const CR = 13;
const LF = 10;
const SPACE = 32;
const COLON = 58;
const DEL = 127;

const encoder = new TextEncoder();

/** Writes heads into a buffer of its own, one at a time. */
export class HeadWriter {
  /** The buffer; bytes after {@linkcode HeadWriter.length} are free for the beginning of the body. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(INITIAL_BYTES);
  /** How many bytes the head has. */
  length = 0;

  /**
   * Writes the request line, the fields as they are given, and the framing in place of any given.
   *
   * `expect` is left out: an expectation that was met on the client's side would make the server ask again.
   *
   * @throws {UpstreamError} `http_request_error` in phase "unsent" when something cannot stand in a head
   */
  write(request: OutgoingRequest): void {
    const { method, target, headers: { list }, body } = request;
    if (method === "CONNECT") {
      throw requestError("the method CONNECT, which makes a tunnel and not an exchange");
    }
    this.length = 0;
    this.#reserve(method.length + target.length + 128);
    this.#writeToken(method);
    this.bytes[this.length++] = SPACE;
    this.#writeTarget(target);
    this.#writeConstant(" HTTP/1.1\r\n");
    let hosts = 0;
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      const value = list[i + 1]!;
      if (name === "content-length" || name === "transfer-encoding" || name === "expect") continue;
      if (name === "host") hosts++;
      this.#reserve(name.length + value.length + 128);
      this.#writeToken(name);
      this.bytes[this.length++] = COLON;
      this.bytes[this.length++] = SPACE;
      this.#writeValue(name, value);
      this.bytes[this.length++] = CR;
      this.bytes[this.length++] = LF;
    }
    if (hosts !== 1) throw requestError(`${hosts} host fields, where there must be exactly one`);
    if (body !== null) this.#writeFraming(body.bytes?.length ?? body.length);
    else if (method === "POST" || method === "PUT" || method === "PATCH") this.#writeFraming(0);
    this.bytes[this.length++] = CR;
    this.bytes[this.length++] = LF;
  }

  /** Gives up a buffer that a large request has left behind. */
  trim(): void {
    if (this.bytes.length > MAX_KEPT_BYTES) this.bytes = new Uint8Array(INITIAL_BYTES);
  }

  /** Puts the beginning of the body behind the head, so that both leave in one write. */
  append(body: Uint8Array): void {
    this.#reserve(body.length);
    this.bytes.set(body, this.length);
    this.length += body.length;
  }

  /** Puts framing of the body behind what is there; ASCII only. */
  appendText(text: string): void {
    this.#reserve(text.length);
    this.#writeConstant(text);
  }

  #writeFraming(bodyLength: number | null): void {
    if (bodyLength === null) this.#writeConstant("transfer-encoding: chunked\r\n");
    else this.#writeConstant(`content-length: ${bodyLength}\r\n`);
  }

  #writeConstant(text: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  #writeToken(text: string): void {
    const { bytes } = this;
    let at = this.length;
    if (text.length === 0) throw requestError("an empty method or field name");
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (TOKEN_BYTES[code] !== 1) throw requestError(`${JSON.stringify(text)} as a method or field name`);
      bytes[at++] = code;
    }
    this.length = at;
  }

  #writeTarget(target: string): void {
    const { bytes } = this;
    let at = this.length;
    if (target.length === 0) throw requestError("an empty target");
    for (let i = 0; i < target.length; i++) {
      const code = target.charCodeAt(i);
      if (code > DEL) return this.#writeBytesOf(target);
      // A space would end the target, and what follows would be taken for the version.
      if (code <= SPACE || code === DEL) throw requestError(`the target ${JSON.stringify(target)}`);
      bytes[at++] = code;
    }
    this.length = at;
  }

  /** Writes a target that is not ASCII, as UTF-8. */
  #writeBytesOf(target: string): void {
    const encoded = encoder.encode(target);
    if (encoded.some((byte) => byte <= SPACE || byte === DEL)) {
      throw requestError(`the target ${JSON.stringify(target)}`);
    }
    this.append(encoded);
    // Room for the constants that follow it.
    this.#reserve(128);
  }

  #writeValue(name: string, value: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (VALUE_BYTES[code] !== 1) throw requestError(`${JSON.stringify(value)} as the value of "${name}"`);
      bytes[at++] = code;
    }
    this.length = at;
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}

function requestError(found: string): UpstreamError {
  return new UpstreamError(`Cannot send the request: it has ${found}`, {
    code: "http_request_error",
    phase: "unsent",
  });
}
