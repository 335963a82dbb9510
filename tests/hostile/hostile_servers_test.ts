/** Hostile servers behind a whole proxy, on each transport. */

import { assert, assertEquals } from "@std/assert";
import { eachTransport, transportCan, TRANSPORTS } from "../support/each_transport.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";
import { TEST_WORKERS } from "../support/test_workers.ts";
import { HOSTILE_SERVERS } from "./hostile_servers.ts";
import { nothingInFlight, outcomeOf } from "./outcome.ts";

/** For responses of which the rest does not come; `fetch` counts all until the head as connecting. */
const SHORT = { connect: "200ms", response: "200ms", idle: "200ms" } as const;
/** For those that are there at once, or end; a slow machine must not look like a server that never responds. */
const LONG = { connect: "5s", response: "20s", idle: "20s" } as const;
const NEXT = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

/** A server that says whatever it is told to on the connection that asks for `/hostile`, and keeps that open or not. */
class HostileServer implements AsyncDisposable {
  readonly upstream: RawUpstream;
  /** Start lines of all requests, by connection. */
  readonly asked: string[][] = [];
  readonly bytes: string;
  readonly keepsOpen: boolean;

  constructor(bytes: string, keepsOpen: boolean) {
    this.bytes = bytes;
    this.keepsOpen = keepsOpen;
    this.upstream = rawUpstream((connection, index) => this.#serve(connection, index));
  }

  async #serve(connection: RawConnection, index: number): Promise<void> {
    const mine: string[] = this.asked[index] = [];
    for (;;) {
      const request = await connection.readRequest().catch(() => null);
      if (request === null) return;
      mine.push(request.startLine);
      if (!request.startLine.startsWith("GET /hostile")) {
        await connection.write(NEXT).catch(() => {});
        continue;
      }
      // A server that is cut off in the middle has failed to write the rest.
      await connection.write(this.bytes).catch(() => {});
      if (!this.keepsOpen) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upstream[Symbol.asyncDispose]();
  }
}

/** What is not wrong so far is waited for on a connection that stays open. */
function isFailure(outcome: Awaited<ReturnType<typeof outcomeOf>>, keepsOpen: boolean): boolean {
  return outcome === "broken" || outcome.status === 502 || (keepsOpen && outcome.status === 504);
}

for (const [index, { name, bytes, content, lenient: unstrict }] of HOSTILE_SERVERS.entries()) {
  const what = content === undefined ? "fails the request" : "is passed on";
  eachTransport(`server that sends ${name}: ${what}, and nothing of it is left`, async (start, transport) => {
    const lenient = transportCan(transport, "parse strictly") ? undefined : unstrict;
    const attempt = async (keepsOpen: boolean): Promise<void> => {
      await using server = new HostileServer(bytes, keepsOpen);
      const hostile = keepsOpen && content === undefined ? SHORT : { ...LONG };
      await using proxy = await start({
        upstreams: { servers: [server.upstream.address], retries: false, ejection: false, timeouts: LONG },
        routes: [{ match: { path: "/hostile" }, timeouts: hostile }, { match: { path: "/next" } }],
      });
      const outcome = await outcomeOf(proxy);
      const passed = outcome !== "broken" && outcome.status < 500 && outcome.text === (content ?? lenient);
      assert(
        content === undefined ? isFailure(outcome, keepsOpen) || passed : passed,
        JSON.stringify(outcome),
      );
      const next = await proxy.ask("GET /next");
      assertEquals([next.status, next.text], [200, "next"]);
      await nothingInFlight(proxy);
      // On the connection of what was refused nobody has asked again.
      if (content === undefined && unstrict === undefined) {
        assert(server.asked.length > 0);
        for (const lines of server.asked) {
          const at = lines.findIndex((line) => line.startsWith("GET /hostile"));
          assert(at === -1 || at === lines.length - 1, JSON.stringify(server.asked));
        }
      }
      assertEquals(server.upstream.errors, []);
    };
    // Workers take a second to start: one connection for each response, open or not by turns.
    if (TEST_WORKERS > 1) await attempt(index % 2 === 0);
    else await Promise.all([attempt(false), attempt(true)]);
  });
}

Deno.test("there are at least 60 hostile responses, each with a name of its own", () => {
  const hostile = HOSTILE_SERVERS.filter(({ content }) => content === undefined);
  assert(hostile.length >= 60, `${hostile.length}`);
  assertEquals(new Set(HOSTILE_SERVERS.map(({ name }) => name)).size, HOSTILE_SERVERS.length);
  assertEquals(TRANSPORTS.length, 3);
});
