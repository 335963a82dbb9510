/** Servers that misbehave as each request asks them to, and look whether its content is its own. */

import type { Random } from "../../lib/core/random.ts";
import { fieldOf, parseHead, type RawConnection } from "../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";
import { belongs, contentOf, type Findings, makeToken } from "./token.ts";

/** What a request asks of its server; `GET /kind/size/token`. */
export const KINDS = [
  ..."length chunked close head 304 204 interim slow early early-close refuse-once reset-mid timeout stale extra"
    .split(" "),
];

/** Ends what is done with a connection. */
const END = Symbol();

/** Starts one server. */
export function misbehavingServer(findings: Findings, random: Random, tried: Set<string>): RawUpstream {
  return rawUpstream(async (connection) => {
    (connection.conn as Deno.TcpConn).setNoDelay(true);
    try {
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        if (await serveOne(connection, head, { findings, random, tried }) === END) return;
      }
    } catch {
      // Clients go away, and the proxy with them.
    }
  });
}

interface Server {
  readonly findings: Findings;
  readonly random: Random;
  /** Tokens of requests that were refused once. */
  readonly tried: Set<string>;
}

async function serveOne(connection: RawConnection, head: string, server: Server): Promise<void | typeof END> {
  const { findings, random, tried } = server;
  const { startLine, fields } = parseHead(head);
  const [, kind, size, token] = /\/([a-z0-9-]+)\/(\d+)\/(t\d+;) HTTP\/1\.1$/.exec(startLine) ?? [];
  if (token === undefined || fieldOf(fields, "x-token") !== token) {
    return findings.cross(`a server got ${head}`);
  }
  const content = contentOf(token, Number(size));
  const early = kind!.startsWith("early");
  if (!early) await readContent(connection, fields, token, findings);
  const said = `HTTP/1.1 200 OK\r\nX-Token: ${token}\r\n`;
  switch (kind) {
    case "chunked":
      await connection.write(`${said}Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n`);
      for (let at = 0; at < content.length;) {
        const end = Math.min(content.length, at + 1 + Math.floor(random() * 20_000));
        await connection.write(`${(end - at).toString(16)}\r\n`);
        await connection.write(content.subarray(at, end));
        await connection.write("\r\n");
        at = end;
      }
      return await connection.write(`0\r\nX-End: ${token}\r\n\r\n`);
    case "close":
      await connection.write(`${said}Connection: close\r\n\r\n`);
      await connection.write(content);
      return END;
    case "head":
    case "304": {
      const status = kind === "304" ? said.replace("200 OK", "304 Not Modified") : said;
      return await connection.write(`${status}Content-Length: ${size}\r\n\r\n`);
    }
    case "204":
      return await connection.write(`${said.replace("200 OK", "204 No Content")}\r\n`);
    case "interim":
      await connection.write(`HTTP/1.1 103 Early Hints\r\nX-Token: ${token}\r\n\r\n`);
      break;
    case "slow":
      await pause(random() * 30);
      break;
    case "refuse-once":
      if (!tried.delete(token)) {
        tried.add(token);
        return END;
      }
      break;
    case "reset-mid":
      await connection.write(`${said}Content-Length: ${content.length + 10}\r\n\r\n`);
      await connection.write(content);
      return END;
    case "timeout":
      await connection.untilClosed();
      return END;
    case "extra": {
      // Made up by a server that wants to be heard by the next client.
      const evil = makeToken(999, 0);
      return await connection.write(
        `${said}Content-Length: 12\r\n\r\n${token}HTTP/1.1 200 OK\r\nX-Token: ${evil}\r\nContent-Length: 12\r\n\r\n${evil}`,
      );
    }
  }
  await connection.write(`${said}Content-Length: ${content.length}\r\n\r\n`);
  await connection.write(content);
  if (kind === "early-close" || kind === "stale") return END;
  if (early) await readContent(connection, fields, token, findings);
}

type Fields = readonly [string, string][];

async function readContent(connection: RawConnection, fields: Fields, token: string, findings: Findings) {
  let at = 0;
  const take = (piece: Uint8Array) => {
    if (!belongs(piece, token, at)) findings.cross(`a server got content of another request for ${token}`);
    at += piece.length;
  };
  if (fieldOf(fields, "expect") !== undefined) await connection.write("HTTP/1.1 100 Continue\r\n\r\n");
  if (fieldOf(fields, "transfer-encoding") === "chunked") {
    for (let chunk = await connection.readChunk(); chunk; chunk = await connection.readChunk()) take(chunk);
    return;
  }
  const length = Number(fieldOf(fields, "content-length") ?? 0);
  while (at < length) {
    const piece = await connection.read(length - at);
    if (piece === null) throw new Error("content broke off");
    take(piece);
  }
}

/** Lets some time pass. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
