import { assert, assertEquals } from "@std/assert";
import { ProgramFolder } from "../../support/program.ts";
import { redisTest } from "../../support/redis_server.ts";
import { rawClient } from "../../support/raw_client.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** Each round has a key of its own, and more requests than the limit. */
const ROUNDS = 5;
const LIMIT = 100;
const CONNECTIONS = 6;
const REQUESTS = 40;

redisTest(
  "lbproxy in two processes admits exactly the limit of a key that both are asked for at once",
  async (redis) => {
    await using upstream = startUpstream();
    await using folder = await ProgramFolder.with({
      "proxy.config.js": `
      export const listen = "127.0.0.1:0";
      export const upstreams = ["${upstream.address}"];
      const store = { type: "redis", url: "${redis.url}", timeout: "10s", onStoreError: "closed" };
      export const limiter = [
        { name: "hour", key: "header:id", limit: ${LIMIT}, window: "1h", store },
        { name: "day", key: "header:id", limit: ${
        10 * LIMIT
      }, window: "1d", algorithm: "sliding-window", store },
      ];
    `,
    });
    const permissions = ["--allow-net", "--allow-read", "--ignore-env"];
    await using one = folder.start(["proxy.config.js"], permissions);
    await using two = folder.start(["proxy.config.js"], permissions);
    const ports = await Promise.all([one, two].map(async (program) => {
      return Number((await program.address()).split(":").at(-1));
    }));

    /** Asks on one connection, one after the other, and counts by status. */
    const ask = async (port: number, id: string): Promise<Map<number, number>> => {
      using connection = await rawClient(port);
      const counts = new Map<number, number>();
      for (let i = 0; i < REQUESTS; i++) {
        await connection.write(`GET / HTTP/1.1\r\nHost: h\r\nid: ${id}\r\n\r\n`);
        const { status } = await connection.readResponse("GET");
        counts.set(status, (counts.get(status) ?? 0) + 1);
        // A refusal closes the connection.
        if (status !== 200) break;
      }
      return counts;
    };

    for (let round = 0; round < ROUNDS; round++) {
      const asked = ports.flatMap((port) =>
        Array.from({ length: CONNECTIONS }, () => ask(port, `id${round}`))
      );
      const counts = await Promise.all(asked);
      const sum = (status: number) => counts.reduce((total, each) => total + (each.get(status) ?? 0), 0);
      assertEquals([sum(200), sum(429)], [LIMIT, 2 * CONNECTIONS], `round ${round}`);
      for (const half of [counts.slice(0, CONNECTIONS), counts.slice(CONNECTIONS)]) {
        assert(half.some((each) => (each.get(200) ?? 0) > 0), "both processes have admitted some");
      }
    }
    assertEquals(upstream.requests, ROUNDS * LIMIT);
  },
);
