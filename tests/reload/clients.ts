/** Clients of every kind that are at work while a proxy is changed, and the servers behind it. */

import { rawClient } from "../support/raw_client.ts";
import { fieldOf, latin1Text, parseHead, type RawConnection } from "../support/raw_connection.ts";
import { openWebSocket } from "../support/test_web_socket.ts";

/** How many clients of each kind there are. */
export interface Crowd {
  /** Those that ask one request after the other on a connection, and those that open one for each. */
  readonly keepAlive: number;
  readonly oneShot: number;
  readonly webSockets: number;
  readonly uploads: number;
}

/** By what the limits of the tests count. */
export const FIELD = "user: everybody";
const UPLOAD = 64 * 1024;

/** Answers as a server of these clients. */
export async function answer(request: Request): Promise<Response> {
  if (request.headers.has("upgrade")) {
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    socket.onmessage = ({ data }) => socket.send(data);
    return response;
  }
  if (request.method === "POST") return new Response(String((await request.bytes()).length));
  return new Response("x".repeat(1000));
}

/** The connection was open for the system, and nobody took it. */
class UnacceptedError extends Error {}

/** Clients of every kind, and how they fared. */
export class Clients {
  readonly failures = new Set<string>();
  /** Uploads whose connection was reset before there was a response, by their targets: whether somebody had read them, logs tell. */
  readonly resets: string[] = [];
  #uploadsBegun = 0;
  /** Connections that were refused, and those that were reset before anything was said on them: nobody had accepted them. */
  refused = 0;
  unaccepted = 0;
  /** When the last response was whole. */
  lastAt = 0;
  requests = 0;
  uploads = 0;
  messages = 0;
  told = 0;
  /** Requests that must have been counted. */
  admitted = 0;
  readonly #port: number;
  #stopped = false;

  constructor(port: number) {
    this.#port = port;
  }

  /** Resolves once all have stopped. */
  async start({ keepAlive, oneShot, webSockets, uploads }: Crowd): Promise<void> {
    const kinds: readonly [count: number, name: string, run: () => Promise<void>][] = [
      [keepAlive, "kept", () => this.#askOnOne()],
      [oneShot, "one-shot", () => this.#askOnMany()],
      [webSockets, "WebSocket", () => this.#talk()],
      [uploads, "upload", () => this.#upload()],
    ];
    await Promise.all(kinds.flatMap(([count, name, run]) =>
      Array.from({ length: count }, async () => {
        while (!this.#stopped) {
          try {
            await run();
          } catch (error) {
            if (error instanceof Deno.errors.ConnectionRefused) {
              this.refused++;
              await delay(5);
            } else if (error instanceof UnacceptedError) this.unaccepted++;
            else this.failures.add(`${name}: ${error}`);
          }
        }
      })
    ));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #connect(): Promise<RawConnection> {
    try {
      return await rawClient(this.#port);
    } catch (error) {
      throw error instanceof Deno.errors.ConnectionReset ? new UnacceptedError() : error;
    }
  }

  async #askOnOne(): Promise<void> {
    using connection = await this.#connect();
    let goesOn = await this.#ask(connection, "", false);
    while (goesOn && !this.#stopped) goesOn = await this.#ask(connection, "", true);
  }

  async #askOnMany(): Promise<void> {
    using connection = await this.#connect();
    await this.#ask(connection, "Connection: close\r\n", false);
  }

  /**
   * @param served whether there was a response on the connection before
   * @returns whether another request may follow
   */
  async #ask(connection: RawConnection, fields: string, served: boolean): Promise<boolean> {
    try {
      await connection.write(`GET / HTTP/1.1\r\nHost: h\r\n${FIELD}\r\n${fields}\r\n`);
    } catch (error) {
      throw served ? error : new UnacceptedError();
    }
    const head = await connection.readHead().catch((error) => {
      throw served ? error : new UnacceptedError();
    });
    if (head === null) throw served ? new Error("closed without a response") : new UnacceptedError();
    const { startLine, fields: found } = parseHead(head);
    if (!startLine.includes(" 200 ")) throw new Error(startLine);
    await connection.readExactly(1000);
    this.requests++;
    this.admitted++;
    this.lastAt = Date.now();
    return fieldOf(found, "connection")?.toLowerCase() !== "close";
  }

  async #upload(): Promise<void> {
    using connection = await this.#connect();
    const target = `/upload-${++this.#uploadsBegun}.`;
    let response: Awaited<ReturnType<RawConnection["readResponse"]>>;
    try {
      await connection.write(
        `POST ${target} HTTP/1.1\r\nHost: h\r\n${FIELD}\r\nContent-Length: ${UPLOAD}\r\n\r\n`,
      );
      for (let sent = 0; sent < UPLOAD; sent += UPLOAD / 8) {
        await connection.write(new Uint8Array(UPLOAD / 8));
        await delay(10);
      }
      response = await connection.readResponse("POST");
    } catch (error) {
      const { ConnectionReset, BrokenPipe } = Deno.errors;
      const isReset = error instanceof ConnectionReset || error instanceof BrokenPipe;
      if (!isReset && !/ended without a response/.test(String(error))) throw error;
      return void this.resets.push(target);
    }
    const { status, body } = response;
    if (status !== 200 || latin1Text(body) !== String(UPLOAD)) {
      throw new Error(`${status} ${latin1Text(body)}`);
    }
    this.uploads++;
    this.admitted++;
  }

  async #talk(): Promise<void> {
    const web = await openWebSocket(`ws://127.0.0.1:${this.#port}/`, { headers: { user: "everybody" } });
    this.admitted++;
    for (let n = 0; !this.#stopped; n++) {
      const message = web.next();
      try {
        web.socket.send(String(n));
      } catch {
        // It is closing.
      }
      const ended = await Promise.race([message, web.closed]);
      if (typeof ended !== "string") {
        const [code] = ended as [number, string];
        if (code !== 1001) throw new Error(`closed with ${code}`);
        this.told++;
        return;
      }
      if (ended !== String(n)) throw new Error(`${ended} in place of ${n}`);
      this.messages++;
      await delay(5);
    }
    await web.close();
  }
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
