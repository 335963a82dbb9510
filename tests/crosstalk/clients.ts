/** Clients that send whatever HTTP/1.1 allows, go away at any moment, and look whether each response is their own. */

import type { Random } from "../../lib/core/random.ts";
import { fieldOf, latin1Bytes, parseHead, RawConnection } from "../support/raw_connection.ts";
import { KINDS, pause } from "./servers.ts";
import { belongs, contentOf, type Findings, makeToken } from "./token.ts";

/** Longer than any response takes. */
const PATIENCE_MS = 15_000;
const NO_CONTENT: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** One request to be sent. */
interface Request {
  readonly token: string;
  readonly kind: string;
  readonly method: string;
  readonly head: string;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** Runs one client until it has to stop. */
export class Client {
  readonly #index: number;
  readonly #port: number;
  readonly #random: Random;
  readonly #findings: Findings;
  #requests = 0;

  constructor(index: number, port: number, random: Random, findings: Findings) {
    this.#index = index;
    this.#port = port;
    this.#random = random;
    this.#findings = findings;
  }

  /** Sends requests, on one connection after the other, until `until` says so. */
  async run(until: () => boolean): Promise<void> {
    while (!until()) {
      const connection = new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port: this.#port }));
      (connection.conn as Deno.TcpConn).setNoDelay(true);
      this.#findings.count("connections");
      try {
        while (!until() && await this.#batch(connection));
      } catch {
        // The proxy has closed, or this client has gone away.
        this.#findings.count("connections that broke");
      } finally {
        connection.close();
      }
    }
  }

  /** Sends some requests at once; whether the connection can take more. */
  async #batch(connection: RawConnection): Promise<boolean> {
    const pipelined = this.#chance(0.25) ? 2 + this.#below(3) : 1;
    const batch = Array.from({ length: pipelined }, () => this.#make());
    if (pipelined > 1) this.#findings.count("pipelined batches");
    const pending = setTimeout(() => {
      this.#findings.hung.push(batch.map(({ head }) => head.split("\r\n")[0]).join(", "));
      connection.close();
    }, PATIENCE_MS);
    const leaving = this.#chance(0.06)
      ? setTimeout(() => connection.close(), this.#random() * 40)
      : undefined;
    if (leaving !== undefined) this.#findings.count("clients that leave");
    // Reading goes on while sending does: an early response ends both.
    const sending = this.#send(connection, batch);
    sending.catch(() => {});
    try {
      for (const request of batch) {
        if (!await this.#read(connection, request)) return false;
      }
      await sending;
      return true;
    } finally {
      clearTimeout(pending);
      clearTimeout(leaving);
    }
  }

  #make(): Request {
    const token = makeToken(this.#index, this.#requests++);
    const kind = KINDS[this.#below(KINDS.length)]!;
    // Some take long, and are asked for less often.
    if (kind === "timeout" && !this.#chance(0.1)) return this.#make();
    const size = this.#chance(0.1) ? this.#below(200_000) : this.#below(3000);
    const uploads = kind.startsWith("early") || (kind !== "head" && kind !== "304" && this.#chance(0.4));
    const method = kind === "head" ? "HEAD" : uploads ? (this.#chance(0.5) ? "POST" : "PUT") : "GET";
    const content = uploads
      ? contentOf(token, this.#chance(0.2) ? this.#below(150_000) : this.#below(2000))
      : NO_CONTENT;
    const lines = [
      `${method} ${this.#chance(0.3) ? "/f" : ""}/${kind}/${size}/${token} HTTP/1.1`,
      "Host: h",
      `X-Token: ${token}`,
    ];
    if (!uploads) return { token, kind, method, head: [...lines, "", ""].join("\r\n"), content };
    this.#findings.count("uploads");
    const chunked = this.#chance(0.5);
    lines.push(chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${content.length}`);
    if (this.#chance(0.1)) lines.push("Expect: 100-continue");
    const head = [...lines, "", ""].join("\r\n");
    return { token, kind, method, head, content: chunked ? this.#chunks(content) : content };
  }

  #chunks(content: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at < content.length;) {
      const end = Math.min(content.length, at + 1 + this.#below(10_000));
      parts.push(
        latin1Bytes(`${(end - at).toString(16)}\r\n`),
        content.subarray(at, end),
        latin1Bytes("\r\n"),
      );
      at = end;
    }
    parts.push(latin1Bytes("0\r\n\r\n"));
    const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  async #send(connection: RawConnection, batch: readonly Request[]): Promise<void> {
    for (const { head, content } of batch) {
      if (content.length < 4000 && this.#chance(0.7)) {
        const whole = new Uint8Array(head.length + content.length);
        whole.set(latin1Bytes(head));
        whole.set(content, head.length);
        await connection.write(whole);
      } else {
        await connection.write(head);
        for (let at = 0; at < content.length;) {
          if (this.#chance(0.3)) await pause(this.#random() * 10);
          const end = at + 1 + this.#below(40_000);
          await connection.write(content.subarray(at, end));
          at = end;
        }
      }
    }
    const { content } = batch.at(-1)!;
    if (content.length > 0 && this.#chance(0.1)) await connection.write("\r\n");
  }

  /** Reads one response; whether the connection goes on behind it. */
  async #read(connection: RawConnection, { token, kind, method }: Request): Promise<boolean> {
    for (;;) {
      const head = await connection.readHead();
      if (head === null) return false;
      const { fields } = parseHead(head);
      const status = Number(head.slice(9, 12));
      const found = fieldOf(fields, "x-token");
      if (found !== undefined && found !== token) this.#findings.cross(`${token} got the response ${head}`);
      if (status === 100 || status === 103) {
        this.#findings.count(String(status));
        continue;
      }
      this.#findings.count(`${kind} ${status}`);
      const own = fieldOf(fields, "content-type") === "application/problem+json";
      // Content that is taken for a request gets a 400, which is nobody's.
      const failed = own && (status === 502 || status === 504);
      if (found === undefined && !failed) this.#findings.cross(`${token} got a response of nobody: ${head}`);
      if (method !== "HEAD" && status !== 204 && status !== 304) {
        await this.#readContent(connection, fields, own ? null : token);
      }
      return fieldOf(fields, "connection") !== "close";
    }
  }

  async #readContent(connection: RawConnection, fields: readonly [string, string][], token: string | null) {
    let at = 0;
    const take = (piece: Uint8Array) => {
      if (token !== null && !belongs(piece, token, at)) {
        this.#findings.cross(`${token} got content of another`);
      }
      at += piece.length;
    };
    if (fieldOf(fields, "transfer-encoding") !== "chunked") {
      const length = Number(fieldOf(fields, "content-length") ?? Infinity);
      while (at < length) {
        const piece = await connection.read(Math.min(length - at, 65_536));
        if (piece === null) throw new Error("content broke off");
        take(piece);
      }
      return;
    }
    for (;;) {
      const size = parseInt(await connection.readUntil("\r\n") ?? "", 16);
      if (Number.isNaN(size)) throw new Error("content broke off");
      if (size === 0) break;
      take(await connection.readExactly(size));
      await connection.readExactly(2);
    }
    for (;;) {
      const line = await connection.readUntil("\r\n");
      if (line === null || line === "\r\n") return;
      if (line !== `x-end: ${token}\r\n`) this.#findings.cross(`${token} got the trailer field ${line}`);
      this.#findings.count("trailer fields");
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #chance(chance: number): boolean {
    return this.#random() < chance;
  }
}
