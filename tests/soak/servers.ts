/** Servers of the soak, to which things happen by chance. */

import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { Random } from "../../lib/core/random.ts";

const KIB = 1024;
const PIECE: Uint8Array<ArrayBuffer> = new Uint8Array(16 * KIB).fill(97);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** How a server is at the moment. */
const MOODS = ["good", "good", "good", "slow", "silent", "unavailable", "cutting"] as const;

/** What servers and faults have in common. */
export interface Chance {
  readonly random: Random;
  readonly isOver: () => boolean;
}

/** A server by `Deno.serve`, whose mood changes, and which is gone now and then. */
export class MoodyServer implements AsyncDisposable {
  readonly port: number;
  readonly #chance: Chance;
  #mood: typeof MOODS[number] = "good";
  #controller = new AbortController();
  #server: Deno.HttpServer<Deno.NetAddr>;
  /** What handlers wait for. */
  readonly #pauses = new Set<Promise<void>>();
  readonly #sockets = new Map<WebSocket, Promise<void>>();

  constructor(chance: Chance) {
    this.#chance = chance;
    this.#server = this.#listen(0);
    this.port = this.#server.addr.port;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Changes its mood, or is gone for a while, until all is over. */
  async run(): Promise<void> {
    const { random, isOver } = this.#chance;
    while (!isOver()) {
      await pause(100 + random() * 900);
      this.#mood = MOODS[Math.floor(random() * MOODS.length)]!;
      if (random() >= 0.1) continue;
      this.#controller.abort();
      await this.#server.finished;
      await pause(random() * 1000);
      this.#server = this.#listen(this.port);
    }
    this.#mood = "good";
  }

  #listen(port: number): Deno.HttpServer<Deno.NetAddr> {
    this.#controller = new AbortController();
    return Deno.serve({
      hostname: "127.0.0.1",
      port,
      signal: this.#controller.signal,
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
    }, (request) => this.#respond(request));
  }

  async #respond(request: Request): Promise<Response> {
    const { random } = this.#chance;
    const mood = this.#mood;
    if (mood === "slow") await this.#pause(random() * 600);
    if (mood === "silent") await this.#pause(1500);
    if (mood === "unavailable") return new Response("no", { status: 503 });
    if (request.headers.get("upgrade") === "websocket") return this.#echo(request);
    const size = Number(/\d+/.exec(new URL(request.url).pathname)?.[0] ?? 0);
    // Content that is left unread ends the connection.
    if (request.body !== null && random() < 0.9) { for await (const _piece of request.body); }
    return new Response(contentOf(size, mood === "cutting" && random() < 0.5));
  }

  #pause(ms: number): Promise<void> {
    const paused: Promise<void> = pause(ms).then(() => void this.#pauses.delete(paused));
    this.#pauses.add(paused);
    return paused;
  }

  #echo(request: Request): Response {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const { random } = this.#chance;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (random() < 0.02) return socket.close(4000, "enough");
      if (socket.readyState === WebSocket.OPEN) socket.send(data);
    };
    socket.onerror = () => {};
    const { promise, resolve } = Promise.withResolvers<void>();
    // One that never opens is never closed.
    socket.onopen = () => this.#sockets.set(socket, promise);
    socket.onclose = () => {
      this.#sockets.delete(socket);
      resolve();
    };
    return response;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort();
    await this.#server.finished;
    await Promise.all(this.#pauses);
    for (const socket of this.#sockets.keys()) socket.close();
    await Promise.all(this.#sockets.values());
  }
}

/** So many bytes, of which the second half may be missing. */
function contentOf(
  size: number,
  cut: boolean,
): ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer> {
  if (size < PIECE.length && !cut) return PIECE.subarray(0, size);
  let left = size;
  return new ReadableStream({
    pull(controller) {
      if (cut && left <= size / 2) return controller.error(new Error("cut"));
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      left -= piece.length;
      if (piece.length > 0) controller.enqueue(piece);
      if (left === 0) controller.close();
    },
  }, { highWaterMark: 0 });
}

/** A server that breaks the protocol: resets, closes without a word, and rubbish. */
export class RudeServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, { random }: Chance) {
    this.#server = server;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("data", () => {
        const what = random();
        if (what < 0.1) socket.resetAndDestroy();
        else if (what < 0.2) socket.destroy();
        else if (what < 0.25) {
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", () => socket.destroy());
        } else if (what < 0.3) socket.end("220 mail.example ESMTP\r\n");
        else if (what < 0.35) socket.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
  }

  static async start(chance: Chance): Promise<RudeServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new RudeServer(server, chance);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
