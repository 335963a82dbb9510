/** Clients of the soak: they ask, upload, download, open WebSockets, send rubbish, and go away at any moment. */

import type { Random } from "../../lib/core/random.ts";
import { RawConnection } from "../support/raw_connection.ts";
import type { Chance } from "./servers.ts";

const KIB = 1024;
/** Longer than any request may take, also where the machine is busy with other things. */
const PATIENCE_MS = 60_000;
const USERS = 8;
/** How long a steady client uses one connection, and how long it pauses between two requests. */
const STEADY_MS = 10_000;
const STEADY_PAUSE_MS = 4;
const RUBBISH = [
  "GET / HTTP/9.9\r\n\r\n",
  "\0\0\0\0\r\n\r\n",
  "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
  "GET / HTTP/1.1\r\n",
  "",
];
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What clients have seen. */
export class Seen {
  readonly counts: Record<string, number> = {};
  /** Requests without a response for long. */
  readonly hung: string[] = [];
  /** Responses of any status. */
  responses = 0;

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}

/** One client, which does one thing after the other until all is over. */
export async function runClient(port: number, { random, isOver }: Chance, seen: Seen): Promise<void> {
  while (!isOver()) {
    await pause(random() * 20);
    const what = random();
    if (what < 0.08) await openWebSocket(port, random, seen);
    else await useConnection(port, random, seen, isOver);
  }
}

/**
 * A client that asks a server which is always good, again and again: so memory is soon where it stays, and whatever a request
 * leaves behind counts for more.
 */
export async function runSteadyClient(port: number, { random, isOver }: Chance, seen: Seen): Promise<void> {
  while (!isOver()) {
    try {
      using connection = new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
      const patience = setTimeout(() => connection.close(), STEADY_MS);
      try {
        for (let last = false; !last && !isOver();) {
          await connection.write(`GET /steady/${Math.floor(random() * KIB)} HTTP/1.1\r\nHost: h\r\n\r\n`);
          const { status, fields } = await connection.readResponse("GET");
          seen.responses++;
          seen.count(`steady ${status}`);
          last = fields.some(([name, value]) => /^connection$/i.test(name) && value === "close");
          await pause(STEADY_PAUSE_MS);
        }
      } finally {
        clearTimeout(patience);
      }
    } catch {
      seen.count("steady broken");
      await pause(STEADY_PAUSE_MS);
    }
  }
}

async function useConnection(port: number, random: Random, seen: Seen, isOver: () => boolean): Promise<void> {
  let connection: RawConnection;
  try {
    connection = new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
  } catch {
    return seen.count("not connected");
  }
  let asked = "";
  let before = 0;
  const giveUp = () => {
    // Rubbish may be the beginning of a request.
    if (asked !== "") seen.hung.push(`${asked}, ${connection.received - before} bytes came`);
    connection.close();
  };
  let patience = setTimeout(giveUp, PATIENCE_MS);
  // Some go away at any moment.
  const leaving = random() < 0.15 ? setTimeout(() => connection.close(), random() * 50) : undefined;
  if (leaving !== undefined) seen.count("left");
  try {
    if (random() < 0.02) {
      await connection.write(RUBBISH[Math.floor(random() * RUBBISH.length)]!);
      if (random() < 0.5) await connection.closeWrite();
      await connection.read();
      return seen.count("rubbish");
    }
    for (let left = 1 + Math.floor(random() * 20); left > 0 && !isOver(); left--) {
      const request = requestOf(random);
      asked = request.head.split("\r\n")[0]!;
      before = connection.received;
      clearTimeout(patience);
      patience = setTimeout(giveUp, PATIENCE_MS);
      const sending = send(connection, request, random);
      sending.catch(() => {});
      const response = await readFinal(connection, request.method);
      seen.responses++;
      seen.count(String(response.status));
      if (response.fields.some(([name, value]) => /^connection$/i.test(name) && value === "close")) return;
      await sending;
    }
  } catch {
    seen.count("broken");
  } finally {
    clearTimeout(patience);
    clearTimeout(leaving);
    connection.close();
  }
}

async function readFinal(connection: RawConnection, method: string) {
  for (;;) {
    const response = await connection.readResponse(method);
    if (response.status !== 100) return response;
  }
}

interface SoakRequest {
  readonly method: string;
  readonly head: string;
  readonly length: number;
  readonly chunked: boolean;
}

function requestOf(random: Random): SoakRequest {
  const uploads = random() < 0.25;
  const size = Math.floor(random() < 0.1 ? random() * 500 * KIB : random() * 2 * KIB);
  const end = random();
  const path = `/${size}/${Math.floor(random() * 1e9)}${
    end < 0.1 ? "/through" : end < 0.13 ? "/filtered" : ""
  }`;
  const method = uploads ? (random() < 0.5 ? "POST" : "PUT") : random() < 0.1 ? "HEAD" : "GET";
  const chunked = uploads && random() < 0.5;
  const length = uploads ? Math.floor(random() < 0.2 ? random() * 300 * KIB : random() * 4 * KIB) : 0;
  const lines = [`${method} ${path} HTTP/1.1`, "Host: h"];
  if (random() < 0.5) lines.push(`User: ${Math.floor(random() * USERS)}`);
  if (uploads) lines.push(chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`);
  if (uploads && random() < 0.1) lines.push("Expect: 100-continue");
  return { method, head: [...lines, "", ""].join("\r\n"), length, chunked };
}

async function send(connection: RawConnection, request: SoakRequest, random: Random): Promise<void> {
  const { head, length, chunked } = request;
  await connection.write(head);
  for (let left = length; left > 0;) {
    const size = Math.min(left, 1 + Math.floor(random() * 40 * KIB));
    const piece = "x".repeat(size);
    await connection.write(chunked ? `${size.toString(16)}\r\n${piece}\r\n` : piece);
    left -= size;
    if (random() < 0.1) await pause(random() * 20);
  }
  if (chunked) await connection.write("0\r\n\r\n");
}

async function openWebSocket(port: number, random: Random, seen: Seen): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`);
  const closed = new Promise<void>((resolve) => socket.onclose = () => resolve());
  const opened = await new Promise<boolean>((resolve) => {
    socket.onopen = () => resolve(true);
    socket.onerror = () => resolve(false);
  });
  if (!opened) {
    await closed;
    return seen.count("websocket refused");
  }
  seen.count("websocket");
  for (let left = Math.floor(random() * 20); left > 0 && socket.readyState === WebSocket.OPEN; left--) {
    socket.send(random() < 0.5 ? "x".repeat(random() * 20 * KIB) : new Uint8Array(random() * 20 * KIB));
    await pause(random() * 30);
  }
  // Some say nothing until the proxy ends them.
  if (random() < 0.8) socket.close();
  await closed;
}
